"""Pictures of cells: one scale, the right place, missing images, a damaged cache."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from benchmarks._review import synthetic_review

from naturalize.base.errors import ImageReadError, SettingsError
from naturalize.base.images import decode_image, write_image
from naturalize.cells.segmentation import Segmentation
from naturalize.dataset.phantom import CLASSES
from naturalize.models.shipped import find
from naturalize.review.service.errors import NoSuchError
from naturalize.review.service.intake.prepare import write
from naturalize.review.service.pictures import references
from naturalize.review.service.pictures.cache import Cache
from naturalize.review.service.pictures.cut import LARGEST, SIDE
from naturalize.review.service.pictures.pictures import OWN, Pictures
from naturalize.review.service.review import Review
from naturalize.review.store.cells import CellRow

RED, BLUE = (200, 40, 40), (40, 40, 200)


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[tuple[Review, Pictures, Path]]:
    """A field with a red cell at its edge and a blue one inside, an image of one, a missing one."""
    root = tmp_path / "images"
    field = np.full((400, 600, 3), 230, np.uint8)
    field[0:40, 0:40], field[100:140, 200:240] = RED, BLUE
    write_image(root / "field.png", field)
    one = np.full((120, 120, 3), 230, np.uint8)
    one[40:80, 40:80] = BLUE
    write_image(root / "one.png", one)
    square = np.array([[0, 0], [39, 0], [39, 39], [0, 39]], np.int16)
    cells = [
        CellRow("field.png", "field.png", 1, (0, 0, 40, 40), model_label="A", outline=square),
        CellRow("field.png", "field.png", 2, (200, 100, 240, 140), model_label="A", outline=square),
        CellRow("one.png", model_label="A", outline=square + np.int16(40)),
        CellRow("gone.png", model_label="B"),
    ]
    settings = {"name": "r", "root": str(root), "shown": 96, "model": "pbc11"}
    review = Review.open(write(tmp_path / "r", settings, ["A", "B"], cells, source="x"))
    pictures = Pictures(review)
    yield review, pictures, root
    pictures.close()
    review.close()


def pixels(data: bytes) -> np.ndarray:
    return decode_image(data)[0].astype(int)


def near(image: np.ndarray, colour: tuple[int, int, int]) -> np.ndarray:
    return np.abs(image - np.array(colour)).max(axis=2) < 60


def test_thumbnails_of_fields_and_single_cells_have_one_scale(opened) -> None:
    _, pictures, _ = opened
    for cell, colour in ((1, RED), (2, BLUE), (3, BLUE)):
        image = pixels(pictures.thumbnail(cell))
        assert image.shape == (SIDE, SIDE, 3)
        there = near(image, colour)
        # 40 pixels of the file at 192 / 96, in the middle
        assert there.sum() == pytest.approx(80 * 80, rel=0.05)
        assert np.argwhere(there).mean(axis=0) == pytest.approx([95.5, 95.5], abs=1.5)


def test_what_lies_beyond_a_field_is_white(opened) -> None:
    _, pictures, _ = opened
    assert pixels(pictures.thumbnail(1))[:20, :20].min() > 245


def test_outlines_lie_on_the_cell_in_the_whole_picture(opened) -> None:
    _, pictures, _ = opened
    for cell, colour in ((1, RED), (2, BLUE), (3, BLUE)):
        points, size = pictures.shape(cell)
        image = pixels(pictures.full(cell))
        assert size == (image.shape[1], image.shape[0])
        y, x = np.nonzero(near(image, colour))
        xs, ys = zip(*points, strict=True)
        assert (min(xs), min(ys)) == pytest.approx((x.min(), y.min()), abs=1)
        assert (max(xs), max(ys)) == pytest.approx((x.max(), y.max()), abs=1)
        assert pictures.outline(cell) == points


def test_the_field_around_a_cell_has_its_box(opened) -> None:
    _, pictures, _ = opened
    plain, with_box = pixels(pictures.around(1)), pixels(pictures.around(2))
    assert with_box.shape == (400, 600, 3)
    changed = np.argwhere(np.abs(plain - with_box).max(axis=2) > 60)
    assert np.abs(changed - [100, 200]).max(axis=1).min() <= 3
    assert (pixels(pictures.around(1)) == plain).all()  # the other box is not there


def test_no_box_lies_in_the_whole_picture_of_a_cell(opened) -> None:
    _, pictures, _ = opened
    before = pictures.full(2)
    pictures.around(2)
    assert pictures.full(2) == before


def test_a_missing_image_is_named_and_may_come_back(opened) -> None:
    _, pictures, root = opened
    assert pictures.shape(4) == (None, None)
    for ask in (pictures.thumbnail, pictures.full):
        with pytest.raises(ImageReadError, match=r"gone\.png"):
            ask(4)
    write_image(root / "gone.png", np.full((96, 96, 3), 10, np.uint8))
    assert pixels(pictures.thumbnail(4)).max() < 40


def test_cells_that_are_not_there_are_an_error(opened) -> None:
    _, pictures, _ = opened
    for ask in (pictures.thumbnail, pictures.full, pictures.around, pictures.shape):
        with pytest.raises(NoSuchError):
            ask(99)
    with pytest.raises(NoSuchError):
        pictures.reference(1)
    with pytest.raises(SettingsError, match="heat"):
        pictures.heat(1)


def test_a_damaged_cache_is_made_again(opened) -> None:
    review, pictures, _ = opened
    wanted = pictures.thumbnail(1)
    pictures.close()
    (Path(review.folder) / "cache" / "pictures.sqlite").write_bytes(b"no database" * 1000)
    again = Pictures(review)
    assert again.thumbnail(1) == wanted
    again.close()


def test_many_threads_get_the_same_pictures(tmp_path: Path) -> None:
    review = Review.open(synthetic_review(tmp_path / "r", 40, size=96))
    pictures = Pictures(review)
    cells = [cell for cell in range(1, 41) for _ in range(3)]
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(pictures.thumbnail, cells))
    for cell, data in zip(cells, found, strict=True):
        assert data == pictures.thumbnail(cell)
    pictures.close()
    review.close()


def test_without_a_reference_the_atlas_is_of_the_reviews_surest_cells(tmp_path: Path) -> None:
    review = Review.open(synthetic_review(tmp_path / "r", 300, size=96))
    pictures = Pictures(review)
    assert not pictures.has_references
    assert pictures.nearest(1) == []
    found = pictures.atlas("LY", 3)
    rows = [review.row(one.id - OWN) for one in found]
    all_ly = [review.row(i).doubt for i in range(1, 301) if review.row(i).model_label == "LY"]
    assert [row.doubt for row in rows] == sorted(all_ly)[:3]
    assert pictures.reference(found[0].id) == pictures.thumbnail(found[0].id - OWN)
    pictures.close()
    review.close()


@pytest.mark.parametrize(
    ("label", "wanted"),
    [("PLATELET", "PLT"), ("lymphocyte", "LY"), ("SNE", "SNE"), ("neutrophil", "neutrophil")],
)
def test_other_names_of_a_class_are_that_class(label: str, wanted: str) -> None:
    assert references.class_of(label, CLASSES) == wanted


def test_the_nearest_reference_of_a_cell_is_another_picture_of_it(
    opened, phantom_root: Path
) -> None:
    review, pictures, root = opened
    drawn = references.drawn(phantom_root / "images")
    kept = drawn.items[::18]  # features take their time
    training = type(drawn)(drawn.root, kept)
    references.write(Path(review.folder), training, find("pbc11"), CLASSES)
    assert pictures.has_references
    # a cell whose picture is one of them, written anew so that its bytes differ
    target = kept[1]
    image = decode_image((drawn.root / target.path).read_bytes())[0]
    write_image(root / "gone.png", image)
    ((first, likeness), *_) = pictures.nearest(4, k=2)
    assert first.label == target.label
    assert first.path == (drawn.root / target.path).absolute()
    assert likeness == pytest.approx(1, abs=1e-3)
    assert pixels(pictures.reference(first.id)).shape == (SIDE, SIDE, 3)
    # a file of the same bytes is not its own neighbour
    (root / "gone.png").write_bytes((drawn.root / target.path).read_bytes())
    assert first.id not in [one.id for one, _ in pictures.nearest(4, k=3)]
    assert {one.label for one in pictures.atlas(target.label, 2)} == {target.label}
    assert pictures.atlas("none", 2) == []


def test_a_cache_that_could_not_be_written_once_is_written_again(tmp_path: Path) -> None:
    cache = Cache(tmp_path / "pictures.sqlite")
    cache.put({"a": b"1", "b": object()})  # type: ignore[dict-item]
    assert cache.get("a") is None  # all, or none
    cache.put({"a": b"2"})
    assert cache.get("a") == b"2"
    cache.close()


def test_a_box_that_is_larger_than_any_cell_takes_no_more_than_its_share(tmp_path: Path) -> None:
    field = np.full((40, 60, 3), 230, np.uint8)
    field[10:20, 10:20] = RED
    write_image(tmp_path / "field.png", field)
    row = CellRow("field.png", "field.png", 1, (0, 0, 2**24, 2**24), model_label="A")
    settings = {"name": "r", "model": "pbc11", "root": str(tmp_path)}
    review = Review.open(write(tmp_path / "r", settings, ["A"], [row], source="x"))
    pictures = Pictures(review)
    assert pixels(pictures.full(1)).shape == (LARGEST, LARGEST, 3)
    assert pixels(pictures.thumbnail(1)).shape == (SIDE, SIDE, 3)
    pictures.close()
    review.close()


def test_who_waits_for_the_model_holds_up_nobody_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, goes_on = threading.Semaphore(0), threading.Event()

    class Slow:
        def segment(self, image: np.ndarray) -> Segmentation:
            begun.release()
            assert goes_on.wait(30)
            return Segmentation(image.shape[:2], (), (230.0, 230.0, 230.0))

    monkeypatch.setattr("naturalize.fields.read.finder", Slow)
    cells = [CellRow(f"{i}.png", model_label="A") for i in range(20)]
    for cell in cells:
        write_image(tmp_path / cell.path, np.full((30, 40, 3), 230, np.uint8))
    settings = {"name": "r", "model": "pbc11", "root": str(tmp_path)}
    review = Review.open(write(tmp_path / "r", settings, ["A"], cells, source="x"))
    pictures = Pictures(review)
    with ThreadPoolExecutor(20) as pool:
        asked = [pool.submit(pictures.shape, cell) for cell in range(1, 21)]
        assert begun.acquire(timeout=30)
        done, waiting = wait(asked, timeout=30, return_when=FIRST_COMPLETED)
        while len(done) < 12:
            more, waiting = wait(waiting, timeout=30, return_when=FIRST_COMPLETED)
            done |= more
        assert len(waiting) == 8  # all others have their answer while the first is in the making
        assert {each.result() for each in done} == {(None, (40, 30))}
        goes_on.set()
    assert pictures.shape(1) == (None, (40, 30))
    pictures.close()
    review.close()
