"""What images from elsewhere bring along: mixed origin, padding, neighbours, lobes, and no cell."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from naturalize.base.errors import ArtifactError
from naturalize.base.images import read_image, write_image
from naturalize.cells.segmentation import Cell
from naturalize.cells.segmenters import segmenter
from naturalize.imaging.slide import slide_colour
from naturalize.prediction.frame import kept, unpadded, whole
from naturalize.prediction.profile import Profile, Seen, alike, whole_reds
from naturalize.prediction.standardise import Standardiser

RED = 40.0  # width of a red cell in the drawn masks


def disc(shape: tuple[int, int], x: int, y: int, radius: int) -> np.ndarray:
    """A filled circle, bool."""
    mask = np.zeros(shape, np.uint8)
    cv2.circle(mask, (x, y), radius, 1, cv2.FILLED)
    return mask.astype(bool)


def turned(image: np.ndarray) -> np.ndarray:
    height, width = image.shape[:2]
    matrix = cv2.getRotationMatrix2D((width / 2, height / 2), 12, 1)
    return cv2.warpAffine(image, matrix, (width, height), borderValue=(0, 0, 0))


def framed(image: np.ndarray, colour: int, *sides: int) -> np.ndarray:
    value = (colour,) * 3
    return cv2.copyMakeBorder(image, *sides, cv2.BORDER_CONSTANT, value=value)


BORDERS = {
    "black to the left": lambda image: framed(image, 0, 0, 0, 40, 0),
    "white above": lambda image: framed(image, 255, 50, 0, 0, 0),
    "grey all around": lambda image: framed(image, 120, 20, 20, 20, 20),
    "black in two corners": lambda image: framed(image, 0, 30, 0, 0, 25),
    "turned": turned,
}


@pytest.mark.parametrize("kind", BORDERS)
def test_padding_of_any_kind_becomes_slide(home, kind):
    image = read_image(home[1][0])
    made = BORDERS[kind](image)
    found = unpadded(np.ascontiguousarray(made))
    assert found is not None
    filled, slide = found
    np.testing.assert_allclose(slide, slide_colour(image), atol=6)
    added = (made == made[0, 0]).all(axis=2)
    np.testing.assert_allclose(filled[added].mean(axis=0), slide, atol=1)
    # nothing but the padding and its very edge is changed
    near = cv2.dilate(added.astype(np.uint8), np.ones((9, 9), np.uint8)).astype(bool)
    np.testing.assert_array_equal(filled[~near], made[~near])


def test_a_codec_does_not_hide_padding(home):
    image = framed(read_image(home[1][0]), 0, 0, 0, 48, 0)
    _, coded = cv2.imencode(".jpg", image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 80])
    decoded = np.ascontiguousarray(cv2.imdecode(coded, cv2.IMREAD_COLOR)[..., ::-1])
    found = unpadded(decoded)
    assert found is not None
    assert found[0][:, :46].min() > 100


def test_images_without_padding_have_none(home):
    for path in home[1][:20]:
        assert unpadded(read_image(path)) is None
    overexposed = np.full((200, 200, 3), 255, np.uint8)
    overexposed[disc((200, 200), 90, 100, 50)] = (150, 60, 160)
    assert unpadded(overexposed) is None  # a cell on a white slide
    for level in (0, 130, 255):
        assert unpadded(np.full((80, 90, 3), level, np.uint8)) is None


def test_a_padded_image_of_the_usual_size_is_standardised(home):
    standard, paths = home
    image = read_image(paths[0]).copy()
    image[:, :60] = 0
    made = Standardiser(standard)(image)
    assert "border of one colour" in made.flags
    assert made.image.min(axis=2).max() > 100


def test_corners_of_neighbours_are_taken_out_and_the_cell_is_kept_whole():
    shape = (200, 200)
    bean = disc(shape, 100, 100, 40) & ~disc(shape, 140, 100, 30)
    cell = Cell.from_mask("wbc", bean)
    neighbour = Cell.from_mask("rbc", disc(shape, 150, 100, 28))
    inside = Cell.from_mask("platelet", disc(shape, 118, 100, 6))
    alone = kept(cell, [cell], shape) > 0
    assert alone[100, 125]  # the bay is filled
    found = kept(cell, [cell, neighbour], shape) > 0
    assert not found[100, 125]
    assert found[bean].all()
    assert not (found & disc(shape, 150, 100, 28) & ~bean).any()
    np.testing.assert_array_equal(kept(cell, [inside], shape) > 0, alone)


def test_lobes_of_one_nucleus_are_one_cell_and_cells_are_not():
    shape = (200, 300)
    lobes = [disc(shape, 90, 100, 16), disc(shape, 130, 100, 15), disc(shape, 110, 70, 13)]
    pieces = [Cell.from_mask("wbc", mask) for mask in lobes]
    (found,) = whole(pieces, RED)
    x0, y0, x1, y1 = found.box
    assert (x0, y0, x1, y1) == (74, 57, 146, 117)
    for mask in lobes:
        assert found.mask[mask[y0:y1, x0:x1]].all()
    assert found.nucleus is not None
    far = Cell.from_mask("wbc", disc(shape, 240, 100, 15))
    assert len(whole([*pieces, far], RED)) == 2
    lymphocytes = [Cell.from_mask("wbc", disc(shape, x, 100, 24)) for x in (90, 140)]
    assert len(whole(lymphocytes, RED)) == 2
    big = Cell.from_mask("wbc", disc(shape, 100, 100, 42))
    lobe_beside = Cell.from_mask("wbc", disc(shape, 158, 100, 14))
    assert len(whole([big, lobe_beside], RED)) == 2  # together wider than a white cell
    assert whole([], RED) == []


def seen(red: float | None, white: float, slide=(230.0, 220.0, 210.0), side=360.0) -> Seen:
    reds = (red, red, red) if red is not None else ()
    return Seen(side, slide, reds, (white,), white, ((0.4, 0.7, 0.2),), ((0.1, 0.1, 0.1),), None)


@settings(deadline=None, max_examples=30)
@given(st.lists(st.tuples(st.floats(0.85, 1.15), st.floats(1.2, 2.6)), min_size=1, max_size=60))
def test_images_of_one_microscope_are_one_group(home, cells):
    made = [seen(70 * size, 70 * size * ratio) for size, ratio in cells]
    assert [len(group) for group in alike(made, home[0])] == [len(made)]


@pytest.mark.parametrize("reds", [True, False])
def test_images_of_two_scales_are_two_groups_and_odd_ones_are_of_none(home, reds):
    small = [seen(40.0 if reds else None, 75.0 + i) for i in range(12)]
    large = [seen(120.0 if reds else None, 230.0 + i, side=900.0) for i in range(7)]
    odd = [seen(300.0, 550.0, (120.0, 200.0, 90.0), 1500.0)]
    groups = alike([*large, *odd, *small], home[0])
    assert [len(group) for group in groups] == [12, 7]
    profiles = [Profile.of_seen(group) for group in groups]
    expected = (40.0, 120.0) if reds else (80.5, 233.0)
    widths = [profile.red_cell or profile.white_cell for profile in profiles]
    assert widths == pytest.approx(expected)


def test_a_group_that_is_not_known_by_its_look_is_no_group(home):
    usual = [seen(40.0, 75.0) for _ in range(12)]
    large = [seen(120.0, 230.0) for _ in range(4)]  # same slide, same side
    assert [len(group) for group in alike(usual + large, home[0])] == [12]


def test_slides_of_other_colours_are_other_groups(home):
    lilac = [seen(70.0, 130.0, (200.0, 190.0, 240.0)) for _ in range(4)]
    yellow = [seen(70.0, 130.0, (245.0, 240.0, 120.0)) for _ in range(5)]
    groups = alike(lilac + yellow, home[0])
    assert sorted(len(group) for group in groups) == [4, 5]
    first, second = (Profile.of_seen(group) for group in groups)
    both = replace(first, others=(second,))
    image = np.zeros((360, 360, 3), np.uint8)
    nearest = both.nearest(image, (202.0, 188.0, 238.0), home[0])
    assert nearest is not None
    assert nearest.images == 4
    assert both.nearest(image, (20.0, 250.0, 20.0), home[0]) is None
    assert both.remarks() == [
        "images of mixed origin: 2 groups of like look, each measured by itself: 5 with red cells "
        "of 70 pixels, 4 with red cells of 70 pixels"
    ]
    empty = Profile(None, None, None, None, images=3)
    assert replace(first, others=(empty,)).remarks()[0].endswith(", 3 without whole cells")


def test_an_implausible_scale_falls_back_to_the_white_cells_and_says_so():
    profile = Profile.of_seen([seen(13.0, 75.0) for _ in range(5)])
    assert (profile.red_cell, profile.white_cell) == (None, 75.0)
    assert profile.remarks() == [
        "red cells of 13 pixels beside white cells of 75: the scale is that of white cells"
    ]
    assert Profile.of_seen([seen(40.0, 75.0)]).remarks() == []


def test_a_profile_of_groups_comes_back_as_it_was_and_old_files_open(home, tmp_path):
    standard = home[0]
    first, second = (
        Profile.of_seen([seen(40.0, 75.0)] * 4, "lab"),
        Profile.of_seen([seen(90.0, 160.0)] * 3),
    )
    both = replace(first, others=(second,), sharpening=0.25)
    both.save(tmp_path / "lab.json", standard)
    assert Profile.load(tmp_path / "lab.json", standard) == both
    raw = json.loads((tmp_path / "lab.json").read_text())
    old = {key: raw[key] for key in raw if key not in ("look", "doubt", "others")}
    (tmp_path / "old.json").write_text(json.dumps({**old, "format_version": 1}))
    loaded = Profile.load(tmp_path / "old.json", standard)
    assert loaded.red_cell == 40.0
    anything = np.zeros((9, 9, 3), np.uint8)
    assert loaded.nearest(anything, (1.0, 1.0, 1.0), standard) == loaded
    (tmp_path / "bad.json").write_text(json.dumps({**raw, "others": [{"red_cell": "wide"}]}))
    with pytest.raises(ArtifactError, match=r"damaged laboratory profile \(at others"):
        Profile.load(tmp_path / "bad.json", standard)
    (tmp_path / "new.json").write_text(json.dumps({**raw, "format_version": 9}))
    with pytest.raises(ArtifactError, match="format 9"):
        Profile.load(tmp_path / "new.json", standard)


@pytest.fixture(scope="module")
def mixed(home, tmp_path_factory) -> list[Path]:
    """The phantom by two microscopes: one takes cells at 0.6, the other at 1.7 times their size."""
    root = tmp_path_factory.mktemp("mixed")
    paths = []
    for i, path in enumerate(home[1][:10]):
        image = read_image(path)
        factor, how = ((0.6, cv2.INTER_AREA), (1.7, cv2.INTER_CUBIC))[i % 2]
        paths.append(root / f"{i}.png")
        write_image(paths[-1], cv2.resize(image, None, fx=factor, fy=factor, interpolation=how))
    return paths


def test_a_set_of_mixed_origin_is_brought_to_one_scale(home, mixed, tmp_path, capsys):
    standard = home[0]
    standardiser = Standardiser(standard, "always").learn(mixed, "north")
    assert standardiser.profile is not None
    said = capsys.readouterr().err
    assert "north: images of mixed origin: 2 groups of like look" in said
    assert "north: 10 image(s) from elsewhere are too few" in said
    scales = [group.red_cell or group.white_cell for group in standardiser.profile.groups]
    assert len(scales) == 2
    assert max(scales) / min(scales) == pytest.approx(1.7 / 0.6, rel=0.2)
    standardiser.profile.save(tmp_path / "lab.json", standard)
    again = Standardiser(standard, "always", Profile.load(tmp_path / "lab.json", standard))
    widths: tuple[list[float], list[float]] = ([], [])
    for i, path in enumerate(mixed):
        image = read_image(path)
        made = standardiser(image)
        np.testing.assert_array_equal(made.image, again(image).image)
        assert made.image.shape == (standard.height, standard.width, 3)
        widths[i % 2].extend(whole_reds(segmenter().segment(made.image)))
    for found in widths:
        assert abs(math.log(np.median(found) / standard.red_cell)) < 0.25


def test_the_matrix_says_where_a_place_of_the_file_is_in_the_picture(home, mixed):
    standard = home[0]
    standardiser = Standardiser(standard, "always").learn(mixed)
    for path in mixed[:4]:
        image = read_image(path)
        made = standardiser(image)
        assert made.mask is not None
        assert made.matrix is not None
        found = segmenter().segment(image).of("wbc")
        middles = [np.add(cell.box[:2], cell.box[2:]) / 2 for cell in found]
        there = [made.matrix @ [*middle, 1] for middle in middles]
        off = min(
            np.abs(place - [standard.width / 2, standard.height / 2]).max() for place in there
        )
        assert off < 12


def test_an_image_without_a_cell_has_an_answer_of_its_own(home, abroad_without):
    standard = home[0]
    from naturalize.prediction.predictor import in_kind

    for image in abroad_without:
        made = Standardiser(standard, "always")(image)
        assert made.verdict == "no cell"
        assert made.doubt
        config = type("Config", (), {"standard": standard, "classes": ("A", "B")})
        row = in_kind(np.array([0.99, 0.01], np.float32), made, config)  # type: ignore[arg-type]
        np.testing.assert_array_equal(row, [0.5, 0.5])


@pytest.fixture
def abroad_without(home) -> list[np.ndarray]:
    """Bare slide, slide with a border, and red cells only."""
    standard = home[0]
    noise = np.random.default_rng(0).normal(0, 1.5, (150, 220, 3))
    slide = np.clip(np.asarray(standard.slide) + noise, 0, 255).astype(np.uint8)
    reds = slide.copy()
    density = np.asarray(standard.red_stain)
    colour = np.rint(np.asarray(standard.slide) * 10**-density)
    for x, y in ((40, 40), (110, 80), (180, 50), (60, 115)):
        reds[disc(reds.shape[:2], x, y, 18)] = colour
    return [slide, framed(slide, 0, 0, 0, 50, 0), cv2.GaussianBlur(reds, (0, 0), 1)]
