"""One key for where a run is computed."""

from __future__ import annotations

import pytest

from naturalize.base.errors import SettingsError
from naturalize.training.devices import Devices, Place, parse, place


@pytest.mark.parametrize(
    ("name", "expected", "processes"),
    [
        ("auto", Devices("auto"), 1),
        ("cpu", Devices("cpu"), 1),
        ("cpu:4", Devices("cpu", processes=4), 4),
        ("cuda", Devices("cuda"), 1),
        ("cuda:3", Devices("cuda", gpus=(3,)), 1),
        ("cuda:0,2", Devices("cuda", gpus=(0, 2)), 2),
        ("cuda:1,1", Devices("cuda", gpus=(1,)), 1),
        ("cuda:all", Devices("cuda", gpus=()), 1),
        ("mps", Devices("mps"), 1),
    ],
)
def test_names_say_kind_and_numbers(name, expected, processes):
    assert parse(name) == expected
    assert parse(name).known_processes == processes


@pytest.mark.parametrize("name", ["", "gpu", "cpu:0", "cpu:", "cuda:", "cuda:a", "cpu:1,2", "CPU"])
def test_other_names_are_refused_with_examples(name):
    with pytest.raises(ValueError, match="expected one of auto, cpu, cpu:2, cuda"):
        parse(name)


def test_processors_are_always_there():
    pytest.importorskip("torch")
    assert place("cpu") == Place(("cpu",))
    assert place("cpu:3") == Place(("cpu",) * 3)
    assert place("cpu:3").device == "cpu"


def test_gpus_are_named_by_number_and_absent_ones_refused(monkeypatch):
    torch = pytest.importorskip("torch")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert place("auto") == Place(("cuda:0",))
    assert place("cuda:all") == Place(("cuda:0", "cuda:1"))
    assert place("cuda:1").device == "cuda:1"
    with pytest.raises(SettingsError, match=r"device cuda:2: this machine.*has 2 GPUs of CUDA"):
        place("cuda:2")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(SettingsError, match="has no GPU of CUDA; try auto or cpu"):
        place("cuda")
