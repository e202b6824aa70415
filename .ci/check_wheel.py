"""Build the wheel, install it alone in a new environment, and see that it works there."""

from __future__ import annotations

import csv
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

REPO = Path(__file__).resolve().parents[1]
CONSTRAINTS = REPO / "constraints.txt"


def run(*command: object) -> str:
    """Run a command and return its output; stop with that output if it fails."""
    words = [str(part) for part in command]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{' '.join(words)}\n{done.stdout}{done.stderr}")
    return done.stdout


def main() -> None:
    """Build, install without extras, ask for help, compose and predict without PyTorch."""
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        run(sys.executable, "-m", "build", "--wheel", "--outdir", work, REPO)
        (wheel,) = work.glob("*.whl")
        venv.create(work / "env", with_pip=True)
        bin_folder = work / "env" / "bin"
        run(bin_folder / "python", "-m", "pip", "install", "-q", "-c", CONSTRAINTS, wheel)
        answer = run(bin_folder / "naturalize", "--help")
        for command in ("init", "run", "demo", "catalog", "compose", "evaluate", "report"):
            if command not in answer:
                sys.exit(f"naturalize --help does not name {command!r}:\n{answer}")
        run(bin_folder / "naturalize", "init", "--preset", "pbc11", "-o", work / "pbc11.yaml")
        tree = work / "phantom"
        run(bin_folder / "naturalize", "phantom", "--per-class", 4, "--seed", 3, "-o", tree)
        run(
            bin_folder / "naturalize", "compose", tree, "--scheme", "pbc11", "-m", "paper",
            "--add", 2, "--write", "imagefolder", "-o", work / "composites",
        )  # fmt: skip
        made = list((work / "composites" / "images").rglob("*.jpg"))
        if not made:
            sys.exit("composing without PyTorch wrote no image")
        asked = [bin_folder / "naturalize", "predict", tree / "images", "-o", work / "p.csv"]
        run(*asked)
        with (work / "p.csv").open(newline="") as table:
            rows = list(csv.DictReader(table))
        if len(rows) != len(list((tree / "images").rglob("*.jpg"))) or not all(
            row["label"] for row in rows
        ):
            sys.exit(f"predicting without PyTorch left images without an answer:\n{rows}")
        said = subprocess.run(
            [*asked, "--overwrite", "--engine", "torch"],
            capture_output=True,
            text=True,
            check=False,
        )
        if said.returncode != 2 or "naturalize[train]" not in said.stderr:
            sys.exit(f"asking for PyTorch where it is not does not name the extra:\n{said.stderr}")
        print(
            f"{wheel.name}: installs alone, answers --help, composed {len(made)} images, "
            f"said of {len(rows)} what they show"
        )


if __name__ == "__main__":
    main()
