"""Two processes on a processor (gloo): the same network as one, and no process left behind."""

from __future__ import annotations

import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

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


def raise_in_second(message: str) -> None:
    from naturalize.training import processes

    if processes.rank() == 1:
        raise NaturalizeError(message)
    processes.wait()


def die(_: str) -> None:
    import os

    os._exit(9)


def test_an_error_of_one_process_is_raised_and_a_death_is_named(tmp_path):
    from naturalize.training import processes

    devices, meeting = ["cpu", "cpu"], tmp_path / "meeting"
    with pytest.raises(NaturalizeError, match=r"^step 3$"):
        processes.start(raise_in_second, devices, meeting, "step 3")
    with pytest.raises(EngineError, match=r"died \(.*exit code 9.*__main__"):
        processes.start(die, devices, meeting, "")
    assert not meeting.exists()


PARENT = """
import sys, time
from pathlib import Path
from naturalize.training import processes

def stay(folder):
    import os
    (Path(folder) / f"{processes.rank()}.pid").write_text(str(os.getpid()))
    time.sleep(200)

if __name__ == "__main__":
    processes.start(stay, ["cpu", "cpu"], Path(sys.argv[1]) / "meeting", sys.argv[1])
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the signal of a lost parent")
def test_processes_end_when_their_parent_is_killed(tmp_path):
    (tmp_path / "parent.py").write_text(PARENT)
    parent = subprocess.Popen([sys.executable, tmp_path / "parent.py", tmp_path])
    files = [tmp_path / f"{rank}.pid" for rank in range(2)]

    def wait_for(done) -> None:
        limit = time.monotonic() + 120
        while not done():
            assert time.monotonic() < limit
            time.sleep(0.05)

    wait_for(lambda: all(file.is_file() and file.read_text() for file in files))
    numbers = [int(file.read_text()) for file in files]
    parent.kill()
    parent.wait()

    def gone(number: int) -> bool:
        try:
            return "State:\tZ" in Path(f"/proc/{number}/status").read_text()
        except FileNotFoundError:
            return True

    wait_for(lambda: all(map(gone, numbers)))


TORCHRUN = """
import sys
from pathlib import Path
from naturalize.inputs.training import open_data
from naturalize.training.fit import train
from naturalize.training.settings import TrainSettings

folder = Path(sys.argv[1])
data = open_data(catalog=folder / "catalog", split=folder / "split")
settings = TrainSettings.model_validate_json(sys.argv[2])
train(settings, data.catalog, data.split, out=sys.argv[3])
"""


def test_torchrun_starts_it_too(toys, tmp_path):
    settings = TINY.model_copy(update={"epochs": 1})
    (tmp_path / "script.py").write_text(TORCHRUN)
    arguments = [str(toys[2]), settings.model_dump_json(), str(tmp_path / "run")]
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    done = subprocess.run(
        [*launcher, str(tmp_path / "script.py"), *arguments],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("best epoch 1 of 1") == 1
    here = fit(toys, tmp_path / "here", settings.model_copy(update={"device": "cpu:2"}))
    files = [path / "weights.safetensors" for path in (tmp_path / "run", here)]
    assert files[0].read_bytes() == files[1].read_bytes()
