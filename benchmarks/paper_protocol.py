"""How much of the paper's gain is leakage: composites pooled before the split, and after it.

    python -m benchmarks.paper_protocol [STUDY] --set data.root=PBC… [--sets 1K-PBC …] -o OUT

STUDY (by default ``studies/paper.yaml``) is run under both protocols for each set and seed, and
once a seed on real images alone; all have the network and the budget of its one run. What is done
is not done again. The table has macro-F1 with 95 % intervals over images of the first seed, the
mean over seeds, and the mean F1 of the composed classes:

*pooled*: as published. *pooled, real only*: the same model, composites left out of its test part;
the difference is composites in the test. *honest*: split first; the difference to the line above is
cells on both sides (and other test images). *real images*: honest, without composites.
"""

from __future__ import annotations

import argparse
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import pyarrow as pa

from naturalize.base.artifacts import read_json, write_json
from naturalize.base.errors import NaturalizeError
from naturalize.compose.deliver.pool import PREFIX
from naturalize.evaluation.evaluate import score_table
from naturalize.evaluation.predictions import classes_of, read_predictions
from naturalize.study.run import run_study
from naturalize.study.settings import StudySettings, load_study

#: The paper's sets.
SETS = ("1K-PBC", "2K-PBC", "3K-PBC")

#: Where the lines of the table are kept, with the settings of the run and the seeds.
TABLE = "table.json"

#: Composites as the study itself says, where it names no set.
AS_IT_SAYS = "composites"


def variant(study: StudySettings, protocol: str, name: str | None, seed: int) -> StudySettings:
    """Return the study under a protocol with the composites of a set, or with none."""
    ((run, settings),) = study.runs.items()
    assert study.compose is not None
    compose = study.compose
    if name not in (None, AS_IT_SAYS):
        compose = compose.model_copy(update={"name": name, "add": None})
    runs = {run: settings.model_copy(update={"composites": name is not None, "seed": seed})}
    more = {"protocol": protocol, "seed": seed, "compose": compose if name else None}
    return study.model_copy(update={**more, "runs": runs})


def answers(study: StudySettings, folder: Path, kept: Path) -> pa.Table:
    """Return the answers of a study's one run, trained in ``folder`` unless they are in ``kept``.

    ``folder`` serves one study after the other, so that catalog and cells are made once.
    """
    (run,) = study.runs
    if not kept.exists():
        run_study(study, folder, until=f"evaluate-{run}")
        part = kept.with_suffix(".part")
        shutil.copytree(folder / "evaluations" / run, part, dirs_exist_ok=True)
        if study.protocol == "paper":
            shutil.copy(folder / "leak.json", kept.with_suffix(".leak.json"))
        part.rename(kept)
    return read_predictions(kept)


def real_only(table: pa.Table) -> pa.Table:
    """Return the rows of real images."""
    names = [PurePosixPath(path).name for path in table["path"].to_pylist()]
    return table.filter(pa.array([not name.startswith(PREFIX) for name in names]))


def line(tables: Sequence[pa.Table], weak: Sequence[str]) -> dict[str, float | int | list[float]]:
    """Return a line of the table from the answers of each seed."""
    scored = [score_table(table, protocol="honest") for table in tables]
    f1 = [np.mean([each["per_class"][label]["f1"] for label in weak]) for each in scored]
    return {
        "n": scored[0]["n"],
        "macro_f1": float(np.mean([each["macro_f1"] for each in scored])),
        "interval_first_seed": scored[0]["intervals"]["macro_f1"],
        "composed_classes_f1": float(np.mean(f1)),
        "accuracy": float(np.mean([each["accuracy"] for each in scored])),
    }


def measure(
    study: StudySettings, out: Path, sets: Sequence[str | None], seeds: Sequence[int]
) -> dict[str, dict]:
    """Run all that is not done, and return the lines of the table by their names."""
    folder, answered = out / "study", out / "answers"
    answered.mkdir(parents=True, exist_ok=True)

    def of(protocol: str, name: str | None) -> list[pa.Table]:
        return [
            answers(
                variant(study, protocol, name, seed), folder, answered / f"{protocol}-{name}-{seed}"
            )
            for seed in seeds
        ]

    plain = of("honest", None)
    pooled = {name: of("paper", name) for name in sets}
    honest = {name: of("honest", name) for name in sets}
    names = classes_of(plain[0])
    composed = (study.compose.classes if study.compose else None) or (
        "BNE",
        "MMY",
        "MY",
        "PMY",
        "SNE",
    )
    weak = [label for label in composed if label in names]
    lines = {"real images": line(plain, weak)}
    for name in sets:
        lines |= {
            f"{name}, pooled": line(pooled[name], weak),
            f"{name}, pooled, real only": line([real_only(t) for t in pooled[name]], weak),
            f"{name}, honest": line(honest[name], weak),
        }
        lines[f"{name}, pooled"]["leak"] = read_json(
            answered / f"paper-{name}-{seeds[0]}.leak.json"
        )["statement"]
    return lines


def main() -> None:
    """Run the experiment and print its table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("study", nargs="?", default="studies/paper.yaml")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument(
        "--sets", nargs="+", help="sets of the paper; all three, or what STUDY says"
    )
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("-o", "--out", type=Path, default=Path("runs/paper"))
    asked = parser.parse_args()
    try:
        study = load_study(asked.study, asked.set)
        named = study.compose is not None and study.compose.name
        sets = asked.sets or (SETS if named else [AS_IT_SAYS])
        lines = measure(study, asked.out, sets, asked.seeds)
    except NaturalizeError as error:
        raise SystemExit(f"paper_protocol: {error}") from error
    ((_, run),) = study.runs.items()
    about = {"run": run.model_dump(mode="json"), "seeds": asked.seeds, "lines": lines}
    write_json(asked.out / TABLE, about)
    print("\n".join(markdown(lines)))


def markdown(lines: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Return the table, and what leaked, as lines of Markdown."""
    said = [
        "| | test images | macro-F1 (95 %, first seed) | composed classes | accuracy |",
        "|---|--:|--:|--:|--:|",
    ]
    for name, its in lines.items():
        low, high = its["interval_first_seed"]
        said.append(
            f"| {name} | {its['n']:,} | {its['macro_f1']:.3f} ({low:.3f}–{high:.3f}) "
            f"| {its['composed_classes_f1']:.3f} | {its['accuracy']:.3f} |"
        )
    for name, its in lines.items():
        if "leak" in its:
            said += ["", f"{name}: {its['leak']}."]
    return said


if __name__ == "__main__":
    main()
