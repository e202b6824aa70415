"""A laboratory's image files to features of cells."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from naturalize.adaptation.head import Cells, Head
from naturalize.base.artifacts import fingerprint
from naturalize.base.console import track, warn
from naturalize.base.engine import prefetched
from naturalize.base.errors import ImageReadError, InputError
from naturalize.base.images import content_hash, read_image
from naturalize.models.preprocess import normalise
from naturalize.prediction.profile import Profile, sample
from naturalize.prediction.standardise import Standardised, Standardiser

if TYPE_CHECKING:
    from naturalize.models.torch_predictor import TorchPredictor

#: Images read at most, evenly from all: labels spread over a matrix of cells by cells.
MOST = 2000

#: Cells a pass of the network, all views at once, and images under way.
_BATCH, _WINDOW = 8, 8

#: Why nothing is learnt of a picture.
UNREADABLE, NO_CELL, TWICE = "unreadable", "without a clear white cell", "the same picture again"

#: A file, its label if it has one, and the classes that the label allows.
Told = tuple[Path, "str | None", "np.ndarray | None"]


@dataclass(frozen=True)
class Seen:
    """Cells, the labels of those that have one, what was left out, and a name of the pictures."""

    cells: Cells
    labels: list[str]
    left_out: dict[str, int]
    digest: str


@dataclass(frozen=True)
class _Picture:
    """A file's pictures, ready for the network, and what names its pixels; or why there is none."""

    key: str
    made: Sequence[Standardised] = ()
    problem: str | None = None


def read_cells(
    predictor: TorchPredictor,
    head: Head,
    paths: Sequence[Path],
    told: Sequence[tuple[Path, str, np.ndarray]],
    profile: str | Path | None = None,
) -> Seen:
    """Standardise images and labelled images of one laboratory, and return the cells' features.

    Fields give all their white cells, but only images of one cell can be labelled. Pictures without
    a clear cell are left out, and so is a picture that came before, labelled ones first.

    ``InputError`` for one picture with two labels.
    """
    standard = predictor.config.standard
    if profile is not None and standard is not None:
        standardiser = Standardiser(standard, profile=Profile.load(Path(profile), standard))
    else:
        standardiser = Standardiser(standard).learn([*(row[0] for row in told), *paths])
    if len(paths) > MOST:
        warn(f"{len(paths):,} images: {MOST:,}, evenly from all, are taken")
        paths = [paths[place] for place in sample(paths, MOST)]
    asked: list[Told] = [*told, *((path, None, None) for path in paths)]
    out: Counter[str] = Counter()
    labels_of: dict[str, tuple[str | None, Path]] = {}
    rows: list[tuple[Standardised, np.ndarray | None]] = []
    labels: list[str] = []

    def pictures() -> Iterator[tuple[Told, _Picture]]:
        def begun(one: Told) -> _Picture:
            return _picture(one[0], standardiser, whole=one[1] is not None)

        ahead = prefetched(begun, asked, window=_WINDOW)
        yield from zip(asked, track(ahead, "standardise", len(asked)), strict=True)

    pixels: list[np.ndarray] = []
    for (path, label, allowed), picture in pictures():
        if picture.problem is not None:
            out[picture.problem] += 1
            continue
        before = labels_of.get(picture.key)
        if before is not None:
            if label is not None and before[0] != label:
                raise InputError(
                    f"--labels: {before[1]} and {path} are one picture with two labels, "
                    f"{before[0]} and {label}; correct one of them"
                )
            out[TWICE] += label is None and before[0] is None
            continue
        labels_of[picture.key] = label, path
        for one in picture.made:
            rows.append((one, allowed))
            labels += [label] if label is not None else []
            pixels.append(predictor.config.view.prepare(one.image, one.slide))
    cells = _cells(predictor, head, rows, pixels)
    digest = fingerprint("images", {k: label for k, (label, _) in sorted(labels_of.items())}, {})
    return Seen(cells, labels, {reason: n for reason, n in out.items() if n}, digest)


def _picture(path: Path, standardiser: Standardiser, *, whole: bool) -> _Picture:
    try:
        image = read_image(path)
    except ImageReadError:
        return _Picture("", problem=UNREADABLE)
    found = [standardiser(image)] if whole else standardiser.each(image)
    # what a label is given to has a cell, whatever the segmenter says
    made = [one for one in found if whole or (one.verdict is None and not one.doubt)]
    key = content_hash(np.ascontiguousarray(image).tobytes() + str(image.shape).encode())
    return _Picture(key, made, None if made else NO_CELL)


def _cells(
    predictor: TorchPredictor,
    head: Head,
    rows: Sequence[tuple[Standardised, np.ndarray | None]],
    pixels: Sequence[np.ndarray],
) -> Cells:
    classes, standard = predictor.classes, predictor.config.standard
    kinds = standard.kinds if standard is not None else {}
    allowed = np.ones((len(rows), len(classes)), bool)
    told = np.zeros_like(allowed)
    for i, (one, label) in enumerate(rows):
        if label is not None:
            told[i] = label
        elif one.kind is not None:
            allowed[i] = [kinds.get(name, one.kind) == one.kind for name in classes]
    return Cells(features_of(predictor, pixels, head.weights.shape[1]), allowed, told)


def features_of(predictor: Any, pixels: Sequence[np.ndarray], width: int) -> np.ndarray:
    """Return float32 (N, 8, D): features of four quarter turns, then of the same mirrored.

    ``pixels`` are images as the network sees them, uint8 (S, S, 3).
    """
    import torch

    found = np.empty((len(pixels), 8, width), np.float32)
    config, module = predictor.config, predictor.module
    for begin in track(range(0, len(pixels), _BATCH), "features"):
        piece = np.stack(pixels[begin : begin + _BATCH])
        views = [np.rot90(each, k, (1, 2)) for each in (piece, piece[:, :, ::-1]) for k in range(4)]
        batch = torch.from_numpy(np.ascontiguousarray(np.stack(views, 1)).reshape(-1, *piece.shape[1:]))
        with torch.inference_mode():
            x = normalise(batch.to(predictor.device), config.mean, config.std)
            rows = module.forward_head(module.forward_features(x), pre_logits=True).float()
        found[begin : begin + _BATCH] = rows.cpu().numpy().reshape(len(piece), 8, -1)
    return found
