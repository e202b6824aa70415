"""A study file is checked whole, and a mistake in it is named with what to do."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from naturalize.base.errors import SettingsError
from naturalize.study.settings import dump_study, load_study, parse_study

STUDIES = sorted((Path(__file__).resolve().parents[2] / "studies").glob("*.yaml"))


def minimal(**changes: object) -> dict[str, object]:
    study: dict[str, object] = {
        "name": "try",
        "data": {"root": "images", "scheme": "pbc11"},
        "compose": {"mode": "paper", "add": 10},
        "runs": {"one": {"model": "custom_cnn", "composites": True}},
    }
    return {**study, **changes}


@pytest.mark.parametrize("file", STUDIES, ids=lambda f: f.stem)
def test_the_studies_that_ship_are_valid_and_survive_a_round_trip(file: Path) -> None:
    study = load_study(file, ["data.root=somewhere"])
    assert parse_study(yaml.safe_load(dump_study(study))) == study


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
