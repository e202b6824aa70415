"""A laboratory's image files to features of cells."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from naturalize.adaptation.head import Cells
from naturalize.base.artifacts import fingerprint
from naturalize.base.console import track, warn
from naturalize.base.engine import prefetched
from naturalize.base.errors import ImageReadError, InputError
from naturalize.base.images import content_hash, read_image
from naturalize.models.preprocess import normalise
from naturalize.prediction.profile import Profile, sample
from naturalize.prediction.standardise import Standardiser

if TYPE_CHECKING:
    from naturalize.models.config import Standard
    from naturalize.models.torch_predictor import TorchPredictor

#: Images read at most, evenly from all: labels spread over a matrix of cells by cells.
MOST = 2000

#: Cells a pass of the network, all views at once, and images under way.
_BATCH, _WINDOW = 8, 8

#: Why nothing is learnt of a picture.
_UNREADABLE, _NO_CELL, _TWICE = "unreadable", "without a clear white cell", "the same picture again"
_AT_HOME = "like the training images"


@dataclass
class Seen:
    """Cells as the network sees them, uint8 (S, S, 3), with files, kinds and labels (or null).

    ``left_out`` counts pictures that give no cell, by reason; ``pictures`` has the label of each
    that was read, and its file.
    """

    pixels: list[np.ndarray] = field(default_factory=list)
    files: list[Path] = field(default_factory=list)
    kinds: list[str | None] = field(default_factory=list)
    labels: list[str | None] = field(default_factory=list)
    left_out: Counter[str] = field(default_factory=Counter)
    pictures: dict[str, tuple[str | None, Path]] = field(default_factory=dict)

    @property
    def digest(self) -> str:
        """What names the pictures and their labels."""
        return fingerprint("images", {k: v[0] for k, v in sorted(self.pictures.items())}, {})

    def new(self, key: str, path: Path, label: str | None) -> bool:
        """Note a picture; whether it is another than those before."""
        if key not in self.pictures:
            self.pictures[key] = label, path
            return True
        before, first = self.pictures[key]
        if label is not None and label != before:
            raise InputError(
                f"--labels: {first} and {path} are one picture with two labels, {before} and "
                f"{label}; correct one of them"
            )
        self.left_out[_TWICE] += before is None
        return False


def learnt(
    standard: Standard | None, paths: Sequence[Path], profile: str | Path | None = None
) -> Standardiser:
    """Return what standardises a laboratory's images, by the file of a profile if there is one."""
    if profile is not None and standard is not None:
        return Standardiser(standard, profile=Profile.load(Path(profile), standard))
    return Standardiser(standard).learn(paths)


def read_images(
    predictor: TorchPredictor,
    paths: Sequence[Path],
    labelled: Sequence[tuple[Path, str]],
    standardiser: Standardiser,
    *,
    only: bool = False,
) -> Seen:
    """Standardise labelled and other images of one laboratory.

    Fields give all their white cells; a label is of the cell in the middle. Pictures without a
    clear cell are left out, and so is one that came before, labelled ones first. ``only``: so are
    those that look like the training images, for which this predictor does not answer.

    ``InputError`` for one picture with two labels.
    """
    if len(paths) > MOST:
        warn(f"{len(paths):,} images: {MOST:,}, evenly from all, are taken")
        paths = [paths[place] for place in sample(paths, MOST)]

    def begun(
        one: tuple[Path, str | None],
    ) -> tuple[str, list[tuple[np.ndarray, str | None]] | None]:
        path, label = one
        try:
            image = read_image(path)
        except ImageReadError:
            return "", []
        key = content_hash(str(image.shape).encode() + np.ascontiguousarray(image).tobytes())
        made = [standardiser(image)] if label is not None else standardiser.each(image)
        # what has a label has a cell, whatever the segmenter says
        kept = [o for o in made if label is not None or (o.verdict is None and not o.doubt)]
        if only and not all(one.standardised for one in made):
            return key, None
        view = predictor.config.view
        return key, [(view.prepare(o.image, o.slide), o.kind) for o in kept]

    asked = [*labelled, *((path, None) for path in paths)]
    ahead = track(prefetched(begun, asked, window=_WINDOW), "standardise", len(asked))
    seen = Seen()
    for (path, label), (key, made) in zip(asked, ahead, strict=True):
        if not key:
            seen.left_out[_UNREADABLE] += 1
        elif made is None:
            seen.left_out[_AT_HOME] += 1
        elif seen.new(key, path, label):
            seen.left_out[_NO_CELL] += not made
            for pixels, kind in made:
                seen.pixels.append(pixels)
                seen.files.append(path)
                seen.kinds.append(kind)
                seen.labels.append(label)
    seen.left_out = +seen.left_out
    return seen


def cells_of(predictor: TorchPredictor, seen: Seen, meant: Mapping[str, Sequence[str]]) -> Cells:
    """Return the features of cells; ``meant``: label → the model's classes that it allows."""
    standard, classes = predictor.config.standard, predictor.classes
    kinds = standard.kinds if standard is not None else {}
    allowed = [
        [label is not None or kind is None or kinds.get(name, kind) == kind for name in classes]
        for kind, label in zip(seen.kinds, seen.labels, strict=True)
    ]
    told = [
        [label is not None and name in meant[label] for name in classes] for label in seen.labels
    ]
    return Cells(features(predictor, seen.pixels), np.array(allowed), np.array(told))


def features(predictor: TorchPredictor, pixels: Sequence[np.ndarray]) -> np.ndarray:
    """Return float32 (N, 8, D): features of four quarter turns, then of the same mirrored.

    ``pixels`` are images as the network sees them, uint8 (S, S, 3).
    """
    import torch

    config, module, found = predictor.config, predictor.module, []
    for begin in track(range(0, len(pixels), _BATCH), "features"):
        piece = np.stack(pixels[begin : begin + _BATCH])
        views = [np.rot90(each, k, (1, 2)) for each in (piece, piece[:, :, ::-1]) for k in range(4)]
        batch = torch.from_numpy(np.stack(views, axis=1).reshape(-1, *piece.shape[1:]))
        with torch.inference_mode():
            x = normalise(batch.to(predictor.device), config.mean, config.std)
            rows = module.forward_head(module.forward_features(x), pre_logits=True).float()
        found.append(rows.cpu().numpy().reshape(len(piece), 8, -1))
    return np.concatenate(found)
