"""The whole way from images to a report, on a small phantom; and killed in every stage of it."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from naturalize.base.artifacts import MANIFEST, read_json, read_table
from naturalize.study.run import run_study
from naturalize.study.settings import load_study, parse_study

pytestmark = pytest.mark.slow

STUDY = {
    "version": 1,
    "name": "small",
    "seed": 3,
    "data": {"scheme": "pbc11", "phantom": {"per_class": 5, "seed": 2}},
    "split": {"fractions": [0.6, 0.2, 0.2]},
    "compose": {"mode": "paper", "add": 3},
    "runs": {
        "real-only": {
            "model": "custom_cnn", "input_size": 32, "epochs": 2, "batch_size": 16,
            "composites": False, "weights": "none",
        },
        "naturalize": {
            "model": "custom_cnn", "input_size": 32, "epochs": 2, "batch_size": 16,
            "composites": True, "weights": "none",
        },
    },
    "explain": {"methods": ["grad-cam"], "per_class": 0, "mistakes": 2},
    "engine": {"backend": "processes", "workers": 2},
}  # fmt: skip


#: Files that name the folder of the images, which is another one for another study folder.
ROOTED = ("catalog.json", "bank.json")


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study folder that ran through without a break."""
    folder = tmp_path_factory.mktemp("study") / "whole"
    run_study(parse_study(STUDY), folder)
    return folder


def manifests(folder: Path) -> dict[str, dict[str, Any]]:
    """Return artifact → its files' hashes; where a file names its root, all else that it says."""
    found = sorted(p for p in folder.rglob(MANIFEST) if p.relative_to(folder).parts[0][0] != ".")
    return {
        p.parent.relative_to(folder).as_posix(): {
            name: said_but_the_root(p.parent / name) if name in ROOTED else digest
            for name, digest in read_json(p)["files"].items()
        }
        for p in found
    }


def said_but_the_root(file: Path) -> dict[str, Any]:
    return {key: value for key, value in read_json(file).items() if key != "root"}


def test_every_stage_leaves_its_artifact(finished: Path) -> None:
    wanted = {
        "data", "catalog", "audit", "split", "cells", "bank", "plan", "explanations",
        "models/real-only", "models/naturalize", "evaluations/real-only", "evaluations/naturalize",
    }  # fmt: skip
    assert wanted <= set(manifests(finished))
    assert (finished / "report.html").stat().st_size > 50_000
    assert not list((finished / ".work").iterdir())


def test_no_composite_has_a_parent_outside_train(finished: Path) -> None:
    split = read_table(finished / "split" / "split.parquet").to_pylist()
    part = {row["image_id"]: row["part"] for row in split}
    plan = read_table(finished / "plan" / "plan.parquet").to_pylist()
    parents = {p["image_id"] for row in plan for p in row["placements"]}
    assert len(plan) == 15
    assert {part[parent] for parent in parents} == {"train"}
    assert read_json(finished / "plan" / "lineage.json")["outside"] == 0


def test_the_test_images_are_the_splits_and_real(finished: Path) -> None:
    split = read_table(finished / "split" / "split.parquet").to_pylist()
    test = {row["image_id"] for row in split if row["part"] == "test"}
    for run in STUDY["runs"]:
        predictions = read_table(finished / "evaluations" / run / "predictions.parquet")
        assert set(predictions["image_id"].to_pylist()) == test
        metrics = read_json(finished / "evaluations" / run / "metrics.json")
        right = [a == b for a, b in zip(
            predictions["label"].to_pylist(), predictions["predicted"].to_pylist(), strict=True
        )]  # fmt: skip
        assert metrics["accuracy"] == pytest.approx(sum(right) / len(right))
        assert metrics["protocol"] == "honest"


def test_a_second_run_does_nothing(finished: Path) -> None:
    before = {p: p.stat().st_mtime_ns for p in finished.rglob(MANIFEST)}
    run_study(parse_study(STUDY), finished)
    assert {p: p.stat().st_mtime_ns for p in finished.rglob(MANIFEST)} == before
    stages = read_json(finished / "study.json")["stages"]
    assert all(stage["skipped"] for stage in stages.values())


def test_the_resolved_study_is_kept_and_reads_back(finished: Path) -> None:
    assert load_study(finished / "study.yaml") == parse_study(STUDY)


def test_killed_in_every_stage_it_ends_with_the_same_artifacts(
    finished: Path, tmp_path: Path
) -> None:
    file, folder = tmp_path / "small.yaml", tmp_path / "killed"
    file.write_text(yaml.safe_dump(STUDY, sort_keys=False))
    command = [sys.executable, "-m", "naturalize", "run", str(file), "-o", str(folder)]
    stages = list(read_json(finished / "study.json")["stages"])
    for stage in stages:
        kill_in(command, stage)
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert manifests(folder) == manifests(finished)
    assert json.loads((folder / "comparisons.json").read_text()) == json.loads(
        (finished / "comparisons.json").read_text()
    )


def kill_in(command: list[str], stage: str) -> None:
    """Run ``command`` and kill its whole process group once ``stage`` has begun."""
    process = subprocess.Popen(
        command, stderr=subprocess.PIPE, text=True, start_new_session=True,
        env={**os.environ, "COLUMNS": "200"},
    )  # fmt: skip
    begun = re.compile(rf"^\d+/\d+ {re.escape(stage)}$")
    said = []
    assert process.stderr is not None
    try:
        for line in process.stderr:
            said.append(line)
            if begun.match(line.strip()):
                os.killpg(process.pid, signal.SIGKILL)
                break
        ended = process.wait()
        assert ended == -signal.SIGKILL, f"{stage}: ended with {ended}: {''.join(said)}"
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        process.stderr.close()
