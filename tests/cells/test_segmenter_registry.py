"""Segmenters by name: the package's own, and those of other packages by entry point."""

from __future__ import annotations

import textwrap
from pathlib import Path

import numpy as np
import pytest

from naturalize.base.artifacts import read_manifest, read_table
from naturalize.base.errors import SettingsError
from naturalize.base.images import write_image
from naturalize.cells.segment import segment_images
from naturalize.cells.segmenters import SEGMENTERS, segmenter
from naturalize.cells.tiling import Tiled

MODULE = """
    from typing import ClassVar
    import numpy as np
    from pydantic import Field
    from naturalize.cells.segmentation import Cell, Segmentation
    from naturalize.cells.segmenters import Segmenter

    class Corner(Segmenter):
        name: ClassVar[str] = "corner"
        side: int = Field(5, ge=1)

        def segment(self, image):
            mask = np.ones((self.side, self.side), bool)
            cell = Cell.from_mask("wbc", mask)
            return Segmentation(image.shape[:2], (cell,), (1.0, 2.0, 3.0))

    def not_a_class(**settings):
        return None
"""
ENTRY_POINTS = """
    [naturalize.segmenters]
    corner = bloodlab:Corner
    function = bloodlab:not_a_class
    absent = bloodlab_that_is_not_there:Corner
    unet = bloodlab:Corner
"""


@pytest.fixture
def other_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An installed package, as pip leaves it, that offers segmenters."""
    site = tmp_path / "site-packages"
    info = site / "bloodlab-1.0.dist-info"
    info.mkdir(parents=True)
    (site / "bloodlab.py").write_text(textwrap.dedent(MODULE))
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: bloodlab\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(textwrap.dedent(ENTRY_POINTS))
    monkeypatch.syspath_prepend(site)
    return site


def test_another_packages_segmenter_is_used_by_its_name(
    other_package: Path, tmp_path: Path
) -> None:
    image = np.random.default_rng(0).integers(0, 255, (40, 50, 3), np.uint8)
    write_image(tmp_path / "a.png", image)
    find = segmenter("corner", side=7)
    out = segment_images([("1", "a.png")], tmp_path, find, tmp_path / "cells")
    settings = read_manifest(out, "cells").settings
    assert (settings["segmenter"], settings["side"]) == ("corner", 7)
    (row,) = read_table(out / "cells.parquet").to_pylist()
    assert (row["kind"], row["x1"] - row["x0"], row["y1"] - row["y0"]) == ("wbc", 7, 7)


def test_its_settings_are_checked_as_the_packages_own_are(other_package: Path) -> None:
    with pytest.raises(SettingsError, match=r"segmenter corner: unknown key 'sid'.*'side'"):
        segmenter("corner", sid=3)
    with pytest.raises(SettingsError, match=r"segmenter corner: side: .*found 0"):
        segmenter("corner", side=0)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("function", "bloodlab:not_a_class is no class derived from"),
        ("absent", "cannot be loaded .ModuleNotFoundError"),
        ("cornr", "did you mean 'corner'"),
    ],
)
def test_what_cannot_be_used_is_said_in_a_line(
    other_package: Path, name: str, message: str
) -> None:
    with pytest.raises(SettingsError, match=message) as caught:
        segmenter(name)
    assert "\n" not in str(caught.value)


def test_the_packages_own_names_cannot_be_replaced(other_package: Path) -> None:
    assert type(segmenter("unet")) is SEGMENTERS["unet"]


@pytest.mark.parametrize("name", ["unet", "classical"])
def test_the_size_of_red_cells_is_handed_on_unless_it_is_given(name: str) -> None:
    assert segmenter(name).with_cell_size(61.25).settings["cell_size"] == pytest.approx(61.2)
    given = segmenter(name, cell_size=80)
    assert given.with_cell_size(61.25) is given
    assert Tiled(given).settings["cell_size"] == 80


@pytest.mark.parametrize("name", sorted(SEGMENTERS))
def test_settings_cannot_be_changed_nor_misspelt(name: str) -> None:
    with pytest.raises(SettingsError, match=f"segmenter {name}: unknown key 'nothing'"):
        segmenter(name, nothing=1)
    find = segmenter(name)
    field = next(iter(type(find).model_fields))
    with pytest.raises(ValueError, match="frozen"):
        setattr(find, field, None)
