"""Did it help? Cross-checks of a layer that was fitted to a laboratory, with and without labels."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from naturalize.adaptation.head import TURNS, Cells, Head, adapted, neighbours
from naturalize.base.rng import rng

#: Parts of the labelled cells of which one at a time is left out.
_FOLDS = 5

#: Less agreement than the first, of neighbours or of halves, is as of features that divide no
#: classes; from the second on, a layer is trusted even if its answers agree less than those before:
#: neighbours and views agree most where all cells are given one class.
_MOSTLY, _SURELY = 0.6, 0.7


@dataclass(frozen=True)
class Check:
    """What was measured on cells that the layer was not fitted to, before and after.

    ``views``: share of mirrored and turned views of a cell with its most frequent answer.
    ``neighbours``: share of a cell's neighbours with its answer. ``stability``: share of cells that
    two layers, each fitted to one half, answer the same. ``balanced``: balanced accuracy on
    labelled cells whose label was left out; null without labels.
    """

    views: tuple[float, float]
    neighbours: tuple[float, float]
    stability: float
    balanced: tuple[float, float] | None = None

    @property
    def helped(self) -> bool:
        """Whether the new layer is the better one: by labels where there are any."""
        if self.balanced is not None and self.balanced[0] != self.balanced[1]:
            return self.balanced[1] > self.balanced[0]
        before, after = (self.views[i] + self.neighbours[i] for i in (0, 1))
        alike = min(self.neighbours[1], self.stability)
        return alike >= _SURELY or (after > before and alike >= _MOSTLY)


def check(cells: Cells, head: Head, seed: int = 0) -> Check:
    """Measure how layers do on cells that they were not fitted to."""
    order = rng(seed, "halves").permutation(len(cells))
    halves = order[: len(order) // 2], order[len(order) // 2 :]
    layers = [adapted(cells.only(half), head) for half in halves]
    pairs = [  # each half, answered by the layer of the other
        (_consistent(cells.only(half), head), _consistent(cells.only(half), layer))
        for half, layer in zip(halves, reversed(layers), strict=True)
    ]
    (old_views, old_near), (new_views, new_near) = np.mean(pairs, axis=0)
    answers = [_answers(cells, layer) for layer in layers]
    return Check(
        views=(float(old_views), float(new_views)),
        neighbours=(float(old_near), float(new_near)),
        stability=float((answers[0] == answers[1]).mean()),
        balanced=_by_labels(cells, head, seed),
    )


def _answers(cells: Cells, head: Head) -> np.ndarray:
    return np.asarray(cells.answers(head).argmax(axis=-1))


def _consistent(cells: Cells, head: Head) -> tuple[float, float]:
    """Return in how far like cells, and views of one cell that were not fitted to, agree."""
    views = cells.each_view(head)[:, TURNS:].argmax(axis=-1)
    same = (views[:, :, None] == views[:, None]).sum(axis=2).max(axis=1) / views.shape[1]
    graph = neighbours(cells.features[:, :TURNS].mean(axis=1))
    alike = _answers(cells, head)
    agree = (graph * (alike[:, None] == alike)).sum() / graph.sum()
    return float(same.mean()), float(agree)


def _by_labels(cells: Cells, head: Head, seed: int) -> tuple[float, float] | None:
    """Return balanced accuracies on labelled cells, five-fold, over labels of two cells or more.

    Null where no two labels have as many.
    """
    labelled = np.flatnonzero(cells.labelled)
    kinds, counts = np.unique(cells.told[labelled], axis=0, return_counts=True)
    groups = kinds[counts > 1]
    if len(groups) < 2:
        return None
    same = (cells.told[labelled][:, None] == groups).all(axis=2)
    labelled, of = labelled[same.any(axis=1)], same[same.any(axis=1)].argmax(axis=1)
    fold = np.empty(len(labelled), int)
    for group in range(len(groups)):
        mine = rng(seed, "fold", group).permutation(np.flatnonzero(of == group))
        fold[mine] = (np.arange(len(mine)) + group) % _FOLDS
    right = np.empty((2, len(labelled)), bool)
    for part in np.unique(fold):
        asked = labelled[fold == part]
        layer = adapted(cells.unlabelled(asked), head)
        for i, each in enumerate((head, layer)):
            answers = _answers(cells.only(asked), each)
            right[i, fold == part] = cells.told[asked, answers]
    recalls = [[row[of == group].mean() for group in range(len(groups))] for row in right]
    before, after = np.mean(recalls, axis=1)
    return float(before), float(after)
