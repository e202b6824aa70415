"""The segmenter sam as a whole: missing weights, and the real model."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
from sam_fakes import need_mobilesam

from naturalize.base.artifacts import read_table
from naturalize.base.errors import SettingsError
from naturalize.base.images import write_image
from naturalize.cells.segment import segment_images
from naturalize.cells.segmentation import Cell, Segmentation
from naturalize.cells.segmenters import segmenter
from naturalize.cells.segmenters.sam.weights import MissingWeightsError, WeightsError
from naturalize.dataset.phantom import render_phantom


def dice(a: np.ndarray, b: np.ndarray) -> float:
    return 2 * float((a & b).sum()) / max(1, int(a.sum() + b.sum()))


def same(a: Segmentation, b: Segmentation) -> bool:
    def facts(cell: Cell) -> tuple:
        nucleus = None if cell.nucleus is None else cell.nucleus.tobytes()
        return (cell.kind, cell.box, cell.score, cell.mask.tobytes(), nucleus)

    return (
        a.shape == b.shape
        and a.background == b.background
        and list(map(facts, a.cells)) == list(map(facts, b.cells))
    )


@pytest.fixture
def empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("NATURALIZE_CACHE", str(tmp_path / "empty"))
    return tmp_path / "empty"


def test_missing_weights_are_named_with_the_command(empty_cache: Path, tmp_path: Path) -> None:
    image = render_phantom("LY", 1, 0).image
    write_image(tmp_path / "in" / "a.png", image)
    for call in (
        lambda: segmenter("sam").segment(image),
        lambda: segmenter("sam", weights="sam2.1-tiny").settings,
        lambda: segment_images([("a", "a.png")], tmp_path / "in", segmenter("sam"), tmp_path / "o"),
    ):
        with pytest.raises(MissingWeightsError, match="naturalize weights fetch"):
            call()
    assert not (tmp_path / "o").exists()


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        ([], SettingsError, "neither a file or folder nor a published name"),
        (["folder/other.onnx"], WeightsError, "holds neither encoder.onnx and sam.onnx nor"),
        (["folder"], WeightsError, "expected an official checkpoint"),
        (["folder/encoder.onnx", "folder/sam.onnx"], WeightsError, "no usable ONNX model"),
    ],
)
def test_paths_that_hold_no_weights_are_refused(
    empty_cache: Path, tmp_path: Path, make: list[str], error: type, message: str
) -> None:
    for name in make:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"junk")
    with pytest.raises(error, match=message):
        segmenter("sam", weights=str(tmp_path / "folder")).segment(render_phantom("LY", 1, 0).image)


def test_other_weights_are_other_settings(tmp_path: Path) -> None:
    for name in ("encoder.onnx", "sam.onnx"):
        (tmp_path / name).write_bytes(b"one")
    before = segmenter("sam", weights=str(tmp_path)).settings
    assert before == segmenter("sam", weights=str(tmp_path), threads=2).settings
    (tmp_path / "sam.onnx").write_bytes(b"another")
    assert segmenter("sam", weights=str(tmp_path)).settings != before


def test_a_blank_image_needs_no_model(empty_cache: Path, tmp_path: Path) -> None:
    for name in ("encoder.onnx", "sam.onnx"):
        (tmp_path / name).write_bytes(b"junk")
    blank = np.full((50, 60, 3), 240, np.uint8)
    found = segmenter("sam", weights=str(tmp_path)).segment(blank)
    assert found.outcome == "no cell found"


def test_it_is_cheap_to_send_to_a_worker() -> None:
    one = segmenter("sam", mode="points")
    assert pickle.loads(pickle.dumps(one)) == one
    assert len(pickle.dumps(one)) < 500


def middle_of(label: str) -> tuple[np.ndarray, np.ndarray]:
    """The middle of a phantom, where its white cell is, and that cell's mask."""
    phantom = render_phantom(label, 21, 0)
    here = np.s_[70:290, 70:290]
    return phantom.image[here], (phantom.label_image() == 1)[here]


@pytest.mark.parametrize(
    ("mode", "label", "least"), [("boxes", "BNE", 0.97), ("points", "LY", 0.95)]
)
def test_mobilesam_outlines_white_cells_as_well_as_its_detector_or_better(
    mode: str, label: str, least: float
) -> None:
    need_mobilesam()
    sam, detector = segmenter("sam", mode=mode), segmenter("classical")
    image, true = middle_of(label)
    ours, theirs = (dice(each.segment(image).label_image() == 1, true) for each in (sam, detector))
    assert ours > least
    assert ours > theirs - 0.01


def test_threads_do_not_change_the_result() -> None:
    need_mobilesam()
    image, _ = middle_of("EO")
    one, two = (segmenter("sam", threads=n).segment(image) for n in (1, 2))
    assert same(one, two)


def test_everything_mode_finds_the_white_cell() -> None:
    need_mobilesam()
    image, true = middle_of("LY")
    found = segmenter("sam", mode="everything", grid=5).segment(image)
    assert dice(found.label_image() == 1, true) > 0.9


@pytest.mark.parametrize(
    "image",
    [
        np.zeros((100, 90, 3), np.uint8),
        np.full((1, 1, 3), 9, np.uint8),
        np.random.default_rng(0).integers(0, 256, (60, 200, 3), np.uint8),
    ],
    ids=["black", "one pixel", "noise"],
)
def test_any_image_has_an_answer(image: np.ndarray) -> None:
    need_mobilesam()
    found = segmenter("sam").segment(image)
    assert found.label_image().shape == image.shape[:2]
    assert found.outcome in ("ok", "no cell found")


def test_segmenting_a_folder_with_sam_writes_cells(tmp_path: Path) -> None:
    need_mobilesam()
    write_image(tmp_path / "in" / "a.png", middle_of("LY")[0])
    (tmp_path / "in" / "b.png").write_bytes(b"no image")
    items = [("a", "a.png"), ("b", "b.png")]
    out = segment_images(items, tmp_path / "in", segmenter("sam"), tmp_path / "o", masks=True)
    outcomes = read_table(out / "outcomes.parquet")["outcome"].to_pylist()
    assert outcomes[0] == "ok"
    assert outcomes[1] != "ok"
    assert (out / "masks" / "a.png").is_file()
    scores = read_table(out / "cells.parquet")["score"].to_pylist()
    assert all(0 <= score <= 1 for score in scores)
