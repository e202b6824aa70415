"""What is wrong with settings is one line: whose, which key, what was expected, what came."""

from __future__ import annotations

from typing import Literal

import pytest
from pydantic import Field

from naturalize.base.errors import SettingsError
from naturalize.base.settings import Settings, validated


class Inner(Settings):
    rate: float = Field(0.1, gt=0)


class Outer(Settings):
    name: str
    how: Literal["slow", "fast"] = "slow"
    inner: Inner = Inner()
    runs: dict[str, Inner] = Field(default_factory=dict)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({}, "x: key 'name' is missing"),
        ({"nam": "a"}, "x: unknown key 'nam' (did you mean 'name'?); known here: name, how, inner"),
        ({"name": "a", "how": "fst"}, "(did you mean 'fast'?), found 'fst'"),
        ({"name": "a", "inner": {"rate": 0}}, "x: inner.rate: input should be greater than 0"),
        ({"name": "a", "inner": {"rat": 1}}, "x: unknown key 'inner.rat' (did you mean 'rate'?)"),
        ({"name": "a", "runs": {"one": {"rat": 1}}}, "known here: rate"),
        ({"name": 3, "how": "no"}, "found 3; in YAML"),
    ],
)
def test_the_first_problem_is_named(values: dict, message: str) -> None:
    with pytest.raises(SettingsError) as caught:
        validated(Outer, values, what="x")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_what_is_right_comes_back_as_the_model() -> None:
    assert validated(Outer, {"name": "a"}, what="x") == Outer(name="a")
