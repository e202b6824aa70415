"""From the teacher's masks to what the network learns: kinds and instances, doubt left out."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from naturalize.imaging.shape import has_waist, solidity

#: Classes of a pixel, in the order of the network's outputs; then cytoplasm or nucleus, which of
#: them is not known; ``IGNORE`` says nothing.
SLIDE, CYTOPLASM, NUCLEUS, RED, PLATELET, WHITE, IGNORE = 0, 1, 2, 3, 4, 5, 255

#: Instance of pixels whose kind is known, but not which cell they belong to.
SOME_CELL = 255

#: Least Dice of SAM's mask with the proposal that it was prompted from, for it to be accepted.
_AGREES = {"wbc": 0.88, "rbc": 0.85, "platelet": 0.75}

#: A red cell that lies over another may be larger than what the proposal saw of it.
_SEEN, _ROUND = 0.92, 0.94


@dataclass(frozen=True, eq=False)
class Candidate:
    """A proposal and the masks that SAM gave for its box.

    Attributes
    ----------
    kind
        ``"wbc"``, ``"rbc"`` or ``"platelet"``.
    mask, nucleus
        Bool (H, W): the proposal itself; ``nucleus`` may be ``None``.
    answers
        ``(mask, score, leak)`` of each of SAM's answers: bool (H, W), its own predicted IoU, and
        the share of it that lies outside the prompt's surroundings.
    """

    kind: str
    mask: np.ndarray
    nucleus: np.ndarray | None
    answers: tuple[tuple[np.ndarray, float, float], ...]


def accepted(candidate: Candidate) -> np.ndarray | None:
    """Return the answer that is believed, bool (H, W), or ``None``.

    It agrees with the proposal; or, for red cells, covers it and is a round cell: SAM completes a
    disc of which the proposal saw the uncovered part only.
    """
    usable = [(mask, score) for mask, score, leak in candidate.answers if leak < 0.02]
    if not usable:
        return None
    mask, score = max(usable, key=lambda answer: dice(answer[0], candidate.mask))
    if dice(mask, candidate.mask) >= _AGREES[candidate.kind]:
        return mask
    covered = np.count_nonzero(mask & candidate.mask) >= _SEEN * np.count_nonzero(candidate.mask)
    if candidate.kind == "rbc" and covered and score > 0.85 and solidity(mask) > _ROUND:
        return mask
    return None


def corrected(candidates: list[Candidate], shows_platelet: bool) -> list[Candidate] | None:
    """Return the candidates with kinds that fit the image's label; ``None`` where none can.

    An image labelled as a platelet shows no nucleated cell that is smaller than a red one; any
    other image shows a nucleated cell.
    """
    reds = [np.count_nonzero(c.mask) for c in candidates if c.kind == "rbc"]
    usual = float(np.median(reds)) if reds else 0.0
    if shows_platelet:
        return [
            replace(c, kind="platelet", nucleus=None)
            if c.kind == "wbc" and np.count_nonzero(c.mask) < 1.1 * usual
            else c
            for c in candidates
        ]
    if not any(c.kind == "wbc" for c in candidates):
        return None
    # as large as a red cell: a small nucleated cell, or a giant platelet; better not to say which
    doubtful = [c.kind == "platelet" and np.count_nonzero(c.mask) > 0.5 * usual for c in candidates]
    return [
        replace(c, answers=()) if doubt else c
        for c, doubt in zip(candidates, doubtful, strict=True)
    ]


def targets(shape: tuple[int, int], candidates: list[Candidate]) -> tuple[np.ndarray, np.ndarray]:
    """Return the classes uint8 (H, W) and the instances uint8 (H, W), 0 where there is none.

    A pixel counts where SAM and the proposal say the same; where they differ, and all over cells
    of which no answer is believed, it is ``IGNORE``. So the network is never taught the one-sided
    error of either teacher, and draws the border itself. A platelet is what either of them says.
    Where one outline may hold two cells the kind is taught, and no instance.
    """
    areas = [np.count_nonzero(c.mask) for c in candidates if c.kind == "rbc"]
    usual = float(np.median(areas)) if areas else 0.0
    classes = np.zeros(shape, np.uint8)
    instances = np.zeros(shape, np.uint8)
    believed = [accepted(candidate) for candidate in candidates]
    order = ("rbc", "wbc", "platelet")
    numbered = sorted(
        enumerate(zip(candidates, believed, strict=True), 1),
        key=lambda item: order.index(item[1][0].kind),
    )
    for number, (candidate, mask) in numbered:
        if mask is None:
            classes[candidate.mask] = IGNORE
            continue
        sure, doubtful = mask & candidate.mask, mask ^ candidate.mask
        if candidate.kind == "platelet":  # its pale rim belongs to it, and either teacher cuts it
            sure = mask | candidate.mask
        classes[doubtful & (classes == SLIDE)] = IGNORE
        # what lies over another cell is seen; what lies under one is not
        fresh = sure & ((instances == 0) | (candidate.kind != "rbc"))
        kind = {"rbc": RED, "platelet": PLATELET, "wbc": CYTOPLASM}[candidate.kind]
        classes[fresh] = kind
        instances[fresh] = SOME_CELL if _may_be_two(candidate.kind, mask, usual) else number
        if candidate.nucleus is not None:
            classes[fresh & candidate.nucleus] = NUCLEUS
    return classes, instances


def _may_be_two(kind: str, mask: np.ndarray, usual: float) -> bool:
    """Return whether a mask may hold two cells; ``usual``: area of the image's red cells."""
    if kind == "rbc" and np.count_nonzero(mask) > 1.2 * usual and solidity(mask) < 0.97:
        return True
    return kind != "platelet" and has_waist(mask)


def dice(a: np.ndarray, b: np.ndarray) -> float:
    """Return the Dice coefficient of two bool masks."""
    return 2 * np.count_nonzero(a & b) / max(1, np.count_nonzero(a) + np.count_nonzero(b))
