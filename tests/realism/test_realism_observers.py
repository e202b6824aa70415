"""A person's guesses: the score, its interval, and every way to fill the table in wrongly."""

from __future__ import annotations

from pathlib import Path

import pytest

from naturalize.base.errors import InputError
from naturalize.realism.observers import score_guesses


def files(folder: Path, kinds: list[str], guesses: list[str]) -> tuple[Path, Path]:
    answers = folder / "answers.csv"
    rows = [f"{i},{kind},SNE,x{i}" for i, kind in enumerate(kinds, start=1)]
    answers.write_text("\n".join(["number,kind,label,image", *rows]) + "\n")
    filled = folder / "guesses.csv"
    lines = [f"{i},{guess}" for i, guess in enumerate(guesses, start=1)]
    filled.write_text("\n".join(["number,guess", *lines]) + "\n")
    return answers, filled


def test_a_score_has_wilsons_interval(tmp_path: Path) -> None:
    kinds = ["real"] * 50 + ["composite"] * 50
    guesses = ["real"] * 30 + ["composite"] * 20 + ["c"] * 27 + ["Real"] * 23
    found = score_guesses(*files(tmp_path, kinds, guesses))
    n, p, z = 100, 0.57, 1.959964
    middle = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * (p * (1 - p) / n + z * z / (4 * n * n)) ** 0.5
    assert (found.n, found.right) == (100, 57)
    assert found.low == pytest.approx(middle - half, abs=1e-6)
    assert found.high == pytest.approx(middle + half, abs=1e-6)
    assert (found.real_right, found.composite_right) == ((30, 50), (27, 50))
    assert found.verdict == "no better than chance"


@pytest.mark.parametrize(
    ("guesses", "verdict"),
    [(["real"] * 20 + ["composite"] * 20, "better"), (["c"] * 20 + ["r"] * 20, "worse")],
)
def test_the_verdict_follows_the_interval(tmp_path: Path, guesses: list[str], verdict: str) -> None:
    kinds = ["real"] * 20 + ["composite"] * 20
    assert score_guesses(*files(tmp_path, kinds, guesses)).verdict.startswith(verdict)


def test_what_is_left_empty_counts_for_nothing(tmp_path: Path) -> None:
    found = score_guesses(*files(tmp_path, ["real", "composite", "real", "real"], ["r", "", " "]))
    assert (found.n, found.right, found.skipped) == (1, 1, 3)


def test_a_table_saved_with_semicolons_is_read(tmp_path: Path) -> None:
    answers, filled = files(tmp_path, ["real", "composite"], ["r", "c"])
    filled.write_text("﻿number;guess\r\n1;real\r\n2;real\r\n", encoding="utf-8")
    assert score_guesses(answers, filled).right == 1


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("number,guess\n7,real\n", "line 2: no image '7'"),
        ("number,guess\n1,real\n1,real\n", "line 3: image 1 is guessed twice"),
        ("number,guess\n1,perhaps\n", "line 2: expected real or composite, got 'perhaps'"),
        ("number,guess\n1,\n2,\n", "holds no guess"),
        ("a,b\n1,2\n", "lacks the column 'number'"),
        ("", "lacks the column 'number'"),
    ],
)
def test_a_wrong_table_is_told_with_its_line(tmp_path: Path, text: str, message: str) -> None:
    answers, filled = files(tmp_path, ["real", "composite"], ["r", "c"])
    filled.write_text(text)
    with pytest.raises(InputError, match=message):
        score_guesses(answers, filled)


def test_a_missing_table_is_told(tmp_path: Path) -> None:
    answers, _ = files(tmp_path, ["real"], ["r"])
    with pytest.raises(InputError, match="cannot be read"):
        score_guesses(answers, tmp_path / "nothing.csv")
    (tmp_path / "sheet.csv").write_bytes(b"\xff\xfe\x00\x80")
    with pytest.raises(InputError, match="lacks the column"):
        score_guesses(answers, tmp_path / "sheet.csv")
