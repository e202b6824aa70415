"""``naturalize phantom``, as a user types it."""

from __future__ import annotations

import pytest
import typer
from typer.testing import CliRunner

from naturalize.base.artifacts import read_manifest
from naturalize.base.errors import SettingsError
from naturalize.cli.phantom import phantom


@pytest.fixture
def command() -> typer.Typer:
    app = typer.Typer(pretty_exceptions_enable=False)
    app.command()(phantom)
    return app


def test_the_command_writes_what_it_is_asked_for(command, tmp_path):
    out = tmp_path / "smears"
    arguments = ["--per-class", "LY=2", "--per-class", "MO=1", "--size", "64x64", "-o", str(out)]
    result = CliRunner().invoke(command, [*arguments, "--seed", "3", "--engine", "serial"])
    assert result.exit_code == 0, result.output
    settings = read_manifest(out, "phantom").settings
    assert settings == {"per_class": {"LY": 2, "MO": 1}, "seed": 3, "size": [64, 64]}
    assert (out / "sheet.jpg").is_file()


def test_help_shows_examples(command):
    result = CliRunner().invoke(command, ["--help"])
    assert result.exit_code == 0
    assert "naturalize phantom --per-class 24 -o phantom" in result.output


@pytest.mark.parametrize(
    "bad", [["--per-class", "XX=3"], ["--size", "huge"], ["--engine", "steam"]]
)
def test_mistakes_end_in_an_error_of_ours_and_write_nothing(command, tmp_path, bad):
    result = CliRunner().invoke(command, ["-o", str(tmp_path / "out"), *bad])
    assert isinstance(result.exception, SettingsError)
    assert list(tmp_path.iterdir()) == []
