"""Two processes on a processor (gloo): the same network as one, and no process left behind."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from toy import TINY, fit

from naturalize.base.errors import EngineError, NaturalizeError, SettingsError
from naturalize.models.folder import describe

torch = pytest.importorskip("torch")

#: Without batch norm: its statistics are of each process's share. Class weights: batches of
#: unequal weight must be shared justly. Head alone first: some gradients do not come.
PLAIN = TINY.model_copy(
    update={
        "model": "test_convnext",
        "input_size": 32,
        "epochs": 2,
        "head_epochs": 1,
        "class_weights": "balanced",
        "ema": 0.8,
    }
)


@pytest.fixture(scope="module")
def uneven(toys):
    """The toys with a class that is rarer than the others, and 11 validation images."""
    catalog, split, folder = toys
    rows, seen = split.table.to_pylist(), {"train": 0, "val": 0}
    keep = []
    for row in rows:
        rare = row["label"] == "green" and row["part"] in seen
        if rare:
            seen[row["part"]] += 1
        keep.append(not rare or seen[row["part"]] <= {"train": 4, "val": 3}[row["part"]])
    return catalog, replace(split, table=split.table.filter(np.array(keep))), folder


@pytest.fixture(scope="module")
def both(uneven, tmp_path_factory):
    folder = tmp_path_factory.mktemp("both")
    one = fit(uneven, folder / "one", PLAIN)
    return one, fit(uneven, folder / "two", PLAIN.model_copy(update={"device": "cpu:2"}))


def test_two_processes_train_what_one_trains(both):
    from safetensors.torch import load_file

    one, two = (load_file(path / "weights.safetensors") for path in both)
    for name, value in one.items():
        torch.testing.assert_close(two[name], value, rtol=0, atol=2e-4, msg=name)
    histories = [np.loadtxt(p / "history.csv", delimiter=",", skiprows=1) for p in both]
    np.testing.assert_allclose(*histories, rtol=2e-3)


def test_the_model_folder_does_not_tell_how_many_they_were(both):
    one, two = (describe(path)["training"] for path in both)
    assert one == two
    assert [p.name for p in both[1].parent.iterdir() if p.name.startswith(".")] == []


def test_an_error_in_any_process_stops_all(uneven, tmp_path):
    mad = PLAIN.model_copy(
        update={"device": "cpu:2", "lr": 1e30, "warmup_epochs": 0.0, "clip_norm": None}
    )
    with pytest.raises(NaturalizeError, match=r"step \d+: the loss is|outputs on the validation"):
        fit(uneven, tmp_path / "model", mad)
    assert not (tmp_path / "model").exists()


def test_a_batch_must_be_dealt_evenly(uneven, tmp_path):
    odd = PLAIN.model_copy(update={"device": "cpu:5"})
    with pytest.raises(SettingsError, match="batch_size 12 cannot be dealt evenly to the 5"):
        fit(uneven, tmp_path / "model", odd)


def test_what_processes_tell_is_raised_and_a_death_is_named():
    from multiprocessing import Pipe
    from types import SimpleNamespace

    from naturalize.training.processes import _await

    def ranks(*told: object) -> list:
        found = []
        for what in told:
            ours, theirs = Pipe()
            if what != "dies":
                theirs.send(what)
            theirs.close()
            found.append((SimpleNamespace(join=lambda: None, exitcode=-9), ours))
        return found

    _await(ranks(None, None))
    with pytest.raises(NaturalizeError, match="step 3"):
        _await(ranks(None, NaturalizeError("step 3")))
    with pytest.raises(EngineError, match=r"died \(exit code -9.*__main__"):
        _await(ranks(None, "dies"))


def _lives_with_its_parent(parent) -> None:
    import threading
    import time

    from naturalize.training.processes import _die_with

    threading.Thread(target=_die_with, args=(parent,), daemon=True).start()
    parent.send("up")
    time.sleep(100)


def test_a_process_ends_when_its_parent_is_gone():
    import multiprocessing

    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_lives_with_its_parent, args=(theirs,))
    process.start()
    theirs.close()
    assert ours.recv() == "up"
    ours.close()  # as the system does for a process that was killed
    process.join(60)
    assert process.exitcode == 1
