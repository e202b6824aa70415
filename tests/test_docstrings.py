"""Every example in a docstring gives what stands below it."""

import doctest
import importlib
from pathlib import Path

import pytest

import naturalize

SRC = Path(naturalize.__file__).parent
FILES = [file for file in sorted(SRC.rglob("*.py")) if ">>> " in file.read_text()]


def module_of(file):
    parts = file.relative_to(SRC.parent).with_suffix("").parts
    return ".".join(part for part in parts if part != "__init__")


@pytest.mark.parametrize("name", [module_of(file) for file in FILES])
def test_examples_of_docstrings_are_right(name):
    assert doctest.testmod(importlib.import_module(name)).failed == 0
