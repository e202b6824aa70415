"""A study file is checked whole, and a mistake in it is named with what to do."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from naturalize.base.errors import NaturalizeError, SettingsError
from naturalize.study.check import check_study
from naturalize.study.run import run_study
from naturalize.study.settings import dump_study, load_study, parse_study, preset, presets
from naturalize.study.stages import Stages


def minimal(**changes: object) -> dict[str, object]:
    study: dict[str, object] = {
        "name": "try",
        "data": {"root": "images", "scheme": "pbc11"},
        "compose": {"mode": "paper", "add": 10},
        "runs": {"one": {"model": "custom_cnn", "composites": True}},
    }
    return {**study, **changes}


@pytest.mark.parametrize("name", presets())
def test_the_studies_that_ship_are_valid_and_survive_a_round_trip(name: str) -> None:
    study = load_study(name, ["data.root=somewhere"])
    check_study(study)
    assert parse_study(yaml.safe_load(dump_study(study))) == study


@pytest.mark.parametrize("study", [*presets(), "isolated cells"])
def test_every_stage_comes_after_those_it_needs(study: str, tmp_path: Path) -> None:
    if study in presets():
        settings = load_study(study, ["data.root=somewhere"])
    else:  # no composites are trained on, but the masks of a bank are
        run = {"model": "custom_cnn", "augment": {"alone": 0.3}}
        settings = parse_study(minimal(runs={"one": run}, compose=None))
    before: set[str] = set()
    for stage in Stages(settings, tmp_path).all():
        assert before.issuperset(stage.needs), f"{stage.name} needs {stage.needs}"
        before.add(stage.name)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"compse": {}}, r"unknown key 'compse' \(did you mean 'compose'\?\)"),
        ({"data": {"rooot": "x"}}, r"unknown key 'data.rooot' \(did you mean 'root'\?\)"),
        (
            {"runs": {"one": {"model": "custom_cnn", "epoch": 3}}},
            r"unknown key 'runs.one.epoch' \(did you mean 'epochs'\?\)",
        ),
        ({"runs": {}}, "runs"),
        (
            {"runs": {"a": {"elsewhere": "b"}, "b": {}}},
            "run 'a': elsewhere names a run that stands before it; there is none",
        ),
        ({"runs": {"a": {}, "b": {"elsewhere": "b"}}}, "stands before it; there are a"),
        ({"version": 2}, "version"),
        ({"name": "../../etc"}, "name"),
        ({"compose": {"mode": "paper"}}, "name one target"),
        ({"compose": {"add": 5, "per_class": 5}}, "add and per_class"),
        ({"compose": None}, "run 'one' asks for composites"),
        ({"explain": {"run": "oen"}}, "did you mean 'one'"),
        ({"data": {"root": "a", "phantom": {}}}, "either root or phantom"),
        ({"split": {"conflicts": "ignore"}}, "split.conflicts.*'refuse' or 'drop'"),
        ({"engine": {"workers": 0}}, "engine.workers"),
    ],
)
def test_a_mistake_is_named(changes: dict[str, object], message: str) -> None:
    with pytest.raises(SettingsError, match=message) as caught:
        parse_study(minimal(**changes), source="try.yaml")
    assert str(caught.value).startswith("try.yaml: ")
    assert "\n" not in str(caught.value)


def test_a_study_that_ships_is_named_and_a_file_of_that_name_goes_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert {"demo", "pbc11"} <= set(presets())
    assert yaml.safe_load(preset("pbc11"))["name"] == load_study("pbc11").name == "pbc11"
    monkeypatch.chdir(tmp_path)
    Path("pbc11").write_text(yaml.safe_dump(minimal()))
    assert load_study("pbc11").name == "try"
    with pytest.raises(SettingsError, match="did you mean 'pbc11'"):
        preset("pbc12")


@pytest.mark.parametrize("word", ["NO", "on", "10", "1.5"])
def test_a_class_that_yaml_reads_as_something_else_is_to_be_quoted(
    tmp_path: Path, word: str
) -> None:
    file = tmp_path / "try.yaml"
    file.write_text(yaml.safe_dump(minimal()))
    with pytest.raises(SettingsError, match="in quotes"):
        load_study(file, [f"compose.classes=[{word}]"])
    assert load_study(file, [f"compose.classes=['{word}']"]).compose.classes == [word]


WRONG = {
    "data.scheme=pbc12": "data.scheme: unknown scheme 'pbc12' .did you mean 'pbc11'",
    "data.reader=folder": "data.reader: unknown reader 'folder' .did you mean 'folders'",
    "segment.segmenter=unett": "segment: unknown segmenter 'unett' .did you mean 'unet'",
    "segment.settings.wrong=1": "segment: segmenter unet: unknown key 'wrong'",
    "split.fractions=[0.7,0.2,0.2]": "split: fractions: expected .* a sum of 1",
    "compose.settings.max_reuse=0": "compose: max_reuse: expected at least 1, got 0",
    "compose.settings.gate=3": "compose: gate: expected true or false, got 3",
    "compose.mode=scen": "compose: unknown mode 'scen' .did you mean 'scene'",
    "compose.mode=field": "compose: mode field: a study trains on composites of one cell each",
    "compose.settings.trun=any": "compose: mode paper: unknown .* 'trun' .did you mean 'turn'",
    "runs.one.model=resnet19": "runs.one: unknown model 'resnet19' .did you mean 'resnet18'",
    "runs.one.weights=gone.pth": "runs.one: weights .gone.pth.: no such file",
    "explain.methods=[gradcam]": "explain.methods: unknown method 'gradcam' .did you mean 'grad",
}


@pytest.mark.parametrize("override", WRONG)
def test_every_name_is_checked_before_the_first_stage(tmp_path: Path, override: str) -> None:
    file = tmp_path / "try.yaml"
    file.write_text(yaml.safe_dump(minimal()))
    study = load_study(file, [override])
    with pytest.raises(NaturalizeError, match=WRONG[override]):
        run_study(study, tmp_path / "folder")
    assert not (tmp_path / "folder").exists()


def test_a_target_by_name_is_checked_before_the_first_stage() -> None:
    study = parse_study(minimal(compose={"mode": "paper", "name": "many"}))
    with pytest.raises(SettingsError, match=r"compose\.name: .*got 'many'"):
        check_study(study)


def test_a_missing_key_is_named() -> None:
    study = minimal()
    del study["name"]
    with pytest.raises(SettingsError, match="key 'name' is missing"):
        parse_study(study)


def test_overrides_reach_any_key(tmp_path: Path) -> None:
    file = tmp_path / "try.yaml"
    file.write_text(yaml.safe_dump(minimal()))
    study = load_study(file, ["data.root=/other", "runs.one.epochs=3", "compose.classes=[BNE,SNE]"])
    assert study.data.root == Path("/other")
    assert study.runs["one"].epochs == 3
    assert study.compose is not None
    assert study.compose.classes == ["BNE", "SNE"]


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("data.root", "expected key=value"),
        ("name.sub=1", "is a value"),
        ("seed=[", "not YAML"),
        ("datta.root=x", "did you mean 'data'"),
    ],
)
def test_a_bad_override_is_named(tmp_path: Path, override: str, message: str) -> None:
    file = tmp_path / "try.yaml"
    file.write_text(yaml.safe_dump(minimal()))
    with pytest.raises(SettingsError, match=message):
        load_study(file, [override])


@pytest.mark.parametrize(
    ("text", "message"),
    [("a: [1,\n", r"line \d+: not YAML"), ("- just\n- a list\n", "found no mapping"), ("", "keys")],
)
def test_a_broken_file_is_one_line(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "broken.yaml"
    file.write_text(text)
    with pytest.raises(SettingsError, match=message):
        load_study(file)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="no such study file"):
        load_study(tmp_path / "none.yaml")
    with pytest.raises(SettingsError, match="is a folder"):
        load_study(tmp_path)


def test_scenes_of_another_laboratory_get_a_stage_of_their_own(tmp_path: Path) -> None:
    scenes = {"mode": "scene", "add": 10, "scenes": str(tmp_path)}
    study = parse_study(minimal(compose=scenes))
    check_study(study)
    stages = {stage.name: stage for stage in Stages(study, tmp_path).all()}
    assert list(stages).index("laboratory") < list(stages).index("plan")
    assert stages["plan"].needs == ("laboratory", "split")
    assert stages["plan"].settings["settings"] == {"donors": "foreign"}
    assert parse_study(yaml.safe_load(dump_study(study))) == study


def test_a_study_without_scenes_plans_by_the_settings_that_it_always_had(tmp_path: Path) -> None:
    stages = {stage.name: stage for stage in Stages(parse_study(minimal()), tmp_path).all()}
    assert "laboratory" not in stages
    assert "scenes" not in stages["plan"].settings


@pytest.mark.parametrize(
    ("compose", "message"),
    [
        ({"mode": "scene", "add": 10, "scenes": "nowhere"}, "compose: scenes: nowhere: no such"),
        ({"mode": "layout", "add": 10, "scenes": "."}, "mode layout makes its own"),
        ({"mode": "scene", "add": 10, "scenes": ".", "settings": {"gate": True}}, "the gate"),
    ],
)
def test_scenes_that_do_not_fit_are_named_before_the_first_stage(
    compose: dict[str, object], message: str
) -> None:
    with pytest.raises(NaturalizeError, match=message):
        check_study(parse_study(minimal(compose=compose)))


def test_the_paper_has_no_scenes_of_another_laboratory() -> None:
    compose = {"mode": "scene", "add": 10, "scenes": "."}
    with pytest.raises(SettingsError, match="one laboratory only"):
        parse_study(minimal(compose=compose, protocol="paper"))
