"""Settings of modes, as they come from study files and the command line: any YAML value."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
from compose_makers import make_bank

from naturalize.base.artifacts import read_json
from naturalize.base.errors import SettingsError
from naturalize.compose.deliver.files import plan_composites
from naturalize.compose.draw.modes import MODES, mode
from naturalize.compose.recipe.plan import Plan


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"name": "x"}, "unknown setting 'name'; it has: width, height"),
        ({"trun": "any"}, r"did you mean 'turn'\?"),
        ({"background": "red"}, "three numbers of 0–255, got 'red'"),
        ({"background": 5}, "three numbers"),
        ({"background": [1, 2]}, "three numbers"),
        ({"background": [1, 2, "a"]}, "three numbers"),
        ({"background": [1, 2, 256]}, "three numbers"),
        ({"width": True}, "width must be a whole number"),
        ({"height": 1.5}, "height must be a whole number"),
        ({"tries": 0}, "tries .* at least 1"),
        ({"red_cells": "8"}, "red_cells"),
        ({"turn": 3}, "turn must be none, right, any"),
        ({"finish": "gif"}, "codec"),
        ({"finish": "jpeg", "quality": 101}, "quality"),
        ({"finish": "jpeg", "quality": "high"}, "quality must be a whole number"),
    ],
)
def test_values_that_make_no_sense_are_refused(wrong: dict, words: str) -> None:
    with pytest.raises(SettingsError, match=words):
        mode("paper", **wrong)


@pytest.mark.parametrize("name", list(MODES))
def test_a_mode_is_made_again_from_its_settings(name: str) -> None:
    made = mode(name)
    again = {key: value for key, value in made.settings.items() if value is not None}
    assert mode(name, **again).settings == made.settings
    assert made.name == name


def split_of(bank, leaked: int = 0):
    """A split that has all images in train but the first ``leaked`` ones."""
    ids = sorted(set(bank.table["image_id"].to_pylist()))
    parts = {image_id: "test" if i < leaked else "train" for i, image_id in enumerate(ids)}
    counts = {"train": dict.fromkeys(bank.labels, 3)}
    return SimpleNamespace(part_of=lambda: parts, counts=lambda: counts, hash="0" * 16)


def study(**more: object) -> dict:
    nothing = {"name": None, "per_class": None, "balance": False, "classes": None}
    return {"mode": "paper", **nothing, "add": 4, "settings": {}, "seed": 0, **more}


def test_a_study_gets_a_plan_its_lineage_and_a_sheet(tmp_path: Path) -> None:
    bank = make_bank(tmp_path / "images", per_class=3)
    settings = study(settings={"turn": "any", "max_reuse": 2})
    made = plan_composites(bank, split_of(bank), None, tmp_path / "plan", settings, {"bank": "b"})
    opened = Plan.load(tmp_path / "plan")
    assert opened.ids == made.ids
    assert opened.settings["turn"] == "any"
    assert opened.settings["max_reuse"] == 2
    assert (tmp_path / "plan" / "sheet.jpg").is_file()
    found = read_json(tmp_path / "plan" / "lineage.json")
    assert found["statement"] == "0 of 12 training composites have a parent outside train"
    assert read_json(tmp_path / "plan" / "artifact.json")["inputs"] == {"bank": "b"}


def test_a_leak_is_named_with_recipe_and_image(tmp_path: Path) -> None:
    bank = make_bank(tmp_path / "images", per_class=2)
    split = split_of(bank, leaked=1)
    made = plan_composites(bank, split, None, tmp_path / "plan", study())
    (stranger,) = [image_id for image_id, part in split.part_of().items() if part == "test"]
    guilty = [r.recipe_id for r in map(made.recipe, range(len(made))) if stranger in r.parents()]
    found = read_json(tmp_path / "plan" / "lineage.json")
    assert guilty
    assert found["outside"] == len(guilty)
    assert found["outside_ids"] == guilty[:20]
    assert found["outside_parents"] == [{"image_id": stranger, "part": "test"}]
    assert found["parents_by_part"]["test"] == 1
    assert found["statement"].startswith(f"{len(guilty)} of 12 ")


@pytest.mark.parametrize("key", ["seed", "bank", "real", "classes", "add"])
def test_an_argument_of_the_plan_is_no_setting_of_a_mode(tmp_path: Path, key: str) -> None:
    bank = make_bank(tmp_path / "images", per_class=2)
    with pytest.raises(SettingsError, match=f"unknown setting {key!r}"):
        plan_composites(bank, split_of(bank), None, tmp_path / "plan", study(settings={key: 1}))
    assert not (tmp_path / "plan").exists()
