"""How well composites are distinguished from real images, beside simpler composites and the null.

Every row is compared with the same real images: others (must be about 0.5), others after one more
JPEG (must be detected), a hard paste, ``cv2.seamlessClone``, and every mode that can be planned
from the same bank.

    python -m benchmarks.realism --images ../shared/data/pbc --take 120 --per-class 40
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
from pathlib import Path

from naturalize.base.console import warn
from naturalize.base.errors import NaturalizeError
from naturalize.base.rng import rng
from naturalize.compose.draw.modes import MODES
from naturalize.compose.draw.planner import plan
from naturalize.inputs.compose import open_source
from naturalize.realism import realism
from naturalize.realism.settings import BASELINES


def main() -> None:
    """Print the table."""
    data = Path(os.environ.get("NATURALIZE_DATA", "../shared/data"))
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--images", type=Path, default=data / "pbc", help="labelled real images")
    parser.add_argument("--scheme", default="pbc11")
    parser.add_argument("--classes", default="BNE,EO,LY,MMY,MY,PMY,SNE")
    parser.add_argument("--take", type=int, default=120, help="real images of each class")
    parser.add_argument("--per-class", type=int, default=40, help="composites of each class")
    parser.add_argument("--probes", default="statistics,features,patches")
    parser.add_argument("--modes", default=",".join(MODES), help="probed in this order")
    parser.add_argument("--out", type=Path, help="keep the pictures here")
    options = parser.parse_args()
    if not options.images.is_dir():
        sys.exit(f"{options.images}: no such folder; name real images with --images")
    with tempfile.TemporaryDirectory(prefix="naturalize-bench-") as folder:
        run(options, Path(folder))


def run(options: argparse.Namespace, work: Path) -> None:
    """Probe each mode against the same images; the baselines once."""
    classes = options.classes.split(",")
    take(options.images, work / "images", classes, options.take)
    print("| distinguished from real images | " + " | ".join(options.probes.split(",")), end="")
    print(" | KID | nearest |\n|---|" + "--:|" * (options.probes.count(",") + 3))
    with open_source(work / "images", work=work / "source", scheme=options.scheme) as source:
        for number, mode in enumerate(options.modes.split(",")):
            try:
                drawn = plan(source.bank, mode=mode, add=options.per_class, classes=classes)
            except NaturalizeError as error:
                warn(f"mode {mode} is left out: {error}")
                continue
            found = realism(
                drawn,
                source.bank,
                (options.out or work) / f"realism-{mode}",
                per_class=options.per_class,
                probes=options.probes.split(","),
                baselines=[name for name in BASELINES if name != "paper"] if not number else [],
                backend="processes",
            )
            for name, result in found.results.items():
                aucs = [str(result.auc.get(p, "–")) for p in options.probes.split(",")]
                far = f"{result.kid.value:.3g} | {result.nearest.ratio.value:.2f}"
                print(f"| {name.removeprefix('this plan ')} | {' | '.join(aucs)} | {far} |")
            for one in found.results[f"this plan ({mode})"].distinguishing[:5]:
                print(f"<!-- {mode}: {one} ({one.auc:.2f}) -->")


def take(images: Path, goal: Path, classes: list[str], n: int) -> None:
    """Copy ``n`` images of each class, the same ones every time."""
    prefix = {"PLT": "PLATELET"}
    for label in classes:
        files = sorted(images.rglob(f"{prefix.get(label, label)}_*.jpg"))
        order = rng(0, "realism benchmark", label).permutation(len(files))[:n]
        for at in sorted(order.tolist()):
            place = goal / files[at].parent.name / files[at].name
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(files[at], place)


if __name__ == "__main__":
    main()
