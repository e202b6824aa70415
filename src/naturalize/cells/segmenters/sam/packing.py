"""A segmentation as a few kilobytes, and back: exactly the same cells."""

from __future__ import annotations

import io

import numpy as np

from naturalize.base.errors import ArtifactError
from naturalize.cells.segmentation import KINDS, Cell, Segmentation
from naturalize.imaging.runlength import decode, encode

#: Raised when the layout changes; other versions are refused.
VERSION = 1


def pack(segmentation: Segmentation) -> bytes:
    """Return a compressed NumPy archive (no pickle) with the masks as run lengths."""
    cells = segmentation.cells
    masks = [encode(cell.mask) for cell in cells]
    nuclei = [encode(c.nucleus) if c.nucleus is not None else _NOTHING for c in cells]
    buffer = io.BytesIO()
    np.savez_compressed(
        buffer,
        version=np.array(VERSION),
        shape=np.array(segmentation.shape),
        background=np.array(segmentation.background, np.float64),
        kind=np.array([KINDS.index(cell.kind) for cell in cells], np.uint8),
        box=np.array([cell.box for cell in cells], np.int32).reshape(-1, 4),
        score=np.array([cell.score for cell in cells], np.float64),
        mask=np.concatenate([_NOTHING, *masks]),
        mask_runs=np.array([len(runs) for runs in masks], np.int64),
        nucleus=np.concatenate([_NOTHING, *nuclei]),
        nucleus_runs=np.array([len(runs) for runs in nuclei], np.int64),
    )
    return buffer.getvalue()


_NOTHING = np.zeros(0, np.uint32)


def unpack(data: bytes) -> Segmentation:
    """Return the segmentation of :func:`pack`.

    Raises
    ------
    ArtifactError
        If the bytes are damaged, or of another version.
    """
    try:
        with np.load(io.BytesIO(data), allow_pickle=False) as archive:
            found = {name: archive[name] for name in archive.files}
        if found["version"] != VERSION:
            raise ArtifactError("packed cells: of another version")
        return _segmentation(found)
    except ArtifactError:
        raise
    except Exception as error:  # zip, NumPy and indexing each have their own for damaged bytes
        raise ArtifactError(f"packed cells: damaged ({error})") from error


def _segmentation(found: dict[str, np.ndarray]) -> Segmentation:
    masks = np.split(found["mask"], np.cumsum(found["mask_runs"])[:-1])
    nuclei = np.split(found["nucleus"], np.cumsum(found["nucleus_runs"])[:-1])
    cells = []
    columns = (found["kind"], found["box"], found["score"], masks, nuclei)
    # of no cells at all, splitting still gives one empty piece
    for kind, box, score, mask, nucleus in zip(*columns, strict=len(found["kind"]) > 0):
        x0, y0, x1, y1 = (int(value) for value in box)
        shape = (y1 - y0, x1 - x0)
        kernel = decode(nucleus, shape) if len(nucleus) else None
        cells.append(Cell(KINDS[kind], (x0, y0, x1, y1), decode(mask, shape), float(score), kernel))
    height, width = (int(value) for value in found["shape"])
    red, green, blue = (float(value) for value in found["background"])
    return Segmentation((height, width), tuple(cells), (red, green, blue))
