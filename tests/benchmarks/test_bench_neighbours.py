"""Errors are sorted into neighbours, other classes and labels in doubt."""

from __future__ import annotations

import gzip
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from benchmarks import neighbours

LABELS = ("BNE", "EO", "MMY", "MY", "PMY", "SNE")


@pytest.mark.parametrize(
    ("true", "predicted", "right"),
    [
        ("EO", "EO", True),
        ("EO", "BNE", False),
        ("MMY", "MY", True),
        ("MMY", "BNE", True),
        ("PMY", "MMY", False),
        ("SNE", "EO", False),
        ("SNE", "PMY", False),
    ],
)
def test_one_stage_off_is_near(true: str, predicted: str, right: bool) -> None:
    assert neighbours.near(true, predicted) is right
    assert neighbours.near(predicted, true) is right


def test_errors_are_counted_under_each_reading(capsys: pytest.CaptureFixture[str]) -> None:
    true = ["SNE", "SNE", "MY", "PMY", "EO", "MMY"]
    answer = ["BNE", "EO", "MY", "MMY", "EO", "BNE"]
    neighbours.show(neighbours.scored(LABELS, true, answer), len(true))
    rows = [line.split("|")[1:3] for line in capsys.readouterr().out.splitlines()[2:]]
    assert [(name.strip(), int(n.split()[0])) for name, n in rows] == [
        ("11 classes", 4),
        ("11 classes, one stage off is right", 2),
        ("8 classes", 2),
    ]


def test_second_opinions_are_joined_by_file_name(tmp_path: Path) -> None:
    file = tmp_path / "attributes.csv.gz"
    with gzip.open(file, "wt", encoding="utf-8") as text:
        text.write("img_name,label,nucleus_shape\n")
        text.write("a.jpg,Neutrophil,unsegmented-band\nb.jpg,Neutrophil,segmented-bilobed\n")
        text.write("c.jpg,Neutrophil,unsegmented-round\nd.jpg,Monocyte,unsegmented-band\n")
    found = neighbours.opinions(
        ["a.jpg", "b.jpg", "c.jpg", "d.jpg", "absent.jpg"],
        ["SNE", "SNE", "BNE", "MO", "SNE"],
        ["BNE", "SNE", "MMY", "MO", "SNE"],
        neighbours.nuclei(file),
    )
    assert found == {
        ("SNE", "band", "BNE"): 1,
        ("SNE", "segmented", "SNE"): 1,
        ("BNE", "other", "other"): 1,
    }
