"""Other programs' journals: the same numbers as in history.csv, or a word on what to install."""

from __future__ import annotations

import importlib.util

import numpy as np
import pytest
from toy import TINY, fit

from naturalize.base.errors import MissingExtraError

torch = pytest.importorskip("torch")

SHORT = TINY.model_copy(update={"epochs": 2})


def history(model) -> np.ndarray:
    return np.loadtxt(model / "history.csv", delimiter=",", skiprows=1)


def test_tensorboard_has_every_step_and_epoch(toys, tmp_path):
    pytest.importorskip("tensorboard", reason="pip install 'naturalize[tensorboard]'")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    model = fit(toys, tmp_path / "net", SHORT.model_copy(update={"loggers": ("tensorboard",)}))
    found = EventAccumulator(str(tmp_path / "tensorboard" / "net"))
    found.Reload()
    f1 = [event.value for event in found.Scalars("epoch/val_macro_f1")]
    np.testing.assert_allclose(f1, history(model)[:, -1], rtol=1e-6)
    steps = found.Scalars("step/loss")
    assert [event.step for event in steps] == list(range(1, 13))
    np.testing.assert_allclose(
        np.mean([event.value for event in steps][:6]), history(model)[0, 2], rtol=1e-5
    )


def test_mlflow_has_settings_and_scores(toys, tmp_path, monkeypatch):
    mlflow = pytest.importorskip("mlflow", reason="pip install 'naturalize[mlflow]'")
    # plain files: the one store that every MLflow has
    monkeypatch.setenv("MLFLOW_TRACKING_URI", (tmp_path / "runs").as_uri())
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    model = fit(toys, tmp_path / "net", SHORT.model_copy(update={"loggers": ("mlflow",)}))
    client = mlflow.MlflowClient((tmp_path / "runs").as_uri())
    experiment = client.get_experiment_by_name("naturalize")
    (run,) = client.search_runs([experiment.experiment_id])
    assert (run.info.run_name, run.info.status) == ("net", "FINISHED")
    assert run.data.params["model"] == "custom_cnn"
    assert run.data.metrics["epoch/val_loss"] == pytest.approx(history(model)[-1, 3])


@pytest.mark.parametrize(("name", "said"), [("tensorboard", "TensorBoard"), ("mlflow", "MLflow")])
def test_an_absent_library_is_named_before_anything_is_done(
    toys, tmp_path, monkeypatch, name, said
):
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda asked: None if asked == name else find(asked)
    )
    with pytest.raises(MissingExtraError, match=rf"{said} is not .*'naturalize\[{name}\]'"):
        fit(toys, tmp_path / "net", SHORT.model_copy(update={"loggers": (name,)}))
    assert list(tmp_path.iterdir()) == []
