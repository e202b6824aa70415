"""The measuring of segmenters measures right: matching, scores, draws, tables."""

from __future__ import annotations

import csv
import gzip
import itertools
import json
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import f1_score, jaccard_score, precision_recall_fscore_support

from naturalize.base.images import content_hash, read_image, write_image
from naturalize.cells.segmenters import segmenter
from naturalize.dataset.phantom import render_phantom

REPO = Path(__file__).resolve().parents[2]

sys.path.insert(0, str(REPO))
from benchmarks import _annotated, _boxes, segmentation_quality  # noqa: E402

BOX = st.tuples(*[st.integers(0, 30)] * 2, *[st.integers(1, 20)] * 2).map(
    lambda b: (b[0], b[1], b[0] + b[2], b[1] + b[3])
)
BOXES = st.lists(BOX, max_size=5).map(lambda rows: np.array(rows, float).reshape(-1, 4))


def iou(a: np.ndarray, b: np.ndarray) -> float:
    """Intersection over union, by counting pixels."""
    masks = []
    for x0, y0, x1, y1 in (a.astype(int), b.astype(int)):
        mask = np.zeros((60, 60), bool)
        mask[y0:y1, x0:x1] = True
        masks.append(mask)
    return float((masks[0] & masks[1]).sum() / (masks[0] | masks[1]).sum())


def most_pairs(truth: np.ndarray, found: np.ndarray) -> int:
    """The largest one-to-one matching, by trying all."""
    few, many = sorted((truth, found), key=len)
    fits = [[iou(a, b) >= 0.5 for b in many] for a in few]
    orders = itertools.permutations(range(len(many)), len(few))
    return max((sum(fits[i][j] for i, j in enumerate(order)) for order in orders), default=0)


@settings(max_examples=60, deadline=None)
@given(BOXES, BOXES)
def test_as_many_boxes_are_matched_as_can_be(truth: np.ndarray, found: np.ndarray) -> None:
    rows, columns = _boxes.matched(truth, found)
    assert len(rows) == len(columns) == most_pairs(truth, found)


@settings(max_examples=30, deadline=None)
@given(BOXES, BOXES)
def test_iou_counts_pixels(a: np.ndarray, b: np.ndarray) -> None:
    found = _boxes.iou_matrix(a, b)
    for i, j in itertools.product(range(len(a)), range(len(b))):
        assert found[i, j] == pytest.approx(iou(a[i], b[j]))


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**20 - 1), st.integers(0, 2**20 - 1))
def test_overlap_of_masks_is_sklearns(a: int, b: int) -> None:
    one, two = (np.array([x >> k & 1 for k in range(20)], bool).reshape(4, 5) for x in (a, b))
    dice, share = _boxes.overlap(one, two)
    assert dice == pytest.approx(f1_score(one.ravel(), two.ravel(), zero_division=1.0))
    assert share == pytest.approx(jaccard_score(one.ravel(), two.ravel(), zero_division=1.0))


@pytest.fixture(scope="module")
def truth() -> dict[str, np.ndarray]:
    """The true boxes of a phantom image with platelets."""
    cells = render_phantom("PLT", 3, 1).cells
    kinds = {cell.kind for cell in cells}
    return {k: np.array([c.box for c in cells if c.kind == k], float) for k in kinds}


SHAPE = (363, 360)


def test_the_truth_itself_scores_one(truth: dict[str, np.ndarray]) -> None:
    found = _boxes.summary([_boxes.counts(truth, truth, SHAPE)])
    for group, row in found.items():
        if row["n"]:
            assert (row["precision"], row["recall"], row["f1"]) == (1, 1, 1), group
    whole, cut = found["rbc whole"]["n"], found["rbc cut"]["n"]
    assert whole + cut == found["rbc"]["n"] == len(truth["rbc"])
    assert whole > 0
    assert cut > 0


def test_what_is_missed_and_what_is_too_much_is_counted(truth: dict[str, np.ndarray]) -> None:
    middle = np.array([[150.0, 150.0, 153.0, 153.0]])
    found = {**truth, "rbc": np.concatenate([truth["rbc"][1:], middle])}
    n = len(truth["rbc"])
    assert _boxes.counts(truth, found, SHAPE)["rbc"] == (n - 1, 1, 1)
    assert _boxes.counts(truth, {}, SHAPE)["rbc"] == (0, n, 0)
    assert _boxes.counts({}, truth, SHAPE)["rbc"] == (0, 0, n)
    as_white = {"wbc": truth["rbc"]}
    assert _boxes.counts(truth, as_white, SHAPE)["rbc"] == (0, n, 0)
    assert _boxes.counts(truth, as_white, SHAPE)["wbc"][2] == n


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(*[st.integers(0, 6)] * 3), min_size=1, max_size=12))
def test_scores_are_sklearns_and_lie_in_their_interval(rows: list[tuple[int, int, int]]) -> None:
    found = _boxes.summary([{"rbc": row} for row in rows])["rbc"]
    hits, missed, extra = np.sum(rows, axis=0)
    true = [0] + [1] * (hits + missed) + [0] * extra
    said = [0] + [1] * hits + [0] * missed + [1] * extra
    expected = precision_recall_fscore_support(true, said, average="binary", zero_division=0.0)[:3]
    assert (found["precision"], found["recall"], found["f1"]) == pytest.approx(expected)
    low, high = found["f1_interval"]
    assert low <= found["f1"] + 1e-9
    assert high >= found["f1"] - 1e-9


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Phantoms laid out as the annotated real images are."""
    root = tmp_path_factory.mktemp("annotated")
    rows = []
    for label, i in itertools.product(("LY", "PLT"), range(4)):
        phantom = render_phantom(label, 8, i, size=(180, 182))
        write_image(root / "pbc" / label / f"{label}_{i}.jpg", phantom.image)
        for cell in phantom.cells:
            name = {"rbc": "RBC", "platelet": "PLATELET"}.get(cell.kind, "LYMPHOCYTE")
            x0, y0, x1, y1 = cell.box
            box = ((x0 + x1) / 360, (y0 + y1) / 364, (x1 - x0) / 180, (y1 - y0) / 182)
            rows.append((f"{label}_{i}.jpg", name, *box))
    with gzip.open(root / "pbc_boxes.csv.gz", "wt", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("file", "class", "cx", "cy", "w", "h"))
        writer.writerows(rows)
    for folder, image, mask in (
        ("krd_wbc", "001.jpg", "001_mask.jpg"),
        ("seg_wbc", "001.bmp", "001_mask.png"),
    ):
        phantom = render_phantom("LY", 9, 0, size=(180, 182))
        white = np.where(phantom.label_image() == 1, 255, 0).astype(np.uint8)
        place = root / "masks" / folder
        place.mkdir(parents=True)
        save(phantom.image, place / image)
        save(white, place / mask)
    fields = root / "fields/cbc"
    fields.mkdir(parents=True)
    for i in range(4):
        phantom = render_phantom("LY", 10, i, size=(300, 310))
        save(phantom.image, fields / f"field_{i}.jpg")
        (fields / f"field_{i}.xml").write_text(voc(phantom.cells))
    return root


def voc(cells: Iterable[Any]) -> str:
    """Return cells as a Pascal-VOC annotation of the kind that the real fields have."""
    names = {"wbc": "WBC", "rbc": "RBC", "platelet": "Platelets"}
    objects = ""
    for cell in cells:
        corners = zip(("xmin", "ymin", "xmax", "ymax"), cell.box, strict=True)
        box = "".join(f"<{name}>{value}</{name}>" for name, value in corners)
        objects += f"<object><name>{names[cell.kind]}</name><bndbox>{box}</bndbox></object>"
    return f"<annotation>{objects}</annotation>"


def save(image: np.ndarray, path: Path) -> None:
    from PIL import Image

    Image.fromarray(image).save(path)


def test_fewer_images_are_the_first_of_more_and_training_images_are_left_out(data: Path) -> None:
    every = _annotated.pbc_truth(data, 8, 1)
    assert [path for path, _ in _annotated.pbc_truth(data, 3, 1)] == [p for p, _ in every[:3]]
    assert [p for p, _ in _annotated.pbc_truth(data, 8, 2)] != [p for p, _ in every]
    gone = content_hash((data / "pbc" / every[1][0]).read_bytes())
    left = _annotated.pbc_truth(data, 8, 1, without={gone})
    assert left == [every[0], *every[2:]]


def test_true_boxes_come_back_in_pixels(data: Path) -> None:
    for path, boxes in _annotated.pbc_truth(data, 8, 0):
        label, _, i = Path(path).stem.partition("_")
        cells = render_phantom(label, 8, int(i), size=(180, 182)).cells
        wanted = sorted(cell.box for cell in cells if cell.kind == "rbc")
        assert np.allclose(sorted(_annotated.in_pixels(boxes, (182, 180))["rbc"].tolist()), wanted)


def test_fields_come_in_two_halves_with_their_boxes(data: Path) -> None:
    halves = _annotated.field_truth(data)
    names = [[path.name for path in images] for images in halves.values()]
    assert [len(one) for one in names] == [2, 2]
    assert sorted(name for half in names for name in half) == [f"field_{i}.jpg" for i in range(4)]
    for images in halves.values():
        for path, boxes in images.items():
            cells = render_phantom("LY", 10, int(path.stem[-1]), size=(300, 310)).cells
            for kind, found in boxes.items():
                assert found.tolist() == [list(cell.box) for cell in cells if cell.kind == kind]


def test_training_images_are_read_where_they_are_listed(tmp_path: Path) -> None:
    assert _annotated.trained_on(tmp_path / "none.txt") == set()
    (tmp_path / "list.txt").write_text("aa\nbb\n")
    assert _annotated.trained_on(tmp_path / "list.txt") == {"aa", "bb"}


@pytest.fixture
def quality() -> Iterator[ModuleType]:
    return segmentation_quality


def test_tables_go_between_their_marks_and_nowhere_else(
    quality: ModuleType, tmp_path: Path
) -> None:
    page = tmp_path / "page.md"
    quality.put_into(page, "one")
    quality.put_into(page, "two")
    assert page.read_text() == f"{quality.BEGIN}\ntwo\n{quality.END}\n"
    page.write_text(f"# Title\n{page.read_text()}after")
    quality.put_into(page, "three\nfour")
    assert page.read_text() == f"# Title\n{quality.BEGIN}\nthree\nfour\n{quality.END}\nafter"
    page.write_text("a page of somebody else")
    with pytest.raises(SystemExit, match="has no lines"):
        quality.put_into(page, "five")
    assert page.read_text() == "a page of somebody else"


def test_times_are_compared_on_the_images_of_both(quality: ModuleType) -> None:
    slow, fast = {"seconds": [10.0, 20.0]}, {"seconds": [0.1, 0.2, 100.0]}
    assert quality._times_faster(fast, {quality.REFERENCE: slow}) == "100"
    assert quality._times_faster(fast, {}) == "–"


def test_a_run_gives_all_tables_and_says_what_is_not_available(data: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "benchmarks.segmentation_quality", "--data", str(data)]
    command += ["--methods", "classical", "magic", "--images", "2", "--workers", "1"]
    command += ["--markdown", str(tmp_path / "page.md"), "--json", str(tmp_path / "all.json")]
    done = subprocess.run(command, cwd=REPO, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    page = (tmp_path / "page.md").read_text()
    assert "`magic`: not available (unknown segmenter 'magic'" in page
    found = json.loads((tmp_path / "all.json").read_text())["classical"]
    assert found["masks"]["krd_wbc"]["dice"] > 0.8
    assert found["boxes"]["rbc"]["f1"] > 0.6
    assert found["stream"]["images_per_second"] > 0
    assert found["peak_mb"] > found["before_mb"] > 20
    assert page.count("| classical |") == 2 + 5 + 2 + 1
    fields = json.loads((tmp_path / "all.json").read_text())["classical"]["fields"]
    assert sum(half["boxes"]["wbc"]["n"] for half in fields.values()) >= 4


@pytest.mark.real
def test_white_cells_of_another_camera_are_found(real_data: Path) -> None:
    halves = _annotated.field_truth(real_data)
    if not halves["report"]:
        pytest.skip("no annotated fields")
    find = segmenter("unet")
    found = np.zeros(3, int)
    for images in halves.values():
        for path, true in images.items():
            cells = segmentation_quality.boxes_of(find.segment(read_image(path)))
            found += _boxes.counts(true, cells, (480, 640))["wbc"]
    hits, missed, extra = found
    assert hits + missed == 61
    assert hits >= 59
    assert extra <= 3
