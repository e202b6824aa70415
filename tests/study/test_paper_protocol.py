"""The paper's protocol leaks, and says by how much; the honest one cannot."""

from __future__ import annotations

from pathlib import Path

import pytest

from naturalize.base.artifacts import read_json, read_table
from naturalize.base.errors import SettingsError
from naturalize.study.run import run_study
from naturalize.study.settings import parse_study

pytestmark = pytest.mark.slow

STUDY = {
    "name": "leaky",
    "seed": 5,
    "protocol": "paper",
    "data": {"scheme": "pbc11", "phantom": {"per_class": {"BNE": 9, "SNE": 9, "LY": 9}}},
    "split": {"fractions": [0.6, 0.2, 0.2]},
    "compose": {"mode": "paper", "add": 12, "settings": {"red_cells": 3}},
    "runs": {
        "pooled": {
            "model": "custom_cnn", "input_size": 32, "epochs": 1, "batch_size": 8,
            "composites": True, "weights": "none",
        }
    },
    "explain": None,
    "engine": {"backend": "serial"},
}  # fmt: skip


@pytest.fixture(scope="module")
def leaky(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("leaky") / "study"
    run_study(parse_study(STUDY), folder)
    return folder


def test_the_leak_is_counted_from_the_pool(leaky: Path) -> None:
    told = read_json(leaky / "leak.json")
    rows = read_table(leaky / "pooled" / "catalog.parquet").to_pylist()
    path_of = {row["image_id"]: row["path"] for row in rows}
    split = read_table(leaky / "split" / "split.parquet").to_pylist()
    test = [row["image_id"] for row in split if row["part"] == "test"]
    composed = [x for x in test if "composite-" in path_of[x]]
    assert len(split) == 27 + 24
    assert told["n_test"] == len(test)
    assert told["test_composites"] == len(composed) > 0
    assert told["test_touched"] >= told["test_composites"]


def test_real_files_keep_their_ids_in_the_pool(leaky: Path) -> None:
    source = read_table(leaky / "catalog" / "catalog.parquet")["image_id"].to_pylist()
    pooled = read_table(leaky / "pooled" / "catalog.parquet")["image_id"].to_pylist()
    assert set(source) <= set(pooled)


def test_scores_and_report_carry_the_warning(leaky: Path) -> None:
    metrics = read_json(leaky / "evaluations" / "pooled" / "metrics.json")
    model = read_json(leaky / "models" / "pooled" / "model.json")
    assert metrics["protocol"] == model["protocol"] == "paper"
    page = (leaky / "report.html").read_text()
    assert "These scores leak" in page
    assert read_json(leaky / "leak.json")["statement"] in page


def test_a_run_without_composites_is_refused() -> None:
    runs = {"real": {"model": "custom_cnn", "composites": False}}
    with pytest.raises(SettingsError, match="every run sees the pool"):
        parse_study({**STUDY, "runs": runs})
