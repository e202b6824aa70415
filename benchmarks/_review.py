"""Reviews of any size from a few drawn cells, for benchmarks and tests: no model is asked.

Each cell shows one of a few dozen phantom pictures; its probabilities are drawn so that the model
is right about nine times in ten and doubtful cells are the wrong ones more often.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from naturalize.base.images import write_image
from naturalize.base.rng import rng
from naturalize.dataset.phantom import CLASSES, render_phantom
from naturalize.review.service.intake.prepare import write
from naturalize.review.service.pictures.cut import outline_of
from naturalize.review.store.cells import CellRow

#: Share of each class, in the order of `CLASSES`: a differential with a left shift.
SHARES = (0.02, 0.08, 0.05, 0.03, 0.24, 0.03, 0.08, 0.02, 0.02, 0.01, 0.42)

#: Drawn pictures of a class.
_DRAWN = 4

#: Logit by which the model prefers the true class, on average, and its spread over cells.
_PREFERRED, _SPREAD = 5.0, 2.2


def synthetic_review(folder: Path, n: int, *, seed: int = 0, size: int = 360) -> Path:
    """Write a review of ``n`` phantom cells, their pictures beside it; return its folder.

    10,000 cells take some seconds. Every hundredth cell is unidentified. ``size``: side of the
    pictures in pixels. The true class of a cell is the folder of its picture.
    """
    images = folder.with_name(f"{folder.name}-images")
    outlines = _draw(images, seed, size)
    draw = rng(seed, "synthetic review", n)
    true = draw.choice(len(CLASSES), n, p=SHARES)
    picture = draw.integers(_DRAWN, size=n)
    logits = draw.normal(0, 1, (n, len(CLASSES)))
    logits[np.arange(n), true] += draw.normal(_PREFERRED, _SPREAD, n)
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    shares = (powers / powers.sum(axis=1, keepdims=True)).astype(np.float32)
    best = shares.argmax(axis=1)
    sure = shares.max(axis=1)
    cells = []
    for i in range(n):
        name = f"{CLASSES[true[i]]}/{picture[i]}.jpg"
        label, flag = CLASSES[best[i]], "unsure: low confidence" if sure[i] < 0.5 else ""
        known = i % 100 != 99
        likely = [CLASSES[k] for k in np.argsort(-shares[i]) if shares[i, k] > 0.1]
        cells.append(
            CellRow(
                path=name,
                kind="platelet" if label == "PLT" and known else "wbc",
                model_label=label if known else None,
                confidence=float(sure[i]) if known else None,
                probabilities=shares[i] if known else None,
                candidates=tuple(likely) if known else (),
                flag=flag if known else "no cell",
                area=float(draw.normal(9000, 2000)),
                taken=1.7e9 + i,
                outline=outlines[name],
            )
        )
    settings = {
        "name": folder.name,
        "model": "synthetic",
        "root": str(images.absolute()),
        "input": "predictions",
        "source": [images.name],
        "set_share": 0.9,
    }
    return write(folder, settings, CLASSES, cells, source=f"synthetic-{n}-{seed}")


def _draw(images: Path, seed: int, size: int) -> dict[str, np.ndarray]:
    """Write the pictures; return path → outline of its cell, int16 (N, 2)."""
    outlines = {}
    for label in CLASSES:
        for number in range(_DRAWN):
            drawn = render_phantom(label, seed, number, size=(size, size))
            name = f"{label}/{number}.jpg"
            write_image(images / name, drawn.image)
            corner = np.array(drawn.target.box[:2], np.int16)
            outlines[name] = outline_of(drawn.target.mask) + corner
    return outlines
