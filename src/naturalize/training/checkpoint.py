"""What a run leaves on disk after each epoch: its state, the best weights, its history."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import nn

from naturalize.base.artifacts import write_bytes
from naturalize.base.errors import os_errors_named
from naturalize.training.settings import TrainSettings

STATE = "state.ckpt"

#: Columns of ``history.csv``.
HISTORY = ("epoch", "lr", "train_loss", "val_loss", "val_accuracy", "val_macro_f1")


class Checkpoint:
    """The history of a run, its best weights so far, and the state to resume from.

    Each file is written beside its place and moved there. The state names the file of the best
    weights, which is never changed, so a kill between any two writes loses at most one epoch.
    ``history`` has one row an epoch; ``best`` has ``epoch``, ``file`` and ``scores``; ``learner``
    is the state after the last epoch. Both are null before the first.
    """

    def __init__(self, work: Path, settings: TrainSettings) -> None:
        self.work, self.settings = work, settings
        self.history: list[dict[str, float]] = []
        self.best: dict[str, Any] | None = None
        self.learner: dict[str, Any] | None = None
        if (work / STATE).is_file():
            state = torch.load(work / STATE, map_location="cpu", weights_only=True)
            self.history, self.best = state["history"], state["best"]
            self.learner = state["learner"]

    @property
    def finished(self) -> bool:
        """Whether the last epoch is done, or the validation score got no better for too long."""
        done, patience = len(self.history), self.settings.patience
        if patience is None or self.best is None or done >= self.settings.epochs:
            return done >= self.settings.epochs
        # while only the head learns, nothing is decided
        return done - max(self.best["epoch"], self.settings.head_epochs) >= patience

    def add(self, row: dict[str, float], scores: dict[str, float]) -> bool:
        """Add an epoch; return whether it is the one to keep so far."""
        epoch = len(self.history) + 1
        self.history.append({"epoch": epoch, **row} | {f"val_{k}": v for k, v in scores.items()})
        chosen = self.settings.keep == "best"
        if chosen and self.best is not None and _order(scores) <= _order(self.best["scores"]):
            return False
        self.best = {"epoch": epoch, "file": f"best-{epoch:04d}.safetensors", "scores": scores}
        return True

    def write(self, learner: dict[str, Any], best: nn.Module | None) -> None:
        """Write the state after an epoch; ``best``: the network, if it is the best so far."""
        assert self.best is not None
        with os_errors_named(self.work):
            if best is not None:
                weights = {k: v.cpu().contiguous() for k, v in best.state_dict().items()}
                partial = self.work / f".{self.best['file']}.partial"
                save_file(weights, partial)
                partial.replace(self.work / self.best["file"])
            partial = self.work / f".{STATE}.partial"
            state = {"history": self.history, "best": self.best, "learner": learner}
            torch.save(state, partial)
            partial.replace(self.work / STATE)
        for old in self.work.glob("best-*.safetensors"):
            if old.name != self.best["file"]:
                old.unlink()


def _order(scores: dict[str, float]) -> tuple[float, float]:
    """Macro-F1 decides; among equals, the lower loss; among those, the earlier epoch."""
    return scores["macro_f1"], -scores["loss"]


def history_csv(history: list[dict[str, float]]) -> str:
    """Return the history as CSV text, full precision."""
    lines = [",".join(HISTORY)]
    lines += [",".join(repr(row[name]) for name in HISTORY) for row in history]
    return "\n".join(lines) + "\n"


def write_history(folder: Path, history: list[dict[str, float]], best_epoch: int) -> None:
    """Write ``history.csv`` and ``history.svg`` into ``folder``."""
    from naturalize.base import plots

    write_bytes(folder / "history.csv", history_csv(history).encode())
    fig, _ = plots.figure(8.0, 3.2)
    fig.clear()
    left, right = fig.subplots(1, 2)
    epochs = [row["epoch"] for row in history]
    marker = "o" if len(epochs) == 1 else None
    for ax in (left, right):
        plots.style(ax)
        ax.axvline(best_epoch, color=plots.GREY, linewidth=0.8, linestyle=(0, (2, 2)))
        ax.set_xlabel("epoch")
        ax.xaxis.get_major_locator().set_params(integer=True)
    for name, text, colour in (
        ("train_loss", "train (augmented)", plots.GREY),
        ("val_loss", "validation", plots.ACCENT),
    ):
        values = [row[name] for row in history]
        left.plot(epochs, values, color=colour, label=text, linewidth=1.6, marker=marker)
    left.set_title("loss", loc="left", fontsize=10)
    left.legend(frameon=False, fontsize=9, loc="upper right")
    f1 = [row["val_macro_f1"] for row in history]
    right.plot(epochs, f1, color=plots.ACCENT, linewidth=1.6)
    top = next(row["val_macro_f1"] for row in history if row["epoch"] == best_epoch)
    right.plot([best_epoch], [top], "o", color=plots.ALERT)
    right.annotate(
        f"best: {top:.3f}",
        (best_epoch, top),
        xytext=(0, -14),
        textcoords="offset points",
        ha="center",
        fontsize=9,
        color=plots.ALERT,
        bbox={"facecolor": plots.PAPER, "edgecolor": "none", "pad": 1},
    )
    right.set_title("validation macro-F1", loc="left", fontsize=10)
    right.margins(y=0.15)
    plots.save_figure(fig, folder / "history.svg")
