"""The examples, and the Python shown in the README, do what they say."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

REPO = Path(__file__).resolve().parents[1]
EXAMPLES = sorted((REPO / "examples").glob("*.py"))


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_runs_and_shows_something(example: Path, tmp_path: Path) -> None:
    for library in re.findall(r"^Needs: (\w+)", example.read_text(encoding="utf-8"), re.MULTILINE):
        pytest.importorskip(library, reason=f"{example.name} needs {library}")
    done = subprocess.run(
        [sys.executable, str(example)], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()


def test_the_readmes_ten_lines_are_those_of_the_example() -> None:
    text = (REPO / "README.md").read_text(encoding="utf-8")
    (shown,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    example = (REPO / "examples" / "ten_lines.py").read_text(encoding="utf-8")
    code = [line for line in example.splitlines() if line and not line.startswith('"""')]
    assert [line for line in shown.splitlines() if line] == code
