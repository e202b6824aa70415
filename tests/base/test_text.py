"""Lists of names as users write them, and the home folder."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from naturalize.base.errors import SettingsError
from naturalize.base.text import expanded, expanded_path, names_of

DEEPAPL = ["Blast, no lineage spec", "Erythroblast", "Lymphocyte, variant form", "Smudge cell"]


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        ("Blast, no lineage spec", DEEPAPL[:1]),
        ("Blast,no lineage spec", DEEPAPL[:1]),
        ('"Blast, no lineage spec",Erythroblast', DEEPAPL[:2]),
        ("Blast, no lineage spec, Erythroblast", DEEPAPL[:2]),
        (["Erythroblast", "Blast, no lineage spec"], ["Erythroblast", DEEPAPL[0]]),
        (["Smudge cell,Smudge cell"], ["Smudge cell"]),
        ("Erythroblast,Lymphocyte, variant form,Smudge cell", DEEPAPL[1:]),
        (",, Erythroblast ,", ["Erythroblast"]),
        ("", []),
        (None, None),
    ],
)
def test_names_with_commas_are_found_among_the_known_ones(texts, expected):
    assert names_of(texts, DEEPAPL) == expected


def test_without_known_names_quotes_keep_commas():
    assert names_of('A, "B, c",D') == ["A", "B, c", "D"]
    assert names_of(["A,B", "C"]) == ["A", "B", "C"]


def test_an_unknown_name_is_named_with_the_closest():
    with pytest.raises(SettingsError, match=r"unknown class 'Eritroblast'.*'Erythroblast'"):
        names_of("Eritroblast,Smudge cell", DEEPAPL)


@given(st.lists(st.sampled_from(DEEPAPL), unique=True))
def test_every_list_of_known_names_comes_back(names):
    assert names_of(", ".join(names), DEEPAPL) == names
    assert names_of(names, DEEPAPL) == names


@pytest.mark.parametrize("text", ["~", "~/cells", "--out=~/cells", "~/a b/ä.jpg"])
def test_the_home_folder_is_expanded(text, monkeypatch):
    monkeypatch.setenv("HOME", "/home/someone")
    assert expanded(text) == text.replace("~", "/home/someone")


@pytest.mark.parametrize("text", ["a~b.jpg", "~backup.jpg", "x=~/y", "--set", "a/~/b", "-m", ""])
def test_other_texts_stay(text):
    assert expanded(text) == text


def test_paths_are_expanded(monkeypatch):
    monkeypatch.setenv("HOME", "/home/someone")
    assert expanded_path(Path("~/x")) == Path("/home/someone/x")
