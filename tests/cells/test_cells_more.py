"""Stain, names of pictures, copies of a file, pickled banks, many white cells, other stains."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image
from scipy import ndimage

from naturalize.base.artifacts import read_table
from naturalize.base.errors import SettingsError
from naturalize.base.images import read_image, write_image
from naturalize.cells.bank import CellBank
from naturalize.cells.pictures import overlay
from naturalize.cells.segment import picture_names, segment_images
from naturalize.cells.segmenters import segmenter
from naturalize.cells.segmenters.classical.white import fill, star
from naturalize.dataset.catalog import Catalog
from naturalize.dataset.phantom import render_phantom
from naturalize.imaging.stain import focus, mean_density, optical_density
from naturalize.inputs.images import segment_source

PIXELS = arrays(np.uint8, st.tuples(st.integers(1, 6), st.integers(1, 6), st.just(3)))
SLIDE = (253.0, 229.0, 203.0)


@settings(max_examples=50, deadline=None)
@given(PIXELS)
def test_density_is_beers_law(image: np.ndarray) -> None:
    seen = np.maximum(image.astype(float), 1)
    expected = -np.log10(seen / np.array(SLIDE))
    assert np.allclose(optical_density(image, SLIDE), expected, atol=1e-5)
    as_field = np.broadcast_to(np.array(SLIDE, np.float32), image.shape)
    assert np.allclose(optical_density(image, as_field), expected, atol=1e-5)


@settings(max_examples=50, deadline=None)
@given(PIXELS)
def test_density_comes_back_as_the_image(image: np.ndarray) -> None:
    back = np.array(SLIDE) * 10.0 ** -optical_density(image, SLIDE)
    assert np.allclose(back, np.maximum(image, 1), atol=0.01)


def test_twice_the_light_is_the_same_density() -> None:
    image = np.random.default_rng(1).integers(4, 120, (20, 20, 3)).astype(np.uint8)
    mask = np.ones((20, 20), bool)
    one = mean_density(image, mask, (120, 110, 100))
    two = mean_density(image * 2, mask, (240, 220, 200))
    assert one == pytest.approx(two, abs=1e-5)


def test_blur_lowers_focus() -> None:
    image = render_phantom("SNE", 1, 0).image
    mask = np.zeros(image.shape[:2], bool)
    mask[120:240, 120:240] = True
    values = [focus(ndimage.gaussian_filter(image, (s, s, 0)), mask) for s in (0, 1, 2)]
    assert values == sorted(values, reverse=True)
    assert values[0] > 2 * values[2]


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.builds(
            lambda folder, stem, end: f"{folder}{stem}{end}",
            st.sampled_from(["", "a/", "b/", "A/"]),
            st.sampled_from(["1", "2", "x"]),
            st.sampled_from([".jpg", ".png"]),
        ),
        unique=True,
    )
)
def test_every_picture_has_a_name_of_its_own(paths: list[str]) -> None:
    names = picture_names(paths)
    assert len(set(names)) == len(paths)
    stems = [path.rsplit("/", 1)[-1].split(".")[0] for path in paths]
    for name, stem in zip(names, stems, strict=True):
        if stems.count(stem) == 1:
            assert name == stem


@settings(max_examples=25, deadline=None)
@given(st.floats(12, 40), st.floats(-4, 4), st.floats(-4, 4))
def test_the_best_outline_of_a_disc_is_the_disc(radius: float, dx: float, dy: float) -> None:
    rows, columns = np.mgrid[:120, :120]
    disc = np.hypot(columns - 60, rows - 60) <= radius
    points = star(np.where(disc, 1, -1).astype(np.float32), (60 + dx, 60 + dy), 55)
    found = fill(points, disc.shape)
    assert 2 * (found & disc).sum() / (found.sum() + disc.sum()) > 0.96


def test_equal_stems_get_masks_in_their_folders_and_copies_share_cells(tmp_path: Path) -> None:
    for folder, name in (("a", "LY"), ("b", "SNE")):
        write_image(tmp_path / "in" / folder / "1.png", render_phantom(name, 3, 0).image)
    (tmp_path / "in/b/copy.png").write_bytes((tmp_path / "in/b/1.png").read_bytes())
    out = segment_source(
        tmp_path / "in", segmenter("classical"), tmp_path / "out", masks=True, overlays=True
    )
    masks = {p.relative_to(out / "masks").as_posix() for p in (out / "masks").rglob("*.png")}
    assert masks == {"a/1.png", "b/1.png", "copy.png"}
    assert (out / "overlays" / "a" / "1.jpg").is_file()
    ids = read_table(out / "cells.parquet")["cell_id"].to_pylist()
    assert len(ids) == len(set(ids)) > 0
    outcomes = read_table(out / "outcomes.parquet").to_pylist()
    assert [row["outcome"] for row in outcomes] == ["ok"] * 3
    assert outcomes[1]["n_rbc"] == outcomes[2]["n_rbc"]
    label = np.asarray(Image.open(out / "masks" / "a" / "1.png"))
    assert label.dtype == np.uint8
    assert label.shape == read_image(tmp_path / "in/a/1.png").shape[:2]


def test_a_bank_without_a_split_uses_all_images_and_is_cheap_to_send(
    phantom_root: Path, tmp_path: Path
) -> None:
    catalog = Catalog.build(phantom_root, scheme="pbc11")
    rows = catalog.usable().select(["image_id", "path"]).to_pylist()[::11]
    items = [(row["image_id"], row["path"]) for row in rows]
    cells = segment_images(items, catalog.root, segmenter("classical"), tmp_path / "cells")
    bank = CellBank.build(cells, catalog, part="train")
    assert bank.part is None
    assert set(bank.table["image_id"].to_pylist()) == {image_id for image_id, _ in items}
    before = len(pickle.dumps(bank))
    ids = bank.cells(accepted=None)["cell_id"].to_pylist()
    first = [bank.cutout(cell_id) for cell_id in ids]
    assert len(pickle.dumps(bank)) <= before + 2000
    sent = pickle.loads(pickle.dumps(bank))
    for cell_id, cut in zip(ids[::5], first[::5], strict=True):
        other = sent.cutout(cell_id)
        assert np.array_equal(other.rgb, cut.rgb)
        assert np.array_equal(other.mask, cut.mask)


def test_three_white_cells_are_three() -> None:
    parts = [render_phantom(label, 5, 0) for label in ("LY", "MO", "SNE")]
    side = np.concatenate([part.image for part in parts], axis=1)
    found = segmenter("classical").segment(side).of("wbc")
    width = parts[0].image.shape[1]
    middles = sorted((cell.box[0] + cell.box[2]) / 2 // width for cell in found)
    assert middles == [0, 1, 2]


def test_a_lilac_slide_gives_the_same_white_cell() -> None:
    phantom = render_phantom("MY", 7, 0)
    density = optical_density(phantom.image, (253, 229, 203))
    lilac = np.rint(np.array([226, 218, 228]) * 10.0**-density).clip(0, 255).astype(np.uint8)
    find = segmenter("classical").segment
    one, two = (find(image).label_image() == 1 for image in (phantom.image, lilac))
    assert 2 * (one & two).sum() / (one.sum() + two.sum()) > 0.9


def test_cells_cut_by_the_edge_are_flagged() -> None:
    image = render_phantom("LY", 9, 0).image[:, 180:]
    found = segmenter("classical").segment(image)
    cut = [cell for cell in found.cells if cell.touches(found.shape)]
    assert any(cell.box[0] == 0 for cell in cut)
    assert all(
        cell.box[0] > 0 and cell.box[1] > 0 for cell in found.cells if not cell.touches(found.shape)
    )


def test_an_overlay_changes_outlines_only() -> None:
    image = render_phantom("EO", 2, 0).image
    found = segmenter("classical").segment(image)
    drawn = overlay(image, found)
    changed = (drawn != image).any(axis=2)
    assert 0 < changed.mean() < 0.25


def test_a_given_cell_size_is_part_of_the_settings() -> None:
    assert segmenter("classical", cell_size=70).settings == {"cell_size": 70}
    with pytest.raises(SettingsError, match="cell_size"):
        segmenter("classical", cellsize=70)


@pytest.mark.real
@pytest.mark.parametrize(
    ("folder", "end", "level"), [("krd_wbc", "jpg", 128), ("seg_wbc", "png", 40)]
)
def test_foreign_stains_are_outlined(real_data: Path, folder: str, end: str, level: int) -> None:
    masks = sorted((real_data / "masks" / folder).glob(f"*_mask.{end}"))[::10]
    find, scores = segmenter("classical").segment, []
    for file in masks:
        image = file.with_name(
            file.name.replace(f"_mask.{end}", ".jpg" if end == "jpg" else ".bmp")
        )
        found = find(read_image(image)).label_image() == 1
        true = np.asarray(Image.open(file).convert("L")) >= level
        scores.append(2 * (found & true).sum() / (found.sum() + true.sum()))
    assert np.mean(scores) > 0.85


def test_names_that_leave_no_room_for_a_suffix_are_cut_and_stay_different():
    long = ["a/" + "ä" * 120 + f"{i}" * 11 + suffix for i in (1, 2) for suffix in (".jpg", ".tif")]
    names = picture_names(long)
    assert len(set(names)) == 4
    assert max(len(name.rpartition("/")[2].encode()) for name in names) <= 251
