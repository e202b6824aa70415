"""Prediction with PyTorch: images in, probabilities and features out."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from naturalize.base.console import track
from naturalize.base.engine import chunked
from naturalize.base.errors import SettingsError, unknown
from naturalize.models import preprocess
from naturalize.models.config import Colour, NetworkConfig
from naturalize.models.identity import weights_hash
from naturalize.models.predictor import NetworkPredictor, mean_of_members, tempered
from naturalize.models.zoo import channels_last

if TYPE_CHECKING:
    import torch
    from torch import nn


class TorchPredictor(NetworkPredictor):
    """A network ready to predict with PyTorch; it also gives features.

    ``module`` takes normalised (N, 3, S, S) to logits (N, C); it is moved to ``device``, a torch
    device, and put into evaluation mode.
    """

    members: Sequence[tuple[float, TorchPredictor]] = ()

    def __init__(self, module: nn.Module, config: NetworkConfig, *, device: str = "cpu") -> None:
        check_device(device)
        self.module: Any = channels_last(module).to(device).eval()
        self.config, self.device = config, device

    @classmethod
    def open(cls, path: str | Path, *, device: str = "cpu") -> TorchPredictor:
        """Open the model folder ``path``; see :func:`naturalize.models.load.load_model`."""
        from naturalize.models.load import load_model

        return cls.of(*load_model(path), device=device)

    @staticmethod
    def of(module: nn.Module, config: NetworkConfig, *, device: str = "cpu") -> TorchPredictor:
        """Return the predictor that fits a network: its own, or that of an averaging ensemble."""
        from naturalize.models.load import Averaged

        kind = AveragingPredictor if isinstance(module, Averaged) else TorchPredictor
        return kind(module, config, device=device)

    @property
    def weights_hash(self) -> str:
        """What names the weights, whichever engine runs them."""
        return weights_hash(self.module)

    def tensor(self, images: Iterable[np.ndarray]) -> torch.Tensor:
        """Return images (RGB uint8 (H, W, 3), any sizes) as the network's input.

        float32 (N, 3, S, S), normalised, channels last, on the predictor's device.
        """
        import torch

        pixels = torch.from_numpy(preprocess.batch(list(images), self.config.view))
        return preprocess.normalise(pixels.to(self.device), self.config.mean, self.config.std)

    def probabilities(
        self, images: Iterable[np.ndarray], *, batch: int = 32, what: str | None = None
    ) -> np.ndarray:
        """Return the probability of each class for each image; see `Predictor`."""
        import torch

        def run(x: torch.Tensor) -> torch.Tensor:
            return torch.softmax(self.module(x).float() / self.config.temperature, dim=1)

        return self._over(images, run, batch, what)

    def logits(
        self, images: Sequence[np.ndarray], slides: Sequence[Colour | None] = (), batch: int = 32
    ) -> np.ndarray:
        """Return what the last layer gives, float32 (N, C); see `NetworkPredictor.judged`."""
        return self._over(images, lambda x: self.module(x).float(), batch, None)

    def judged(
        self, images: Sequence[np.ndarray], slides: Sequence[Colour | None], *, batch: int = 32
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return probabilities (N, C) and strangeness (N,); see `NetworkPredictor`."""
        from scipy.special import softmax

        logits = self.logits(images, slides, batch)
        rows = softmax(logits / np.float32(self.config.temperature), axis=1)
        return rows, self.strangeness(logits)

    def features(
        self, images: Iterable[np.ndarray], *, batch: int = 32, what: str | None = None
    ) -> np.ndarray:
        """Return the pooled features before the classifier, float32 (N, D); see `probabilities`."""

        def run(x: torch.Tensor) -> torch.Tensor:
            module = self.module
            return module.forward_head(module.forward_features(x), pre_logits=True).float()

        return self._over(images, run, batch, what)

    def _over(
        self,
        images: Iterable[np.ndarray],
        run: Callable[[torch.Tensor], torch.Tensor],
        batch: int,
        what: str | None,
    ) -> np.ndarray:
        import torch

        rows = []
        self.module.eval()
        for piece in _batches(images, batch, what):
            with torch.inference_mode():
                rows.append(run(self.tensor(piece)).cpu().numpy())
        if not rows:  # the width of an answer to nothing is that of any answer
            side = self.config.input_size
            with torch.inference_mode():
                rows = [run(self.tensor([np.zeros((side, side, 3), np.uint8)])).cpu().numpy()[:0]]
        return np.concatenate(rows)


class AveragingPredictor(TorchPredictor):
    """A predictor for the mean of several: each prepares images as it was trained to see them."""

    def __init__(self, module: nn.Module, config: NetworkConfig, *, device: str = "cpu") -> None:
        super().__init__(module, config, device=device)
        pairs = zip(self.module.averaged, self.module.configs, strict=True)
        opened = [TorchPredictor.of(*pair, device=device) for pair in pairs]
        self.members = list(zip(self.module.exact_shares.tolist(), opened, strict=True))

    def probabilities(
        self, images: Iterable[np.ndarray], *, batch: int = 32, what: str | None = None
    ) -> np.ndarray:
        """Return the members' mean probabilities; see `Predictor`."""
        rows = []
        for piece in _batches(images, batch, what):
            mean = np.zeros((len(piece), len(self.classes)))
            for (share, member), order in zip(self.members, self.module.columns, strict=True):
                mean += share * member.probabilities(piece, batch=batch)[:, order]
            rows.append(tempered(mean, self.config.temperature).astype(np.float32))
        return np.concatenate(rows) if rows else np.empty((0, len(self.classes)), np.float32)

    def judged(
        self, images: Sequence[np.ndarray], slides: Sequence[Colour | None], *, batch: int = 32
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return the members' mean probabilities and strangeness; see `NetworkPredictor`."""
        return mean_of_members(self, images, slides, batch)

    def features(
        self, images: Iterable[np.ndarray], *, batch: int = 32, what: str | None = None
    ) -> np.ndarray:
        """Return the members' features side by side, float32 (N, ΣD)."""
        rows = [
            np.concatenate([m.features(piece, batch=batch) for _, m in self.members], axis=1)
            for piece in _batches(images, batch, what)
        ]
        if rows:
            return np.concatenate(rows)
        return np.concatenate([m.features([]) for _, m in self.members], axis=1)


def check_device(device: str) -> None:
    """Raise ``SettingsError`` if this machine has no such device (``auto`` always fits)."""
    import torch

    kind = device.partition(":")[0]
    there = {
        "auto": True,
        "cpu": True,
        "cuda": torch.cuda.is_available(),
        "mps": torch.backends.mps.is_available(),
    }
    if kind not in there:
        raise unknown("device", device, list(there))
    if not there[kind]:
        raise SettingsError(f"device {device}: this machine, or its PyTorch, has none; try cpu")


def _batches(
    images: Iterable[np.ndarray], size: int, what: str | None
) -> Iterator[list[np.ndarray]]:
    return chunked(track(images, what) if what else images, size)
