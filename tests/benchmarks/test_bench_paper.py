"""The paper's experiment: what differs between its lines, and how a line is scored."""

from __future__ import annotations

import sys
from pathlib import Path

import pyarrow as pa
import pytest
from sklearn.metrics import f1_score

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from benchmarks import paper_protocol
from naturalize.study.settings import load_study

STUDY = Path(__file__).resolve().parents[2] / "studies" / "paper.yaml"


def test_a_line_differs_from_the_others_in_protocol_composites_and_seed_only():
    study = load_study(STUDY)
    pooled = paper_protocol.variant(study, "paper", "2K-PBC", 3)
    assert (pooled.protocol, pooled.seed, pooled.compose.name) == ("paper", 3, "2K-PBC")
    plain = paper_protocol.variant(study, "honest", None, 3)
    assert (plain.protocol, plain.compose, plain.runs["composites"].composites) == (
        "honest", None, False,
    )  # fmt: skip
    same = {"composites", "seed"}
    assert pooled.runs["composites"].model_dump(exclude=same) == study.runs[
        "composites"
    ].model_dump(exclude=same)
    own = paper_protocol.variant(study, "honest", paper_protocol.AS_IT_SAYS, 0)
    assert own.compose == study.compose


def test_composites_are_left_out_by_their_file_names_and_a_line_is_the_mean_of_seeds():
    rows = {
        "path": ["images/a/1.jpg", "images/a/composite-x.png", "images/b/2.jpg", "images/b/3.jpg"],
        "label": ["a", "a", "b", "b"],
        "predicted": ["b", "a", "b", "b"],
        "confidence": pa.array([0.6, 0.9, 0.9, 0.8], pa.float32()),
        "prob_a": pa.array([0.4, 0.9, 0.1, 0.2], pa.float32()),
        "prob_b": pa.array([0.6, 0.1, 0.9, 0.8], pa.float32()),
    }
    table = pa.table(rows)
    real = paper_protocol.real_only(table)
    assert real["path"].to_pylist() == ["images/a/1.jpg", "images/b/2.jpg", "images/b/3.jpg"]
    expected = [
        f1_score(t["label"].to_pylist(), t["predicted"].to_pylist(), average="macro")
        for t in (table, real)
    ]
    found = paper_protocol.line([table, real], ["b"])
    assert found["macro_f1"] == pytest.approx(sum(expected) / 2)
    assert found["composed_classes_f1"] == pytest.approx(0.8)
    assert found["n"] == 4
