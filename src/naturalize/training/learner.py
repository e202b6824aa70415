"""A network in training: what a step and a validation are."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import numpy as np
import torch
from torch import distributed, nn
from torch.nn import functional
from torch.optim.swa_utils import update_bn

from naturalize.base.errors import NaturalizeError
from naturalize.base.rng import rng, seed_of
from naturalize.models.config import Network
from naturalize.models.preprocess import normalise
from naturalize.training import optimiser, processes
from naturalize.training.losses import Loss, mix
from naturalize.training.settings import TrainSettings

Batch = dict[str, torch.Tensor]

#: Temperatures that are looked through.
_COLDEST, _HOTTEST = 0.05, 20.0

#: Images below which there is too little to fit, as there is where nothing is wrong.
_ENOUGH = 100


class Learner:
    """A network with its loss, its optimiser and its rates.

    The loss of a batch is the same number whether it is worked off whole or in ``pieces``, by one
    process or by several with a share each. ``steps`` are those of an epoch; ``names``, the image
    or recipe id of each training row, are for messages; ``loss`` is cross entropy by default.
    ``epoch`` counts from 0, ``done`` is the steps of all epochs, ``last_lr`` the greatest rate of
    the last one.
    """

    def __init__(
        self,
        network: Network,
        settings: TrainSettings,
        *,
        steps: int,
        names: tuple[str, ...],
        loss: Loss | None = None,
        pieces: int = 1,
        device: str = "cpu",
        bf16: bool = False,
    ) -> None:
        self.network: Any = network.module.to(device)
        self.config, self.settings, self.names = network.config, settings, names
        self.loss = (loss or Loss(smoothing=settings.label_smoothing)).to(device)
        self.pieces, self.device, self.bf16 = pieces, device, bf16
        self.average: Any = None
        if settings.ema is not None:
            self.average = optimiser.moving_average(self.network, settings.ema)
        self._learning = optimiser.learning(self.network)
        groups = optimiser.parameter_groups(self.network, settings)
        self.adam = torch.optim.AdamW(groups, lr=settings.lr)
        self.rates = optimiser.schedule(self.adam, settings, steps)
        self.epoch = self.done = 0
        self.last_lr = math.nan
        self._losses: list[float] = []

    @property
    def judged(self) -> nn.Module:
        """The module that is validated and kept: the moving average, if there is one."""
        return self.average.module if self.average is not None else self.network

    def state_dict(self) -> dict[str, Any]:
        """Return all that a later step depends on."""
        return {"done": self.done, **{k: part.state_dict() for k, part in self._parts().items()}}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from what :meth:`state_dict` gave."""
        self.done = state["done"]
        for name, part in self._parts().items():
            part.load_state_dict(state[name])

    def _parts(self) -> dict[str, Any]:
        parts = {"network": self.network, "adam": self.adam, "rates": self.rates}
        return parts if self.average is None else {**parts, "average": self.average}

    def begin(self, epoch: int) -> None:
        """Begin an epoch; what does not learn in it keeps its statistics and has no dropout."""
        self.epoch, self._losses = epoch, []
        only_head = epoch < self.settings.head_epochs
        if self.settings.head_epochs:
            optimiser.only_head(self.network, self._learning, only_head)
        self.network.train(not only_head)
        self.network.get_classifier().train()

    def step(self, batch: Batch) -> float:
        """Take one step and return the loss; an error names the images where it is no number."""
        # dropout is seeded by the step, so that a resumed run draws what an unbroken one draws
        seed = self.settings.seed
        torch.manual_seed(seed_of(seed, "step", self.done, *processes.rank_key()))
        target = batch["target"].to(self.device)
        x, partner, share = self._mixed(self._input(batch))
        total = float(len(target))
        if self.loss.weights is not None:  # their sum, the mean over all processes
            total = processes.mean(self.loss.weights[target].sum(), self.device)
        value = 0.0
        self.adam.zero_grad()
        size = math.ceil(len(target) / self.pieces)
        for start in range(0, len(target), size):
            piece = slice(start, start + size)
            logits = self._logits(self.network, x[piece])
            losses = self.loss(logits, target[piece])
            if partner is not None:
                losses = share * losses + (1 - share) * self.loss(logits, target[partner[piece]])
            loss = losses.sum() / total
            value += float(loss.detach())
            self._check(value, batch)
            loss.backward()
        parameters = [p for group in self.adam.param_groups for p in group["params"]]
        processes.average_gradients(parameters)
        if self.settings.clip_norm is not None:
            nn.utils.clip_grad_norm_(parameters, self.settings.clip_norm)
        self.last_lr = max(float(group["lr"]) for group in self.adam.param_groups)
        self.adam.step()
        self.rates.step()
        if self.average is not None:
            self.average.update_parameters(self.network)
        self._losses.append(value)
        self.done += 1
        return value

    def train_loss(self) -> float:
        """Return the mean loss of the epoch's steps."""
        mean = float(np.mean(self._losses)) if self._losses else math.nan
        return processes.mean(mean, self.device)

    @torch.no_grad()
    def settle(self, batches: Iterable[Batch]) -> None:
        """Take the batch statistics of the network that is kept from these batches alone.

        The running averages of a short training lag behind its weights, and are of composites and
        of mixed images too (Wu & Johnson, Rethinking "Batch" in BatchNorm, arXiv:2105.07576, §3).
        A network without batch norm, or of which only the head learns, stays as it is.
        """
        if self.epoch < self.settings.head_epochs:
            return
        kind = self.device.partition(":")[0]
        inputs = (
            piece
            for batch in batches
            for piece in self._input(batch).split(math.ceil(len(batch["row"]) / self.pieces))
        )
        with torch.autocast(kind, torch.bfloat16, enabled=self.bf16):
            update_bn(inputs, self.judged)

    @torch.inference_mode()
    def validate(self, batches: Iterable[Batch]) -> dict[str, float]:
        """Return :func:`scores_of` the network that is kept; an error if an output is no number."""
        judged = self.judged.eval()
        if processes.size() > 1:  # batch statistics differ a little: the first one's count
            for buffer in judged.buffers():
                distributed.broadcast(buffer, 0)
        seen: list[tuple[torch.Tensor, ...]] = []
        for batch in batches:
            x = self._input(batch)
            pieces = x.split(math.ceil(len(x) / self.pieces))
            logits = torch.cat([self._logits(judged, piece) for piece in pieces])
            seen.append((batch["row"], logits.cpu(), batch["target"]))
        parts = processes.gathered([torch.cat(column) for column in zip(*seen, strict=True)])
        order = parts[0].argsort()
        logits, target = parts[1][order], parts[2][order]
        if not bool(torch.isfinite(logits).all()):
            raise NaturalizeError(
                f"after step {self.done}: the network's outputs on the validation images "
                f"are no numbers; lower lr (now {self.settings.lr:g})"
            )
        return scores_of(logits, target)

    def _logits(self, module: nn.Module, x: torch.Tensor) -> torch.Tensor:
        kind = self.device.partition(":")[0]
        with torch.autocast(kind, torch.bfloat16, enabled=self.bf16):
            return module(x).float()

    def _input(self, batch: Batch) -> torch.Tensor:
        if "features" in batch:
            return batch["features"].to(self.device)
        pixels = batch["pixels"].to(self.device, non_blocking=True)
        return normalise(pixels, self.config.mean, self.config.std)

    def _mixed(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor | None, float]:
        mixup, cutmix = self.settings.mixup, self.settings.cutmix
        if not (mixup or cutmix):
            return x, None, 1.0
        generator = rng(self.settings.seed, "mix", self.done, *processes.rank_key())
        return mix(x, generator, mixup=mixup, cutmix=cutmix)

    def _check(self, value: float, batch: Batch) -> None:
        if not math.isfinite(value):
            ids = [self.names[row] for row in batch["row"].tolist()]
            raise NaturalizeError(
                f"step {self.done + 1}: the loss is {value}; lower lr (now "
                f"{self.settings.lr:g}) or look at the batch's images: {', '.join(ids)}"
            )


def scores_of(logits: torch.Tensor, target: torch.Tensor) -> dict[str, float]:
    """Return ``loss`` (cross entropy), ``accuracy`` and ``macro_f1`` over all classes."""
    from sklearn.metrics import accuracy_score, f1_score

    predicted, true = logits.argmax(1).numpy(), target.numpy()
    labels = np.arange(logits.shape[1])
    f1 = f1_score(true, predicted, labels=labels, average="macro", zero_division=0.0)
    return {
        "loss": float(functional.cross_entropy(logits, target)),
        "accuracy": float(accuracy_score(true, predicted)),
        "macro_f1": float(f1),
    }


def fit_temperature(logits: np.ndarray, targets: np.ndarray) -> float:
    """Return the temperature T at which softmax(logits / T) is most likely (Guo et al., ICML 2017).

    It changes how sure a network says it is, never what it says. ``logits`` (N, C) are of images
    that were not trained on. It is 0.05 to 20; below 1 where the network is too timid, as after
    label smoothing and MixUp.

    Examples
    --------
    >>> timid = np.log([[0.6, 0.4], [0.4, 0.6], [0.6, 0.4]])
    >>> fit_temperature(timid, np.array([0, 1, 0])) < 1
    True
    """
    from scipy.optimize import minimize_scalar
    from scipy.special import log_softmax

    logits = np.asarray(logits, np.float64)
    rows = np.arange(len(targets))

    def loss(log_temperature: float) -> float:
        said = log_softmax(logits / np.exp(log_temperature), axis=1)
        return float(-said[rows, targets].mean())

    bounds = (np.log(_COLDEST), np.log(_HOTTEST))
    return float(np.exp(minimize_scalar(loss, bounds=bounds, method="bounded").x))


def answers_to(network: Network, batches: Iterable[Batch]) -> tuple[np.ndarray, np.ndarray]:
    """Return logits, float32 (N, C), and true classes, int (N,), of validation batches."""
    module, config = network.module.eval(), network.config
    device = next(module.parameters()).device
    logits, targets = [], []
    with torch.inference_mode():
        for batch in batches:
            x = normalise(batch["pixels"].to(device), config.mean, config.std)
            logits.append(module(x).float().cpu().numpy())
            targets.append(batch["target"].numpy())
    return np.concatenate(logits), np.concatenate(targets)


def validation_temperature(said: np.ndarray, true: np.ndarray) -> float:
    """Return the temperature that fits :func:`answers_to` validation images.

    1 where there are fewer than 100 images, or none that the network gets wrong.
    """
    if len(true) < _ENOUGH or bool((said.argmax(axis=1) == true).all()):
        return 1.0
    return round(fit_temperature(said, true), 4)
