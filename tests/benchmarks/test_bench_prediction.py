"""The measuring of predictions compares like with like."""

from __future__ import annotations

import csv
import io
import sys
from pathlib import Path

import numpy as np
import pytest

from naturalize.models.export import export_model
from naturalize.models.folder import save_model
from naturalize.models.predictor import Predictor
from naturalize.models.zoo import build

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from benchmarks import prediction_rate


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = build("custom_cnn", ["BA", "EO", "LY"], weights="none", input_size=48)
    return save_model(tmp_path_factory.mktemp("model") / "model", made.module, made.config)


def test_the_reference_predicts_the_same(model: Path, phantom_root: Path) -> None:
    files = sorted((phantom_root / "images").rglob("*.jpg"))[:6]
    predictor = Predictor.load(model)
    cost, table = prediction_rate.bare_loop(files, predictor)
    assert cost.seconds > 0
    assert cost.cores > 0
    rows = list(csv.DictReader(io.StringIO(table)))
    found = np.array([[float(row[name]) for name in predictor.classes] for row in rows])
    from PIL import Image

    shrunk = [np.asarray(Image.open(file).convert("RGB").resize((48, 48))) for file in files]
    np.testing.assert_allclose(found, predictor.probabilities(shrunk), atol=1e-4)


def test_images_are_taken_from_all_over(phantom_root: Path, tmp_path: Path) -> None:
    files = sorted((phantom_root / "images").rglob("*.jpg"))
    links = prediction_rate.linked(files, tmp_path / "links", 10)
    assert len(links) == 10
    assert links[0].resolve() == files[0].resolve()
    assert links[-1].resolve() == files[-1].resolve()
    assert len(prediction_rate.linked(files, tmp_path / "all", 10**6)) == len(files)


def test_rates_are_images_by_seconds() -> None:
    bare, command, start = (prediction_rate.Cost(s, 2 * s) for s in (10.1, 5.0, 3.0))
    rows = prediction_rate.Rates(n=101, bare=bare, command=command, start=start).rows()
    assert [round(rate, 3) for _, rate, *_ in rows] == [10.0, 20.2, 50.0]
    assert [round(ratio, 3) for *_, ratio, _ in rows] == [1.0, 2.02, 5.0]
    assert [round(cores, 3) for *_, cores in rows] == [200.0, 99.01, 40.0]


@pytest.mark.parametrize("with_graph", [False, True])
def test_tables_name_every_stage(
    with_graph: bool,
    model: Path,
    phantom_root: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    if with_graph:
        pytest.importorskip("onnx")
        model = export_model(model, tmp_path / "with-graph").path
    few = ["--take", "5", "--batch", "2", "--rounds", "1"]
    prediction_rate.main([str(phantom_root / "images"), "--model", str(model), *few])
    printed = capsys.readouterr().out
    assert "5 images" in printed
    for word in (*prediction_rate.STAGES, "bare loop", "naturalize predict"):
        assert word in printed


def test_a_command_that_fails_is_not_measured(model: Path, tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="nowhere"):
        prediction_rate.run_command(tmp_path / "nowhere", model, tmp_path / "out.csv", [])
