"""``Naturalize``: a transform that puts a fresh composite of the same class in a sample's place.

It goes where a torchvision-v2 transform goes, and works without torch. Whether a sample is
replaced, and by which recipe, depends on the seed, the epoch and the sample itself, never on a
worker: the same training run on one process or eight sees the same pictures.
"""

from __future__ import annotations

import hashlib
import operator
import os
import sys
import tempfile
import warnings
import weakref
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from naturalize.base.errors import InputError, NaturalizeWarning, SettingsError, unknown
from naturalize.base.rng import rng
from naturalize.compose.deliver.dataset import resized
from naturalize.compose.draw.materials import Materials
from naturalize.compose.draw.modes import DEFAULT, Mode
from naturalize.compose.draw.modes import mode as mode_of
from naturalize.compose.draw.planner import plan
from naturalize.compose.paint.crops import CropStore
from naturalize.compose.paint.render import finished, render
from naturalize.compose.paint.sizes import Size, asked_size
from naturalize.compose.recipe.plan import Plan
from naturalize.compose.recipe.recipe import Finish

if TYPE_CHECKING:
    from naturalize.cells.bank import CellBank


class Naturalize:
    """Replaces an image, with some probability, by a composite of its class.

    Called as ``image, label = transform(image, label)``, or with the pair as one argument. Images
    are uint8: a tensor (3, H, W) or tv_tensor, an array (H, W, 3), or a PIL image, and come back as
    what they were; labels come back as they are. Put it before any random transform: a sample is
    known by its pixels, unless ``key`` names it.

    ``set_epoch(n)`` draws anew; workers that are running already take note, persistent ones too.

    Parameters
    ----------
    bank
        The cells; of training images only, if you mean to test on the others.
    probability
        Share of the samples that are replaced, 0–1.
    classes
        The class names in the order of the numbers that labels are; by default the bank's. Labels
        may be names as well.
    size
        Side of a square, or width and height, of all that comes out: composites are composed at it,
        images that stay are resized. By default the size of the image that is replaced.
    only
        The classes that are replaced; by default all of which the bank has cells, with a warning
        that names the others.
    mode
        How composites are made, with its settings as further keywords.
    per_class
        Recipes a class, from which each replacement is drawn. They are :attr:`plan`, so that
        lineage can be checked; they take some hundred bytes each.
    seed
        Another seed, other choices.
    folder
        Where decoded cells are kept; by default a temporary folder that goes at the end.
    backend, workers
        To decode cells with: as for :func:`naturalize.base.engine.map`.

    Raises
    ------
    SettingsError
        For a value out of range, or an unknown class.
    InputError
        If a class of ``only`` has no cells, or no class has.
    """

    def __init__(
        self,
        bank: CellBank,
        *,
        probability: float = 0.5,
        classes: Sequence[str] | None = None,
        size: Size = None,
        only: Sequence[str] | None = None,
        mode: str = DEFAULT,
        per_class: int = 2000,
        seed: int = 0,
        folder: str | Path | None = None,
        backend: str = "serial",
        workers: int | None = None,
        **mode_settings: Any,
    ) -> None:
        if not 0 <= probability <= 1:
            raise SettingsError(f"probability: expected 0 to 1, got {probability}")
        if isinstance(per_class, bool) or not isinstance(per_class, int) or per_class < 1:
            raise SettingsError(f"per_class: expected at least 1, got {per_class!r}")
        self.probability, self.seed = float(probability), seed
        self.size = asked_size(size)
        self.classes = tuple(bank.labels if classes is None else classes)
        materials = Materials.of(bank)
        replaced = _replaced(materials, mode_of(mode, **mode_settings), self.classes, only)
        self.plan: Plan = plan(
            bank,
            mode=mode,
            add=per_class,
            classes=replaced,
            seed=seed,
            materials=materials,
            **mode_settings,
        )
        self.plan.check_about_one("Naturalize")
        self._rows = {label: self.plan.rows_of(label) for label in replaced}
        own = tempfile.mkdtemp(prefix="naturalize-") if folder is None else None
        crops = Path(own or str(folder)) / "crops"
        self.store = CropStore.build(
            self.plan, bank, crops, size=self.size, backend=backend, workers=workers
        )
        handle, self._epoch_file = tempfile.mkstemp(prefix="naturalize-epoch-")
        os.write(handle, bytes(8))
        os.close(handle)
        weakref.finalize(self, _remove, os.getpid(), self._epoch_file, own)
        self._epoch: np.memmap | None = None

    def __repr__(self) -> str:
        return (
            f"Naturalize(probability={self.probability}, mode={self.plan.mode!r}, "
            f"classes={list(self._rows)}, size={self.size}, seed={self.seed})"
        )

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_epoch": None}

    @property
    def epoch(self) -> int:
        """The epoch, from 0 on; the same in all processes that share this transform."""
        return int(self._shared()[0])

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch: call it before each, and every epoch has composites of its own."""
        if operator.index(epoch) < 0:
            raise SettingsError(f"epoch: expected 0 or more, got {epoch}")
        self._shared()[0] = epoch

    def _shared(self) -> np.memmap:
        if self._epoch is None:
            self._epoch = np.memmap(self._epoch_file, np.int64, "r+", shape=(1,))
        return self._epoch

    def __call__(self, *sample: Any, key: str | int | None = None) -> Any:
        """Return image and label, the image replaced or not.

        ``*sample``: image and label, or one pair of them; ``key``: names the sample, such as its
        number in the data set; by default its pixels do.

        ``InputError`` if that is no image and label, or the label is none of the classes.
        """
        image, label = _image_and_label(sample)
        name, rgb = self._class_of(label), as_rgb(image)
        named = _digest(rgb) if key is None else key
        draw = rng(self.seed, "naturalize", self.epoch, named, name)
        chance = float(draw.random())
        rows = self._rows.get(name)
        size = self.size or (rgb.shape[1], rgb.shape[0])
        if rows is None:
            return like(resized(rgb, self.size), image), label
        recipe = self.plan.recipe(int(rows[draw.integers(len(rows))]))
        if chance < self.probability:
            return like(render(recipe, self.store, size=size), image), label
        # what stays has the history of what would have come
        own = size == (recipe.width, recipe.height)
        finish = recipe.finish if own else Finish()
        return like(finished(resized(rgb, self.size), finish), image), label

    def _class_of(self, label: Any) -> str:
        if isinstance(label, str):
            if label not in self.classes:
                raise unknown("class", label, list(self.classes))
            return label
        try:
            number = operator.index(label)
        except TypeError as error:
            raise InputError(
                f"label: expected the number or the name of a class, got {type(label).__name__}"
            ) from error
        if not 0 <= number < len(self.classes):
            raise InputError(f"label {number}: there are {len(self.classes)} classes, from 0 on")
        return self.classes[number]

    def over(self, dataset: Any) -> NaturalizedDataset:
        """Return ``dataset`` with this transform over it; each sample is known by its number."""
        return NaturalizedDataset(dataset, self)


class NaturalizedDataset:
    """A map-style data set of ``(image, label)``, some of them replaced by composites."""

    def __init__(self, dataset: Any, naturalize: Naturalize) -> None:
        self.dataset, self.naturalize = dataset, naturalize

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, i: int) -> Any:
        """Return sample ``i``."""
        return self.naturalize(*self.dataset[i], key=operator.index(i))


def _replaced(
    materials: Materials, mode: Mode, classes: tuple[str, ...], only: Sequence[str] | None
) -> list[str]:
    """Return the classes that can be replaced, or all that were asked for."""
    for label in only or ():
        if label not in classes:
            raise unknown("class", label, list(classes))
    if only is not None:
        return list(only)
    present = [label for label in classes if label in materials.labels]
    able = [label for label in present if len(mode.targets(materials, label))]
    if not able:
        raise InputError(
            f"the bank has no cell that mode {mode.name} can use of any of: {', '.join(classes)}"
        )
    missing = [label for label in classes if label not in able]
    if missing:
        warnings.warn(
            f"no cell of {', '.join(missing)} can be composed: their images stay as they are, so "
            "a network may learn that what looks composed is none of them",
            NaturalizeWarning,
            stacklevel=3,
        )
    return able


def _image_and_label(sample: tuple[Any, ...]) -> tuple[Any, Any]:
    if len(sample) == 1 and isinstance(sample[0], (tuple, list)):
        sample = tuple(sample[0])
    if len(sample) != 2:
        raise InputError(
            f"Naturalize: expected an image and its label, got {len(sample)} value(s); masks and "
            "boxes of a replaced image would be wrong"
        )
    return sample[0], sample[1]


def _digest(rgb: np.ndarray) -> str:
    return hashlib.blake2b(np.ascontiguousarray(rgb).tobytes(), digest_size=16).hexdigest()


def _remove(owner: int, epoch_file: str, folder: str | None) -> None:
    if os.getpid() != owner:  # a worker's copy goes: the files are not its own
        return
    import shutil

    Path(epoch_file).unlink(missing_ok=True)
    if folder is not None:
        shutil.rmtree(folder, ignore_errors=True)


def as_rgb(picture: Any) -> np.ndarray:
    """Return a picture as RGB uint8 (H, W, 3).

    ``InputError`` for anything else: floats, batches, grey images. Takes a uint8 tensor (3, H, W),
    on any device, a uint8 array (H, W, 3), or a PIL image.
    """
    if isinstance(picture, Image.Image):
        return np.asarray(picture.convert("RGB"))
    if _is_tensor(picture):
        if str(picture.dtype) != "torch.uint8" or picture.ndim != 3 or picture.shape[0] != 3:
            raise _wrong(f"a {picture.dtype!s} tensor {tuple(picture.shape)}")
        return picture.detach().cpu().permute(1, 2, 0).contiguous().numpy()
    if isinstance(picture, np.ndarray):
        if picture.dtype != np.uint8 or picture.ndim != 3 or picture.shape[2] != 3:
            raise _wrong(f"a {picture.dtype} array {picture.shape}")
        return picture
    raise _wrong(f"{type(picture).__name__}")


def like(rgb: np.ndarray, picture: Any) -> Any:
    """Return RGB uint8 (H, W, 3) as the kind of thing that ``picture`` is."""
    if isinstance(picture, Image.Image):
        return Image.fromarray(rgb)
    if not _is_tensor(picture):
        return rgb
    import torch

    tensor = torch.from_numpy(np.array(rgb.transpose(2, 0, 1), order="C")).to(picture.device)
    if type(picture) is torch.Tensor:
        return tensor
    from torchvision import tv_tensors

    return tv_tensors.wrap(tensor, like=picture)


def _is_tensor(picture: Any) -> bool:
    torch = sys.modules.get("torch")  # no tensor comes where nobody has imported it
    return torch is not None and isinstance(picture, torch.Tensor)


def _wrong(found: str) -> InputError:
    return InputError(
        f"Naturalize: expected a uint8 tensor (3, H, W), a uint8 array (H, W, 3) or a PIL image, "
        f"got {found}; put it before transforms that change the type or stack images"
    )
