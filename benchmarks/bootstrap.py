"""Seconds of the bootstrap over all scores, and its ratio to re-scoring with scikit-learn.

    python -m benchmarks.bootstrap [--images 3000] [--classes 11] [--resamples 10000]

The reference scores resampled images one resample at a time with scikit-learn; it is run over a few
resamples, and their time is scaled up. Labels and probabilities are drawn (seed 0).
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from naturalize.evaluation import intervals, ranks

#: Resamples that the reference is timed over.
_SOME = 10


def drawn(n: int, n_classes: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Return true classes, int (N,), and probabilities, float (N, C), right in nine of ten."""
    draw = np.random.default_rng(seed)
    true = draw.integers(0, n_classes, n)
    logits = 2 * draw.normal(size=(n, n_classes))
    logits[np.arange(n), true] += 6
    odds = np.exp(logits)
    return true, odds / odds.sum(axis=1, keepdims=True)


def reference(true: np.ndarray, probabilities: np.ndarray, resamples: int) -> None:
    """Score resamples with scikit-learn, the same scores."""
    from sklearn import metrics as m

    draw = np.random.default_rng(1)
    for _ in range(resamples):
        rows = draw.integers(0, len(true), len(true))
        t, p = true[rows], probabilities[rows]
        called = p.argmax(axis=1)
        m.precision_recall_fscore_support(t, called, zero_division=0)
        m.accuracy_score(t, called)
        m.cohen_kappa_score(t, called)
        m.cohen_kappa_score(t, called, weights="quadratic")
        m.matthews_corrcoef(t, called)
        m.top_k_accuracy_score(t, p, k=2)
        m.roc_auc_score(t, p, multi_class="ovr", average=None)
        for k in range(p.shape[1]):
            m.average_precision_score(t == k, p[:, k])


def timed(work: Callable[[], Any]) -> tuple[float, float]:
    """Return wall-clock seconds and processor seconds."""
    wall, processor = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - wall, time.process_time() - processor


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--images", type=int, default=3000)
    parser.add_argument("--classes", type=int, default=11)
    parser.add_argument("--resamples", type=int, default=10_000)
    asked = parser.parse_args()
    true, probabilities = drawn(asked.images, asked.classes)
    order = ["PMY", "MY", "MMY", "BNE", "SNE"]
    labels = (order + [f"class {k}" for k in range(asked.classes)])[: asked.classes]
    names, called = ([labels[k] for k in x] for x in (true, probabilities.argmax(axis=1)))
    intervals.bootstrap(labels, names, called, resamples=100)  # imports
    reference(true, probabilities, 1)

    def ours() -> None:
        intervals.bootstrap(labels, names, called, resamples=asked.resamples)
        ranks.bootstrap(labels, names, probabilities, resamples=asked.resamples)

    wall, processor = timed(ours)
    slow = [seconds * asked.resamples / _SOME for seconds in timed(
        lambda: reference(true, probabilities, _SOME))]  # fmt: skip
    print(f"{asked.images:,} images, {asked.classes} classes, {asked.resamples:,} resamples\n")
    print("| | seconds | processor seconds |\n|---|--:|--:|")
    print(f"| this package | {wall:.2f} | {processor:.2f} |")
    print(f"| scikit-learn, {_SOME} resamples scaled up | {slow[0]:.0f} | {slow[1]:.0f} |")
    print(f"| ratio | {slow[0] / wall:.0f} | {slow[1] / processor:.0f} |")


if __name__ == "__main__":
    main()
