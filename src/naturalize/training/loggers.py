"""Other programs' records of a run, for those who ask: TensorBoard and MLflow."""

from __future__ import annotations

import importlib.util
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from naturalize.base.errors import MissingExtraError
from naturalize.training.settings import TrainSettings

#: What each is called by its makers.
_NAMES = {"tensorboard": "TensorBoard", "mlflow": "MLflow"}


def check(settings: TrainSettings) -> None:
    """Raise ``MissingExtraError`` if a logger's library is not installed."""
    for name in settings.loggers:
        if importlib.util.find_spec(name) is None:
            raise MissingExtraError(_NAMES[name], name)


@contextmanager
def opened(
    settings: TrainSettings, folder: Path, name: str
) -> Iterator[list[TensorBoard | MLflow]]:
    """Open the loggers that a run asks for, and close them, also after an error.

    TensorBoard's files go to ``folder/tensorboard/name``. MLflow writes to where
    ``MLFLOW_TRACKING_URI`` says, else to ``folder/mlflow.db``, as run ``name`` of the experiment
    ``naturalize``.
    """
    kinds: dict[str, Any] = {"tensorboard": TensorBoard, "mlflow": MLflow}
    found = [kinds[kind](settings, folder, name) for kind in settings.loggers]
    failed = True
    try:
        yield found
        failed = False
    finally:
        for logger in found:
            logger.close(failed=failed)


class TensorBoard:
    """A folder of event files."""

    def __init__(self, settings: TrainSettings, folder: Path, name: str) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self.writer: Any = SummaryWriter(folder / "tensorboard" / name)
        self.writer.add_text("settings", f"```\n{settings.model_dump_json(indent=1)}\n```")

    def log(self, row: dict[str, float], step: int) -> None:
        """Keep a row of numbers."""
        for key, value in row.items():
            self.writer.add_scalar(key, value, step)

    def close(self, *, failed: bool) -> None:
        """Write what is left."""
        self.writer.close()


class MLflow:
    """A run of the experiment ``naturalize``."""

    def __init__(self, settings: TrainSettings, folder: Path, name: str) -> None:
        import mlflow

        place = os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{folder.resolve()}/mlflow.db"
        self.client: Any = mlflow.MlflowClient(place)
        there = self.client.get_experiment_by_name("naturalize")
        number = there.experiment_id if there else self.client.create_experiment("naturalize")
        self.run = self.client.create_run(number, run_name=name).info.run_id
        for key, value in settings.model_dump(mode="json").items():
            text = value if isinstance(value, str) else json.dumps(value)
            self.client.log_param(self.run, key, text)

    def log(self, row: dict[str, float], step: int) -> None:
        """Keep a row of numbers."""
        for key, value in row.items():
            self.client.log_metric(self.run, key, value, step=step)

    def close(self, *, failed: bool) -> None:
        """Say how it ended."""
        self.client.set_terminated(self.run, "FAILED" if failed else "FINISHED")
