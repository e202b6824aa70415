"""Settings of modes, as they come from study files and the command line: any YAML value."""

from __future__ import annotations

import textwrap
from pathlib import Path

import numpy as np
import pytest
from compose_makers import compose_settings, make_bank, split_of

from naturalize.base.artifacts import read_json
from naturalize.base.errors import SettingsError
from naturalize.cells.bank import CellBank
from naturalize.compose.deliver.files import plan_composites
from naturalize.compose.draw.modes import MODES, mode
from naturalize.compose.draw.planner import plan
from naturalize.compose.paint.render import render
from naturalize.compose.recipe.plan import Plan


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"name": "x"}, "mode paper: unknown key 'name'; known here: turn, width, height"),
        ({"trun": "any"}, r"did you mean 'turn'\?"),
        ({"background": "red"}, "background: expected three numbers of 0–255, found 'red'"),
        ({"background": 5}, "three numbers"),
        ({"background": [1, 2]}, "three numbers"),
        ({"background": [1, 2, "a"]}, "three numbers"),
        ({"background": [1, 2, 256]}, "three numbers"),
        ({"width": True}, "width: input should be a valid integer, found True"),
        ({"height": 1.5}, "height: .*integer"),
        ({"tries": 0}, "tries: .* greater than or equal to 1, found 0"),
        ({"red_cells": "8"}, "red_cells"),
        ({"turn": 3}, "turn: input should be 'none', 'flips', 'right' or 'any', found 3"),
        ({"finish": "gif"}, "finish: .*'jpeg'"),
        ({"finish": "jpeg", "quality": 101}, "quality"),
        ({"finish": "jpeg", "quality": "high"}, "quality: .*integer"),
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


def test_a_study_gets_a_plan_its_lineage_and_a_sheet(tmp_path: Path) -> None:
    bank = make_bank(tmp_path / "images", per_class=3)
    settings = compose_settings(settings={"turn": "any", "max_reuse": 2})
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
    made = plan_composites(bank, split, None, tmp_path / "plan", compose_settings())
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
    with pytest.raises(SettingsError, match=f"unknown key {key!r}"):
        plan_composites(
            bank, split_of(bank), None, tmp_path / "plan", compose_settings(settings={key: 1})
        )
    assert not (tmp_path / "plan").exists()


@pytest.fixture(scope="module")
def bank(tmp_path_factory: pytest.TempPathFactory) -> CellBank:
    folder = tmp_path_factory.mktemp("modes") / "images"
    return make_bank(folder, per_class=8, labels=("LY", "SNE"))


#: How cells may lie: (degrees, flipped).
LAID = {
    "none": {(0.0, False)},
    "flips": {(0.0, False), (0.0, True), (180.0, False), (180.0, True)},
    "right": {(90.0 * k, flip) for k in range(4) for flip in (False, True)},
}


@pytest.mark.parametrize("name", list(MODES))
@pytest.mark.parametrize("turn", ["none", "flips", "right", "any"])
def test_turn_means_the_same_in_every_mode(bank: CellBank, name: str, turn: str) -> None:
    lying = {  # a cell is turned with its scene, and with its stack
        "varied": {"scene_turn": "none"},
        "field": {"stacks": 0, "width": 100, "height": 100, "sizes": [1, 1]},
    }.get(name, {})
    drawn = plan(bank, mode=name, add=60, turn=turn, **lying)
    placed = [p for row in drawn.table["placements"].to_pylist() for p in row]
    found = {(p["angle"] % 360, p["flip"]) for p in placed}
    if turn != "any":
        assert found == LAID[turn]
        return
    assert not any(p["flip"] for p in placed)
    angles = np.array([p["angle"] % 360 for p in placed])
    assert len(set(angles.tolist())) > len(angles) * 0.9
    assert (np.histogram(angles, 4, (0, 360))[0] > 0.1 * len(angles)).all()


@pytest.mark.parametrize("name", list(MODES))
@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"turn": "left"}, "turn: input should be 'none', 'flips', 'right' or 'any', found 'left'"),
        ({"finish": "gif"}, "finish: input should be 'none', 'png' or 'jpeg'"),
        ({"quality": 0}, "quality: .*greater than or equal to 1, found 0"),
        ({"width": 0}, "width: .*greater than or equal to 1, found 0"),
        ({"width": True}, "width: .*valid integer, found True"),
        ({"trun": "any"}, r"unknown key 'trun' \(did you mean 'turn'\?\)"),
    ],
)
def test_every_mode_refuses_the_same_values(name: str, wrong: dict, words: str) -> None:
    with pytest.raises(SettingsError, match=f"^mode {name}: {words}"):
        mode(name, **wrong)


@pytest.mark.parametrize("name", ["paper", "layout"])
def test_a_colour_of_ones_own_lies_behind_the_cells(bank: CellBank, name: str) -> None:
    drawn = plan(bank, mode=name, add=2, background=[240, 230, 220])
    for row in drawn.table.to_pylist():
        assert [row[f"background_{c}"] for c in "rgb"] == [240, 230, 220]
        assert row["background_id"] is None


PLUGIN = """
    from typing import Annotated, ClassVar
    import numpy as np
    from pydantic import Field
    from naturalize.compose.draw.modes import Mode
    from naturalize.compose.recipe.columns import Columns, Vocabulary

    class Alone(Mode):
        name: ClassVar[str] = "alone"
        side: Annotated[int, Field(ge=8)] = 100

        def targets(self, materials, label):
            return materials.targets(label)

        def draw(self, materials, label, targets, generator):
            n = len(targets)
            at = generator.uniform(30, self.side - 30, (n, 2))
            return Columns(
                words=Vocabulary(materials.cells, materials.labels, modes=("alone",)),
                label=np.full(n, materials.labels.index(label)),
                size=np.full((n, 2), self.side),
                colour=np.full((n, 3), 250),
                offsets=np.arange(n + 1), cell=targets,
                placed={"cx": at[:, 0], "cy": at[:, 1]},
            ), {}

    not_a_mode = 3
"""
ENTRY_POINTS = """
    [naturalize.modes]
    alone = smearlab:Alone
    number = smearlab:not_a_mode
    absent = smearlab_that_is_not_there:Alone
    paper = smearlab:Alone
"""


@pytest.fixture
def other_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An installed package, as pip leaves it, that offers modes."""
    site = tmp_path / "site-packages"
    info = site / "smearlab-1.0.dist-info"
    info.mkdir(parents=True)
    (site / "smearlab.py").write_text(textwrap.dedent(PLUGIN))
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: smearlab\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(textwrap.dedent(ENTRY_POINTS))
    monkeypatch.syspath_prepend(site)


@pytest.mark.usefixtures("other_package")
def test_another_packages_mode_composes(bank: CellBank, tmp_path: Path) -> None:
    drawn = plan(bank, mode="alone", add=3, side=120)
    drawn.save(tmp_path / "plan")
    again = Plan.load(tmp_path / "plan")
    assert (again.mode, again.settings["side"], again.ids) == ("alone", 120, drawn.ids)
    assert render(again.recipe(0), bank).shape == (120, 120, 3)


@pytest.mark.usefixtures("other_package")
@pytest.mark.parametrize(
    ("name", "settings", "words"),
    [
        ("alone", {"sid": 9}, r"mode alone: unknown key 'sid' \(did you mean 'side'\?\)"),
        ("alone", {"side": 3}, "mode alone: side: .*found 3"),
        ("alnoe", {}, "unknown mode 'alnoe' .did you mean 'alone'.*choose from: paper, scene"),
        (
            "number",
            {},
            "smearlab:not_a_mode is no class derived from naturalize.compose.*Mode",
        ),
        ("absent", {}, "mode absent: smearlab_that_is_not_there:Alone cannot be loaded"),
    ],
)
def test_a_mode_that_cannot_be_used_is_said_in_a_line(
    name: str, settings: dict, words: str
) -> None:
    with pytest.raises(SettingsError, match=words) as caught:
        mode(name, **settings)
    assert "\n" not in str(caught.value)


@pytest.mark.usefixtures("other_package")
def test_the_packages_own_modes_cannot_be_replaced() -> None:
    assert type(mode("paper")) is MODES["paper"]


def test_many_composites_of_few_cells_are_warned_of(bank: CellBank, capsys) -> None:
    plan(bank, mode="paper", add=29 * 8, classes=["SNE"])
    assert "few cells" not in capsys.readouterr().err
    drawn = plan(bank, mode="paper", add=30 * 8, classes=["SNE"])
    said = " ".join(capsys.readouterr().err.split())
    assert "class SNE: 240 composites from 8 cells, up to 30 of one" in said
    assert drawn.reuse["SNE"]["most"] == 30
