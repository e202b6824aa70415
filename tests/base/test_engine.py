"""The engine gives the same results, in order, whatever does the work."""

from __future__ import annotations

import os
import signal
from functools import partial

import cv2
import numpy as np
import pytest

from naturalize.base import engine
from naturalize.base.errors import EngineError, InputError, SettingsError
from naturalize.base.rng import rng


def noisy_square(seed: int, number: int) -> float:
    return number**2 + float(rng(seed, "noise", number).normal())


def cell_name(number: int) -> str:
    return f"cell {number}"


def fail_at_seven(number: int) -> int:
    if number == 7:
        raise ZeroDivisionError("seven")
    return number


def refuse_at_seven(number: int) -> int:
    if number == 7:
        raise InputError("image 7: too small")
    return number


def die_at_seven(number: int) -> int:
    if number == 7:
        os.kill(os.getpid(), signal.SIGKILL)
    return number


class DiesWhenOpened:
    """Kills the process that unpickles it."""

    def __reduce__(self) -> tuple[object, tuple[int]]:
        return (os._exit, (3,))

    def __call__(self, number: int) -> int:
        return number


class Heavy:
    """Loads something at its first item, as a network does."""

    loads = 0

    def __call__(self, _number: int) -> tuple[int, int, int]:
        if not hasattr(self, "network"):
            self.network = "ready"
            Heavy.loads += 1
        return os.getpid(), Heavy.loads, cv2.getNumThreads()


BACKENDS = [("serial", 1), ("processes", 2), ("ray", 2)]


@pytest.fixture(scope="module")
def local_ray():
    """Two local Ray workers, or a skip with the reason."""
    ray = pytest.importorskip("ray", reason="the ray extra is not installed")
    yield ray
    ray.shutdown()


@pytest.fixture(params=BACKENDS, ids=lambda p: p[0])
def backend(request: pytest.FixtureRequest) -> dict[str, object]:
    name, workers = request.param
    if name == "ray":
        request.getfixturevalue("local_ray")
    return {"backend": name, "workers": workers}


def test_same_results_in_order_from_every_backend(backend: dict[str, object]) -> None:
    expected = [noisy_square(5, n) for n in range(53)]
    got = list(engine.map(partial(noisy_square, 5), range(53), chunk=4, **backend))
    assert got == expected


def test_the_first_error_names_its_item(backend: dict[str, object]) -> None:
    results = engine.map(fail_at_seven, range(20), chunk=2, name=cell_name, **backend)
    with pytest.raises(EngineError, match=r"cell 7: ZeroDivisionError: seven"):
        list(results)


def test_a_users_error_passes_as_it_is(backend: dict[str, object]) -> None:
    with pytest.raises(InputError, match=r"^image 7: too small$"):
        list(engine.map(refuse_at_seven, range(20), **backend))


def test_results_before_an_error_are_given_serially() -> None:
    results = engine.map(fail_at_seven, range(20))
    assert [next(results) for _ in range(7)] == list(range(7))
    with pytest.raises(EngineError):
        next(results)


def test_a_worker_loads_what_it_needs_once(backend: dict[str, object]) -> None:
    Heavy.loads = 0
    found = list(engine.map(Heavy(), range(40), chunk=2, **backend))
    assert {loads for _, loads, _ in found} == {1}
    serial = backend["backend"] == "serial"
    assert {threads for *_, threads in found} == {cv2.getNumThreads() if serial else 1}
    assert (os.getpid() in {pid for pid, *_ in found}) == serial


def test_a_worker_that_dies_as_it_starts_is_told() -> None:
    with pytest.raises(EngineError, match="a worker died"):
        list(engine.map(DiesWhenOpened(), range(200), chunk=1, backend="processes", workers=2))


def test_a_dead_worker_is_told(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(EngineError, match="a worker died"):
        list(engine.map(die_at_seven, range(20), backend="processes", workers=2))


@pytest.mark.parametrize("name", ["serial", "processes"])
def test_items_are_read_lazily(name: str) -> None:
    read = 0

    def items():
        nonlocal read
        for n in range(10_000):
            read = n
            yield n

    results = engine.map(abs, items(), backend=name, workers=2, chunk=4)
    assert next(iter(results)) == 0
    assert read < 100
    results.close()


def test_unknown_backend_is_suggested() -> None:
    with pytest.raises(SettingsError, match="did you mean 'processes'"):
        engine.map(abs, [], backend="process")


def test_no_items_give_no_results(backend: dict[str, object]) -> None:
    assert list(engine.map(abs, [], **backend)) == []


def test_rng_draws_depend_on_every_key() -> None:
    draws = {
        float(rng(*key).random())
        for key in [(1, "a", 1), (1, "a", 2), (2, "a", 1), (1, "a", "1"), (1, "a1"), (1, "b", 1)]
    }
    assert len(draws) == 6


def test_rng_keys_give_uncorrelated_streams() -> None:
    streams = np.stack([rng(3, "stream", i).normal(size=400) for i in range(40)])
    correlation = np.corrcoef(streams) - np.eye(40)
    assert np.abs(correlation).max() < 0.25
