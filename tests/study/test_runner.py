"""Stages run once, in order; a killed run goes on; a change is noticed."""

from __future__ import annotations

import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from naturalize.base.artifacts import writing
from naturalize.base.errors import NaturalizeError, SettingsError
from naturalize.study.runner import Stage, run_stages


class House:
    """Two stages, where the second doubles what the first wrote; counts how often each ran."""

    def __init__(self, folder: Path, value: int = 3, outside: str = "") -> None:
        self.folder, self.value, self.outside = folder, value, outside
        self.ran: list[str] = []

    def stages(self) -> list[Stage]:
        def first(output: Path, _work: Path) -> None:
            self.ran.append("first")
            with writing(output, "first", settings={"value": self.value}) as folder:
                (folder / "number").write_text(str(self.value))

        def second(output: Path, _work: Path) -> None:
            self.ran.append("second")
            output.write_text(str(2 * int((self.folder / "one" / "number").read_text())))

        return [
            Stage("first", "one", (), {"value": self.value}, first, lambda: self.outside),
            Stage("second", "two.txt", ("first",), {}, second),
        ]

    def run(self, **options: object) -> dict[str, dict[str, object]]:
        return run_stages(self.folder, self.stages(), **options)


def test_nothing_runs_twice(tmp_path: Path) -> None:
    house = House(tmp_path)
    assert not house.run()["second"]["skipped"]
    costs = house.run()
    assert house.ran == ["first", "second"]
    assert costs["first"]["skipped"]
    assert (tmp_path / "two.txt").read_text() == "6"


def test_a_graph_put_into_a_model_makes_no_stage_run_again(tmp_path: Path) -> None:
    house = House(tmp_path)
    house.run()
    one = tmp_path / "one"
    kept = {file.name: file.read_bytes() for file in one.iterdir()}
    with writing(one, "first", settings={"value": 3}) as folder:
        (folder / "number").write_bytes(kept["number"])
        (folder / "network.onnx").write_bytes(b"operations")
    assert (one / "artifact.json").read_bytes() != kept["artifact.json"]
    house.run()
    assert house.ran == ["first", "second"]
    with writing(one, "first", settings={"value": 3}) as folder:
        (folder / "number").write_text("4")
        (folder / "network.onnx").write_bytes(b"operations")
    house.run()
    assert house.ran == ["first", "second", "first"]


def test_a_changed_setting_reruns_it_and_what_follows(tmp_path: Path) -> None:
    House(tmp_path).run()
    house = House(tmp_path, value=5)
    house.run()
    assert house.ran == ["first", "second"]
    assert (tmp_path / "two.txt").read_text() == "10"


def test_a_change_outside_that_makes_the_same_artifact_stops_there(tmp_path: Path) -> None:
    House(tmp_path).run()
    house = House(tmp_path, outside="touched")
    house.run()
    assert house.ran == ["first"]


def test_a_removed_or_edited_output_is_made_again(tmp_path: Path) -> None:
    House(tmp_path).run()
    (tmp_path / "two.txt").write_text("7")
    house = House(tmp_path)
    house.run()
    assert house.ran == ["second"]
    (tmp_path / "one" / "artifact.json").unlink()
    (tmp_path / "one" / "number").unlink()
    house.run()
    assert house.ran == ["second", "first"]


def test_force_and_until(tmp_path: Path) -> None:
    house = House(tmp_path)
    house.run(until="first")
    assert house.ran == ["first"]
    assert not (tmp_path / "two.txt").exists()
    house.run(force=["first"])
    assert house.ran == ["first", "first", "second"]
    with pytest.raises(SettingsError, match="did you mean 'first'"):
        house.run(force=["frist"])


KILLED = """
    import os, signal, sys
    from pathlib import Path
    from naturalize.study.runner import Stage, run_stages
    folder, die = Path(sys.argv[1]), sys.argv[2] == "die"

    def first(output, work):
        output.write_text("1")

    def second(output, work):
        done = work / "half"
        if done.exists():
            output.write_text("resumed")
            return
        done.write_text("")
        if die:
            os.kill(os.getpid(), signal.SIGKILL)
        output.write_text("straight")

    run_stages(folder, [Stage("first", "1.txt", (), {}, first),
                        Stage("second", "2.txt", ("first",), {}, second)])
"""


def test_a_killed_stage_finds_its_finished_pieces(tmp_path: Path) -> None:
    command = [sys.executable, "-c", textwrap.dedent(KILLED), str(tmp_path)]
    first = subprocess.run([*command, "die"], check=False, capture_output=True)
    assert first.returncode == -signal.SIGKILL
    assert not (tmp_path / "2.txt").exists()
    subprocess.run([*command, "live"], check=True, capture_output=True)
    assert (tmp_path / "2.txt").read_text() == "resumed"
    assert not (tmp_path / ".work" / "second").exists()


def test_two_runs_do_not_share_a_folder(tmp_path: Path) -> None:
    def intrude(output: Path, _work: Path) -> None:
        with pytest.raises(NaturalizeError, match=r"process [0-9]+ on .* is at work"):
            run_stages(tmp_path, [])
        output.write_text("")

    run_stages(tmp_path, [Stage("first", "1.txt", (), {}, intrude)])


METERED = """
    from naturalize.study.meter import metered
    with metered() as big:
        block = bytearray(200 * 2**20)
        block[::4096] = b"x" * len(block[::4096])
    del block
    with metered() as small:
        pass
    print(big.seconds, big.peak_mb, small.peak_mb)
"""


def test_the_meter_sees_the_blocks_own_peak() -> None:
    # a process of its own: one that has trained keeps freed memory, so that its size says nothing
    command = [sys.executable, "-c", textwrap.dedent(METERED)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    seconds, big, small = map(float, done.stdout.split())
    assert seconds > 0
    assert big > 200
    if sys.platform == "linux":
        assert small < big - 100
