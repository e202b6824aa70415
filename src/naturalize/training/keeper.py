"""Callbacks: keep the state and the best weights after each epoch, and show how far it is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from rich.progress import Progress
from safetensors.torch import save_file

from naturalize.base.artifacts import write_bytes
from naturalize.base.console import progress_bar, say
from naturalize.base.errors import os_errors_named
from naturalize.training.framework import pl
from naturalize.training.network import Classifier
from naturalize.training.settings import TrainSettings

STATE = "state.ckpt"

#: Columns of ``history.csv``.
HISTORY = ("epoch", "lr", "train_loss", "val_loss", "val_accuracy", "val_macro_f1")


class Keeper(pl.Callback):
    """After each epoch: one row of history, the best weights so far, and the state to resume from.

    Each file is written beside its place and moved there. The state names the file of the best
    weights, which is never changed, so a kill between any two writes loses at most one epoch. Of
    several processes, the first one writes.
    """

    def __init__(self, work: Path, settings: TrainSettings) -> None:
        self.work, self.settings = work, settings
        self.history: list[dict[str, float]] = []
        self.best: dict[str, Any] | None = None

    @property
    def finished(self) -> bool:
        """Whether the last epoch is done, or the validation score got no better for too long."""
        done, patience = len(self.history), self.settings.patience
        if patience is None or self.best is None or done >= self.settings.epochs:
            return done >= self.settings.epochs
        # while only the head learns, nothing is decided
        return done - max(self.best["epoch"], self.settings.head_epochs) >= patience

    def state_dict(self) -> dict[str, Any]:
        """Return what goes into the state file."""
        return {"history": self.history, "best": self.best}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take up what the state file has."""
        self.history, self.best = state_dict["history"], state_dict["best"]

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Write it all."""
        assert isinstance(pl_module, Classifier)
        epoch, scores = trainer.current_epoch + 1, pl_module.scores
        self.history.append(
            {
                "epoch": epoch,
                "lr": pl_module.last_lr,
                "train_loss": pl_module.train_loss,
                "val_loss": scores["loss"],
                "val_accuracy": scores["accuracy"],
                "val_macro_f1": scores["macro_f1"],
            }
        )
        if self.best is None or _rank(scores) > _rank(self.best["scores"]):
            file = f"best-{epoch:04d}.safetensors"
            if trainer.is_global_zero:
                self._save_weights(pl_module, self.work / file)
            self.best = {"epoch": epoch, "file": file, "scores": dict(scores)}
        partial = self.work / f".{STATE}.partial"
        with os_errors_named(self.work):
            trainer.save_checkpoint(partial)  # all processes take part
            if trainer.is_global_zero:
                partial.replace(self.work / STATE)
        if trainer.is_global_zero:
            for old in self.work.glob("best-*.safetensors"):
                if old.name != self.best["file"]:
                    old.unlink()
        if self.finished and epoch < self.settings.epochs:
            trainer.should_stop = True
            if trainer.is_global_zero:
                say(
                    f"stopped after epoch {epoch}: no better validation score in "
                    f"{self.settings.patience} epochs"
                )

    @staticmethod
    def _save_weights(pl_module: Classifier, path: Path) -> None:
        state = pl_module.judged.state_dict()
        partial = path.with_name(f".{path.name}.partial")
        with os_errors_named(path):
            save_file({k: v.detach().cpu().contiguous() for k, v in state.items()}, partial)
            partial.replace(path)


def _rank(scores: dict[str, float]) -> tuple[float, float]:
    """Macro-F1 decides; among equals, the lower loss; among those, the earlier epoch."""
    return scores["macro_f1"], -scores["loss"]


def kept(work: Path) -> dict[str, Any] | None:
    """Return the keeper's part of the state in ``work``, or null if there is none."""
    file = work / STATE
    if not file.is_file():
        return None
    state = torch.load(file, map_location="cpu", weights_only=True)["callbacks"]
    return next(value for key, value in state.items() if key.startswith("Keeper"))


class Bar(pl.Callback):
    """One bar over all steps of all epochs, with the time left; off a terminal, a line an epoch."""

    def __init__(self, what: str, epochs: int, steps: int) -> None:
        self.what, self.epochs, self.steps = what, epochs, steps
        self.bar: Progress | None = None
        self._loss = ""
        self._f1 = ""

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Show the bar."""
        self.bar = progress_bar()
        self.bar.start()
        done = trainer.global_step
        self._task = self.bar.add_task(
            self.what, total=self.epochs * self.steps, completed=done, note=""
        )

    def on_train_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        """Move the bar."""
        assert self.bar is not None
        loss = float(outputs["loss"])
        note = f"epoch {trainer.current_epoch + 1}/{self.epochs} · loss {loss:.3f}{self._f1}"
        self.bar.update(self._task, completed=trainer.global_step, note=note)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Say the epoch's scores."""
        assert isinstance(pl_module, Classifier)
        scores = pl_module.scores
        self._f1 = f" · F1 {scores['macro_f1']:.3f}"
        if self.bar is not None and self.bar.disable:
            say(
                f"{self.what}: epoch {trainer.current_epoch + 1}/{self.epochs}, "
                f"loss {pl_module.train_loss:.3f}, validation loss {scores['loss']:.3f}, "
                f"macro-F1 {scores['macro_f1']:.3f}"
            )

    def teardown(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Take the bar away."""
        if self.bar is not None:
            self.bar.stop()

    def on_exception(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException
    ) -> None:
        """Take the bar away before an error is shown."""
        if self.bar is not None:
            self.bar.stop()


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
