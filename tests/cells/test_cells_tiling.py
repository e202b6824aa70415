"""Whole fields in tiles: the cells are those of the whole image, at any magnification."""

from __future__ import annotations

import itertools
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any, ClassVar

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from naturalize.cells import tiling
from naturalize.cells.seams import Candidate, common, merge
from naturalize.cells.segmentation import Cell, Segmentation, in_order
from naturalize.cells.segmenters import ScaledSegmenter, segmenter
from naturalize.cells.tiling import Tiled, red_cell_width, tiles
from naturalize.dataset.phantom import render_phantom
from naturalize.imaging.slide import evenly_lit

SLIDE = (240, 230, 220)
PAINT = {"wbc": (90, 60, 150), "rbc": (200, 140, 140), "platelet": (150, 60, 170)}


class Painted(ScaledSegmenter):
    """Finds what `paint` painted, exactly: connected pixels of a kind's colour."""

    name: ClassVar[str] = "painted"

    def segment(self, image: np.ndarray) -> Segmentation:
        cells = []
        for kind, colour in PAINT.items():
            low, high = np.array(colour) - 12, np.array(colour) + 12
            n, labels = cv2.connectedComponents(cv2.inRange(image, low, high), connectivity=4)
            for k, window in enumerate(ndimage.find_objects(labels, n - 1), start=1):
                at = (window[1].start, window[0].start)
                nucleus = ndimage.binary_erosion(labels[window] == k) if kind == "wbc" else None
                cells.append(Cell.from_mask(kind, labels[window] == k, nucleus=nucleus, offset=at))
        colour = tuple(float(v) for v in np.median(image.reshape(-1, 3)[::101], axis=0))
        return Segmentation(image.shape[:2], in_order(cells), colour)


def paint(shape: tuple[int, int], discs: list[tuple[str, int, int, int]]) -> np.ndarray:
    """Return a slide with discs (kind, x, y, radius)."""
    image = np.full((*shape, 3), SLIDE, np.uint8)
    for kind, x, y, radius in discs:
        cv2.circle(image, (x, y), radius, PAINT[kind], -1)
    return image


def described(segmentation: Segmentation) -> list[tuple[Any, ...]]:
    return [
        (c.kind, c.box, c.mask.tobytes(), None if c.nucleus is None else c.nucleus.tobytes())
        for c in segmentation.cells
    ]


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 900), st.integers(1, 900), st.integers(40, 300), st.integers(0, 39))
def test_tiles_cover_the_image_and_share_enough(
    height: int, width: int, side: int, overlap: int
) -> None:
    found = tiles((height, width), side, overlap)
    seen = np.zeros((height, width), int)
    for x0, y0, x1, y1 in found:
        assert x1 - x0 == min(side, width)
        assert y1 - y0 == min(side, height)
        seen[y0:y1, x0:x1] += 1
    assert seen.min() == 1
    columns = sorted({(x0, x1) for x0, _, x1, _ in found})
    for (_, end), (start, _) in itertools.pairwise(columns):
        assert end - start >= overlap


@st.composite
def fields(draw: st.DrawFn) -> np.ndarray:
    """A field above the limit, with discs of any kind that do not touch each other."""
    shape = (draw(st.integers(300, 1500)), draw(st.integers(1210, 1700)))
    seed = draw(st.integers(0, 2**32 - 1))
    rng = np.random.default_rng(seed)
    discs: list[tuple[str, int, int, int]] = []
    for _ in range(250):
        kind = str(rng.choice(list(PAINT)))
        radius = int(rng.integers(4, 82 if kind == "wbc" else 45))
        x, y = int(rng.integers(0, shape[1])), int(rng.integers(0, shape[0]))
        if all(np.hypot(x - a, y - b) > radius + r + 4 for _, a, b, r in discs):
            discs.append((kind, x, y, radius))
    return paint(shape, discs)


@settings(max_examples=6, deadline=None)
@given(fields())
def test_tiles_give_the_cells_of_the_whole_image(field: np.ndarray) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tiling, "red_cell_width", lambda _: 50.0)  # tiles of 510, sharing 170 pixels
        tiled = Tiled(Painted()).segment(field)
        threaded = Tiled(Painted(), threads=2).segment(field)
    whole = Painted().segment(field)
    assert described(tiled) == described(threaded) == described(whole)
    assert tiled.shape == whole.shape
    assert tiled.background == whole.background


def test_small_images_are_seen_as_they_are() -> None:
    image = render_phantom("LY", 1, 0).image
    find = segmenter("classical")
    assert described(Tiled(find).segment(image)) == described(find.segment(image))


def small(width: int, white: int = 0) -> np.ndarray:
    """Return 480 × 640 pixels of red cells of a width, and one white cell, if it has any."""
    step = round(1.6 * width)
    places = itertools.product(range(step, 640 - width, step), range(step, 480 - width, step))
    cells = [("wbc", 320, 240, white // 2)] if white else []
    return paint((480, 640), [*(("rbc", x, y, width // 2) for x, y in places), *cells])


@pytest.mark.parametrize(
    ("image", "zoomed"),
    [(small(26, 44), True), (small(80), False), (small(26, 200), False), (small(26)[:160], False)],
)
def test_small_fields_of_small_cells_are_enlarged_and_images_of_one_cell_are_not(
    image: np.ndarray, zoomed: bool
) -> None:
    asked: list[float | None] = []

    class Watched(Painted):
        def segment(self, image: np.ndarray) -> Segmentation:
            asked.append(self.cell_size)
            return super().segment(image)

    Tiled(Watched()).segment(image)
    assert asked[0] is None
    assert (len(asked) > 1) is zoomed
    assert all(size is not None and 60 < size < 95 for size in asked[1:])
    asked.clear()
    Tiled(Watched(cell_size=30)).segment(image)
    assert asked == [30]


@pytest.mark.parametrize("vertical", [False, True])
def test_a_thing_wider_than_the_overlap_is_put_together(
    monkeypatch: pytest.MonkeyPatch, vertical: bool
) -> None:
    monkeypatch.setattr(tiling, "red_cell_width", lambda _: 50.0)
    field = np.full((1300, 1500, 3), SLIDE, np.uint8)
    if vertical:
        field[120:1010, 300:340] = PAINT["rbc"]
    else:
        field[300:340, 200:1450] = PAINT["rbc"]
    found = Tiled(Painted()).segment(field)
    assert described(found) == described(Painted().segment(field))


@pytest.mark.parametrize("width", [24.0, 300.0])
def test_other_magnifications_are_brought_to_the_usual_one(
    monkeypatch: pytest.MonkeyPatch, width: float
) -> None:
    seen: list[tuple[float, tuple[int, ...]]] = []

    class Watched(Painted):
        """Takes all that is darker than half way to the slide for red cells."""

        def segment(self, image: np.ndarray) -> Segmentation:
            assert self.cell_size is not None
            seen.append((self.cell_size, image.shape))
            dark = np.where(image[..., 1:2] < 185, np.uint8(PAINT["rbc"]), np.uint8(SLIDE))
            return super().segment(dark)

    rng = np.random.default_rng(1)
    radius = round(width / 2)
    step = round(1.6 * width)
    size = (1400, 1900) if width > 100 else (500, 1300)
    discs = [
        ("rbc", int(x + rng.integers(-3, 4)), int(y + rng.integers(-3, 4)), radius)
        for x in range(step, size[1] - step // 2, step)
        for y in range(step, size[0] - step // 2, step)
    ]
    field = paint(size, discs)
    assert red_cell_width(field) == pytest.approx(width, rel=0.12)
    found = Tiled(Watched()).segment(field)
    assert all(60 < told < 95 for told, _ in seen)
    assert all(max(shape) < 1000 for _, shape in seen)
    assert len(found.cells) == len(discs)
    for true in Painted().segment(field).cells:
        mine = max(found.cells, key=lambda cell, true=true: common(cell, true))
        both = common(mine, true)
        assert both / (mine.area + true.area - both) > 0.85


def test_light_that_falls_off_is_no_cell_and_even_light_stays_as_it_is() -> None:
    field = small(26, 44)
    assert evenly_lit(field) is field
    y, x = np.mgrid[-1 : 1 : 480 * 1j, -1 : 1 : 640 * 1j]
    fall = 1 - 0.15 * (x * x + y * y) + 0.05 * x
    dim = np.clip(field * fall[..., None], 0, 255).astype(np.uint8)
    slide = np.all(field == SLIDE, axis=2)
    assert np.ptp(dim[slide], axis=0).min() > 60
    lit = evenly_lit(dim)
    assert np.ptp(np.quantile(lit[slide], [0.01, 0.99], axis=0), axis=0).max() < 12
    assert red_cell_width(dim) == pytest.approx(26, rel=0.12)


@pytest.mark.parametrize("value", [0, 128, 255])
def test_a_field_without_cells_has_none(value: int) -> None:
    blank = np.full((1300, 1800, 3), value, np.uint8)
    assert red_cell_width(blank) is None
    assert Tiled(segmenter("classical")).segment(blank).outcome == "no cell found"


def test_in_a_dark_frame_all_around_no_width_is_measured() -> None:
    framed = np.full((300, 400, 3), SLIDE, np.uint8)
    framed[:9] = framed[-9:] = framed[:, :9] = framed[:, -9:] = 10
    assert red_cell_width(framed) is None


@pytest.mark.parametrize("shape", [(1, 1), (200, 300)])
def test_no_segmenter_is_asked_about_one_colour(shape: tuple[int, int]) -> None:
    class Imagines(Painted):
        def segment(self, image: np.ndarray) -> Segmentation:
            raise AssertionError("there is nothing to find")

    noise = np.random.default_rng(0).integers(0, 4, (*shape, 3)).astype(np.uint8)
    found = Tiled(Imagines()).segment(noise + np.array([240, 230, 200], np.uint8))
    assert found.outcome == "no cell found"
    assert found.background == pytest.approx((241.5, 231.5, 201.5), abs=2)


def test_a_cell_that_two_tiles_tell_apart_differently_is_there_once() -> None:
    windows = tiles((300, 500), 300, 100)
    whole = Cell("rbc", (210, 100, 270, 160), np.ones((60, 60), bool))
    halves = [
        Cell("rbc", (210, 100, 240, 160), np.ones((60, 30), bool)),
        Cell("rbc", (240, 100, 270, 160), np.ones((60, 30), bool)),
    ]
    found = [Candidate(whole, 0, windows[0])] + [Candidate(c, 1, windows[1]) for c in halves]
    kept = merge(found, (300, 500), windows, slack=60)
    covered = np.zeros((300, 500), int)
    for cell in kept:
        x0, y0, x1, y1 = cell.box
        covered[y0:y1, x0:x1] += cell.mask
    assert covered.max() == 1
    assert covered.sum() == 60 * 60


def mosaic(rows: int, columns: int) -> tuple[np.ndarray, list[list[np.ndarray]]]:
    labels = ("LY", "SNE", "EO", "MO", "PLT", "MMY", "BA")
    parts = [render_phantom(label, 31, 0).image for label in labels]
    grid = [[parts[(3 * y + x) % len(parts)] for x in range(columns)] for y in range(rows)]
    return np.concatenate([np.concatenate(row, axis=1) for row in grid]), grid


def test_a_field_of_smears_has_the_cells_of_its_smears() -> None:
    field, grid = mosaic(3, 4)
    find = segmenter("classical")
    found = Tiled(find).segment(field)
    one = {id(image): find.segment(image) for row in grid for image in row}
    apart = [[one[id(image)] for image in row] for row in grid]
    whites = sum(len(s.of("wbc")) for row in apart for s in row)
    assert abs(len(found.of("wbc")) - whites) <= 1
    labels = np.concatenate([np.concatenate([s.label_image() for s in r], axis=1) for r in apart])
    for level in (1, 2):
        a, b = labels == level, found.label_image() == level
        assert 2 * (a & b).sum() / (a.sum() + b.sum()) > 0.95
    covered = np.zeros(field.shape[:2], int)
    for cell in found.cells:
        x0, y0, x1, y1 = cell.box
        covered[y0:y1, x0:x1] += cell.mask
    assert (covered > 1).sum() < 0.005 * (covered > 0).sum()


MEASURED = """
    import resource, sys
    sys.path[:0] = [{here!r}]
    from pathlib import Path
    from test_cells_tiling import Painted
    from naturalize.base.images import read_image
    from naturalize.cells.segment import segment_images

    def peak():
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024

    work = Path(sys.argv[1])
    segment_images([("0", "small.jpg")], work, Painted(), work / "warm", masks=True, overlays=True)
    before = peak()
    segment_images([("1", "field.jpg")], work, Painted(), work / "out", masks=True, overlays=True)
    print(peak() - before)
"""


def test_a_field_of_12_megapixels_takes_few_copies_of_itself(tmp_path: Path) -> None:
    rng = np.random.default_rng(2)
    discs = [
        ("wbc" if rng.random() < 0.05 else "rbc", x + 40, y + 40, int(rng.integers(30, 40)))
        for x in range(40, 3900, 150)
        for y in range(40, 2900, 150)
    ]
    field = paint((3000, 4000), discs)
    for name, image in (("field", field), ("small", field[:400, :400])):
        cv2.imwrite(
            str(tmp_path / f"{name}.jpg"), image[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, 98]
        )
    code = textwrap.dedent(MEASURED.format(here=str(Path(__file__).parent)))
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) < 3.5 * field.nbytes
    from naturalize.base.artifacts import read_table

    (row,) = read_table(tmp_path / "out" / "outcomes.parquet").to_pylist()
    assert row["n_wbc"] + row["n_rbc"] == len(discs)
    label = cv2.imread(str(tmp_path / "out" / "masks" / "field.png"), cv2.IMREAD_UNCHANGED)
    assert label.shape == field.shape[:2]
