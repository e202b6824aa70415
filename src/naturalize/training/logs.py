"""Other programs' journals of a run, for those who ask: TensorBoard and MLflow."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from naturalize.base.errors import MissingExtraError
from naturalize.training.framework import pl
from naturalize.training.keeper import Keeper
from naturalize.training.network import Classifier
from naturalize.training.settings import TrainSettings

#: What each is called by people.
_NAMES = {"tensorboard": "TensorBoard", "mlflow": "MLflow"}


def check(settings: TrainSettings) -> None:
    """Raise ``MissingExtraError`` if a logger's library is not installed."""
    for name in settings.loggers:
        if importlib.util.find_spec(name) is None:
            raise MissingExtraError(_NAMES[name], name)


def loggers(settings: TrainSettings, folder: Path, name: str) -> list[Any]:
    """Return the loggers that a run asks for.

    TensorBoard's files go to ``folder/tensorboard/name``. MLflow writes to where
    ``MLFLOW_TRACKING_URI`` says, else to ``folder/mlflow.db``, as run ``name`` of the experiment
    ``naturalize``.

    Parameters
    ----------
    folder
        The folder that the model folder is in.
    name
        Of the model folder.
    """
    check(settings)
    found: list[Any] = []
    if "tensorboard" in settings.loggers:
        from lightning.pytorch.loggers import TensorBoardLogger

        found.append(TensorBoardLogger(folder / "tensorboard", name=name, version=""))
    if "mlflow" in settings.loggers:
        from lightning.pytorch.loggers import MLFlowLogger

        place = os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{folder.resolve()}/mlflow.db"
        found.append(MLFlowLogger("naturalize", run_name=name, tracking_uri=place))
    for logger in found:
        logger.log_hyperparams(settings.model_dump(mode="json"))
    return found


class Journal(pl.Callback):
    """Tells loggers the loss and the rate of each step, and the history's row of each epoch.

    It stands after the keeper, which writes the history.
    """

    def __init__(self, written: Sequence[Any], keeper: Keeper) -> None:
        self.written, self.keeper = written, keeper

    def on_train_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        """Tell a step."""
        if self.written:
            assert isinstance(pl_module, Classifier)
            row = {"step/loss": float(outputs["loss"]), "step/lr": pl_module.last_lr}
            self._tell(row, trainer.global_step)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Tell an epoch."""
        history = self.keeper.history
        row = {f"epoch/{k}": v for k, v in history[-1].items() if k != "epoch"}
        self._tell(row, len(history))

    def on_fit_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Close the journals."""
        for logger in self.written:
            logger.save()
            logger.finalize("success")

    def on_exception(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException
    ) -> None:
        """Say that it failed."""
        for logger in self.written:
            logger.finalize("failed")

    def _tell(self, row: dict[str, float], step: int) -> None:
        for logger in self.written:
            logger.log_metrics(row, step)
