"""Fields are scored right: average precision, counts, what has no box, and the watershed."""

from __future__ import annotations

import csv
import json
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import precision_score

from naturalize.base.images import write_image
from naturalize.dataset.phantom import render_phantom

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
pytest.importorskip("pycocotools")
from benchmarks import fields

NONE = np.zeros((0, 4))


def field(*red: tuple[int, ...], complete: tuple[str, ...] = ("rbc",)) -> fields.Field:
    boxes = {"wbc": NONE, "rbc": np.array(red, float).reshape(-1, 4), "platelet": NONE}
    return fields.Field(Path("cbc/one.jpg"), (100, 100), boxes, complete)


def answers(*red: tuple[float, ...]) -> dict[str, np.ndarray]:
    none = np.zeros((0, 5))
    return {"wbc": none, "rbc": np.array(red, float).reshape(-1, 5), "platelet": none}


def spread(n: int, scores: list[float]) -> list[tuple[float, ...]]:
    """Boxes in a row: the first ``n`` are of cells, others lie where there is none."""
    return [(i * 10, 0 if i < n else 50, i * 10 + 8, 8 if i < n else 58, s)
            for i, s in enumerate(scores)]  # fmt: skip


@settings(max_examples=15, deadline=None)
@given(st.lists(st.booleans(), min_size=1, max_size=8), st.integers(0, 3))
def test_average_precision_is_the_area_under_the_interpolated_curve(
    right: list[bool], missed: int
) -> None:
    ranked = [(i * 10, 50 * (not hit), i * 10 + 8, 50 * (not hit) + 8, 1 - i / 10)
              for i, hit in enumerate(right)]  # fmt: skip
    cells = [box[:4] for box, hit in zip(ranked, right, strict=True) if hit]
    cells += [(i * 10, 90, i * 10 + 8, 98) for i in range(missed)]
    if not cells:
        return
    found = fields.average_precision([field(*cells)], [answers(*ranked)])["rbc"]
    best = [precision_score([True] * 0 + right[:k], [True] * k) for k in range(1, len(right) + 1)]
    hits = np.cumsum(right)
    area = [
        max([p for p, n in zip(best, hits, strict=True) if n >= level * len(cells) - 1e-9],
            default=0.0)
        for level in np.linspace(0, 1, 101)
    ]  # fmt: skip
    assert found == pytest.approx(np.mean(area), abs=0.011)


def test_nothing_found_is_a_precision_of_nought() -> None:
    assert fields.average_precision([field((0, 0, 8, 8))], [answers()])["rbc"] == 0


def test_counts_are_compared_field_by_field() -> None:
    four, two = spread(4, [0.9] * 4), spread(2, [0.9] * 2)
    three = [field(*(b[:4] for b in four)), field(*(b[:4] for b in two)), field()]
    given = [answers(*four[:3]), answers(*two), answers(*four)]
    assert fields.count_error(three, given, "rbc") == pytest.approx(np.median([1 / 4, 0]))


def test_cells_of_which_some_carry_no_box_have_a_recall_only() -> None:
    found = [answers(*spread(2, [0.9, 0.8, 0.7]))]
    every, some = (
        fields.scored([field((0, 0, 8, 8), complete=kinds)], found)["red cells"].split(" | ")
        for kinds in (("rbc",), ())
    )
    assert every[:4] == ["1", "1", "0.333", "1.000"]
    assert some == ["1", "1", "", "1.000", "", "", ""]


def test_boxes_drawn_too_wide_count_at_a_lower_overlap_too() -> None:
    one = field()
    one.boxes["platelet"] = np.array([[0.0, 0.0, 12.0, 12.0]])
    found = answers() | {"platelet": np.array([[2.0, 2.0, 10.0, 10.0, 0.9]])}  # IoU 64 / 144
    rows = fields.scored([fields.Field(one.path, one.shape, one.boxes)], [found])
    assert rows["platelets"].split(" | ")[2] == "0.000"
    assert rows["platelets, IoU 0.3"].split(" | ")[2] == "1.000"


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A phantom field and its cells in a COCO file."""
    root = tmp_path_factory.mktemp("scene")
    phantom = render_phantom("LY", 10, 0, size=(300, 310))
    write_image(root / "images" / "a.png", phantom.image)
    cells = [
        {"image_id": 5, "category_id": ("wbc", "rbc", "platelet").index(c.kind),
         "bbox": [c.box[0], c.box[1], c.box[2] - c.box[0], c.box[3] - c.box[1]]}
        for c in phantom.cells
    ]  # fmt: skip
    categories = [{"id": 0, "name": "LY", "supercategory": "wbc"}, {"id": 1, "name": "rbc"},
                  {"id": 2, "name": "platelet"}]  # fmt: skip
    image = {"id": 5, "file_name": "a.png", "height": 310, "width": 300}
    told = {"images": [image], "annotations": cells, "categories": categories}
    (root / "annotations.json").write_text(json.dumps(told))
    return root


def test_fields_of_a_coco_file_come_with_all_boxes(scene: Path) -> None:
    (one,) = fields.coco(scene / "annotations.json")
    cells = render_phantom("LY", 10, 0, size=(300, 310)).cells
    for kind, boxes in one.boxes.items():
        assert boxes.tolist() == [list(c.box) for c in cells if c.kind == kind]
    assert one.labels == ("LY",) * len(one.boxes["wbc"])


def test_a_watershed_finds_most_red_cells_and_its_answer_is_kept(
    scene: Path, tmp_path: Path
) -> None:
    one = fields.coco(scene / "annotations.json")
    found, took = fields.find("watershed", one, tmp_path)
    again, same = fields.find("watershed", one, tmp_path)
    assert same == took > 0
    assert all(np.array_equal(found[0][kind], again[0][kind]) for kind in found[0])
    assert float(fields.scored(one, found)["red cells"].split(" | ")[3]) > 0.5
    assert fields.find("magic", one, None) == ([], 0.0)


def test_nine_images_side_by_side_keep_their_boxes(scene: Path, tmp_path: Path) -> None:
    (one,) = fields.coco(scene / "annotations.json")
    (nine,) = fields.reduced([one] * 9, tmp_path, 0.5)
    assert nine.shape == (3 * 155, 3 * 150)
    assert nine.labels == 9 * one.labels
    boxes = nine.boxes["rbc"]
    assert len(boxes) == 9 * len(one.boxes["rbc"])
    assert boxes.tolist()[0] == (one.boxes["rbc"][0] / 2).tolist()
    last = len(one.boxes["rbc"])
    assert boxes[-last:] - [300, 310, 300, 310] == pytest.approx(one.boxes["rbc"] / 2)


def test_boxes_judged_by_eye_lie_in_their_fields() -> None:
    with fields.COMPLETED.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len({row["field"] for row in rows}) == fields.N_COMPLETED
    for row in rows:
        x0, y0, x1, y1 = (int(row[key]) for key in ("x0", "y0", "x1", "y1"))
        assert 0 <= x0 < x1 <= 640
        assert 0 <= y0 < y1 <= 480
        assert row["kind"] in ("rbc", "platelet")
