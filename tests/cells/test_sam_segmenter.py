"""The segmenter sam as a whole: missing weights, remembered results, and the real model."""

from __future__ import annotations

import os
import pickle
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sam_fakes import need_mobilesam

from naturalize.base.artifacts import read_table
from naturalize.base.errors import ArtifactError, SettingsError
from naturalize.base.images import write_image
from naturalize.cells.segment import segment_images
from naturalize.cells.segmentation import KINDS, Cell, Segmentation
from naturalize.cells.segmenters import segmenter
from naturalize.cells.segmenters.sam import load
from naturalize.cells.segmenters.sam.cache import ResultCache
from naturalize.cells.segmenters.sam.packing import pack, unpack
from naturalize.cells.segmenters.sam.weights import MissingWeightsError, WeightsError, find
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


MASKS = arrays(bool, st.tuples(st.integers(1, 7), st.integers(1, 7)))


@st.composite
def cells(draw) -> Cell:
    mask = draw(MASKS)
    x, y = draw(st.integers(-3, 900)), draw(st.integers(0, 900))
    nucleus = draw(st.one_of(st.none(), st.just(mask & (mask ^ mask[::-1]))))
    box = (x, y, x + mask.shape[1], y + mask.shape[0])
    return Cell(draw(st.sampled_from(KINDS)), box, mask, draw(st.floats(0, 1)), nucleus)


@settings(max_examples=60, deadline=None)
@given(st.lists(cells(), max_size=5), st.floats(0, 255))
def test_packing_keeps_every_cell_exactly(found: list[Cell], light: float) -> None:
    whole = Segmentation((950, 960), tuple(found), (light, 1.0, 2.5))
    assert same(unpack(pack(whole)), whole)
    assert pack(whole) == pack(unpack(pack(whole)))


@pytest.mark.parametrize("damage", [lambda b: b[:40], lambda b: b"junk", lambda b: b[:-30] + b"x"])
def test_damaged_packages_are_refused(damage) -> None:
    whole = Segmentation((9, 9), (Cell("rbc", (0, 0, 2, 2), np.ones((2, 2), bool)),), (1, 2, 3))
    with pytest.raises(ArtifactError, match="packed cells"):
        unpack(damage(pack(whole)))


def test_a_cache_forgets_what_was_not_asked_for_longest(tmp_path: Path) -> None:
    cache = ResultCache(tmp_path / "c", limit=256 * 3000)
    keys = [f"ab{i:062x}" for i in range(5)]
    for number, key in enumerate(keys[:3]):
        cache.put(key, bytes(900))
        os.utime(tmp_path / "c" / "ab" / key, (number, number))
    assert cache.get(keys[0]) == bytes(900)  # asked for: now the youngest
    cache.put(keys[3], bytes(1200))
    assert cache.get(keys[1]) is None
    assert all(cache.get(key) is not None for key in (keys[0], keys[2], keys[3]))
    cache.put(keys[4], bytes(9000))  # larger than its share: kept until the next one
    assert cache.get(keys[4]) == bytes(9000)
    assert len(list((tmp_path / "c").rglob("*.*"))) == 0


def test_what_a_killed_writer_left_is_swept_later(tmp_path: Path) -> None:
    cache = ResultCache(tmp_path, limit=256 * 100)
    (tmp_path / "ab").mkdir()
    for name, age in ((".fresh", 0), (".old", 7200)):
        (tmp_path / "ab" / name).write_bytes(bytes(200))
        os.utime(tmp_path / "ab" / name, (time.time() - age,) * 2)
    cache.put("ab" + "0" * 62, b"x")
    assert {path.name for path in (tmp_path / "ab").iterdir()} == {".fresh", "ab" + "0" * 62}


def _write_and_read(arguments: tuple[str, int]) -> bool:
    folder, worker = arguments
    cache = ResultCache(Path(folder), limit=256 * 40_000)
    for number in range(40):
        key = f"cd{number % 7:062x}"
        cache.put(key, bytes([number % 7]) * 9000)
        data = cache.get(f"cd{(number + worker) % 7:062x}")
        if data is not None and (len(data) != 9000 or len(set(data)) != 1):
            return False
    return True


def test_a_cache_can_be_written_by_many_at_once(tmp_path: Path) -> None:
    with ProcessPoolExecutor(3, mp_context=get_context("forkserver")) as pool:
        assert all(pool.map(_write_and_read, [(str(tmp_path), k) for k in range(3)]))
    assert sum(p.stat().st_size for p in tmp_path.rglob("*") if p.is_file()) <= 40_000
    assert not list(tmp_path.rglob(".*"))


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
        ([], SettingsError, "neither a file or folder nor a known name"),
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


class _Counting:
    """Stands for the computation; says how often it was asked."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, image: np.ndarray) -> Segmentation:
        self.calls += 1
        mask = np.ones((3, 4), bool)
        return Segmentation(image.shape[:2], (Cell("rbc", (1, 2, 5, 5), mask, 0.7),), (9, 8, 7))


def test_results_are_remembered_by_pixels_and_settings(
    empty_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from naturalize.cells.segmenters.sam import Sam

    computed = _Counting()
    monkeypatch.setattr(Sam, "_computed", lambda self, image: computed(image))
    source = load.Source("onnx", empty_cache, "0" * 16)
    monkeypatch.setattr(load, "locate", lambda weights: source)
    image = np.full((20, 30, 3), 200, np.uint8)
    first = Sam().segment(image)
    assert same(Sam().segment(image.copy()), first)
    assert computed.calls == 1
    other = image.copy()
    other[3, 3] = 9
    for again in (
        lambda: Sam().segment(other),
        lambda: Sam(mode="points").segment(image),
        lambda: Sam(mode="everything").segment(image),
        lambda: Sam(mode="everything", grid=8).segment(image),
        lambda: Sam(cache=False).segment(image),
    ):
        before = computed.calls
        again()
        assert computed.calls == before + 1
    Sam(threads=3).segment(image)
    assert computed.calls == 6
    for file in (empty_cache / "masks").rglob("*"):
        if file.is_file():
            file.write_bytes(b"damaged")
    assert same(Sam().segment(image), first)
    assert same(Sam().segment(image), first)
    assert computed.calls == 7


def test_other_weights_are_other_settings(tmp_path: Path) -> None:
    for name in ("encoder.onnx", "sam.onnx"):
        (tmp_path / name).write_bytes(b"one")
    before = segmenter("sam", weights=str(tmp_path)).settings
    assert before == segmenter("sam", weights=str(tmp_path), threads=2, cache=False).settings
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
    sam, detector = segmenter("sam", mode=mode, cache=False), segmenter("classical")
    image, true = middle_of(label)
    ours, theirs = (dice(each.segment(image).label_image() == 1, true) for each in (sam, detector))
    assert ours > least
    assert ours > theirs - 0.01


def test_threads_and_memory_of_results_do_not_change_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    need_mobilesam()
    folder = str(find("mobilesam"))
    monkeypatch.setenv("NATURALIZE_CACHE", str(tmp_path))
    image, _ = middle_of("EO")
    one = segmenter("sam", weights=folder, threads=1, cache=False).segment(image)
    two = segmenter("sam", weights=folder, threads=2).segment(image)
    monkeypatch.setattr(load, "_loaded", None)  # nothing may be computed any more
    remembered = segmenter("sam", weights=folder, threads=2).segment(image)
    assert same(one, two)
    assert same(two, remembered)


def test_everything_mode_finds_the_white_cell() -> None:
    need_mobilesam()
    image, true = middle_of("LY")
    found = segmenter("sam", mode="everything", grid=5, cache=False).segment(image)
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
    found = segmenter("sam", cache=False).segment(image)
    assert found.label_image().shape == image.shape[:2]
    assert found.outcome in ("ok", "no cell found")


def test_segmenting_a_folder_with_sam_writes_cells(tmp_path: Path) -> None:
    need_mobilesam()
    write_image(tmp_path / "in" / "a.png", middle_of("LY")[0])
    (tmp_path / "in" / "b.png").write_bytes(b"no image")
    items = [("a", "a.png"), ("b", "b.png")]
    out = segment_images(
        items, tmp_path / "in", segmenter("sam", cache=False), tmp_path / "o", masks=True
    )
    outcomes = read_table(out / "outcomes.parquet")["outcome"].to_pylist()
    assert outcomes[0] == "ok"
    assert outcomes[1] != "ok"
    assert (out / "masks" / "a.png").is_file()
    scores = read_table(out / "cells.parquet")["score"].to_pylist()
    assert all(0 <= score <= 1 for score in scores)
