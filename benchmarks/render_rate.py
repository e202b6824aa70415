"""Composites a second on one core, beside other ways to paste the same cells in the same run.

The reference (a) does what most copy-paste scripts do: for each cell, colours and mask as float32,
the mask blurred by a Gaussian, ``alpha * cell + (1 - alpha) * canvas`` in the cell's window, and
uint8 at the end. It gets its cells decoded and ready in memory, in some rows its blurred masks as
well. All paint the same recipes: one white and up to eight red cells at 360 x 363.

    python -m benchmarks.render_rate [--recipes 400] [--images pbc] [--cap-python PYTHON]

``--cap-python`` names the Python of an environment that has ``cap-augmentation``; ``--million``
plans 10^6 recipes as well, to see what they weigh.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import cv2
import numpy as np

from benchmarks._pasters import (
    FEATHER,
    clone_seamlessly,
    float_cells,
    paste_plainly,
    paste_with_pillow,
    pillow_cells,
    rate_of_cap_augmentation,
)
from naturalize.base import engine
from naturalize.base.images import encode_image
from naturalize.cells.bank import CellBank
from naturalize.compose.deliver.annotation import BankAnnotation
from naturalize.compose.deliver.truth import painted
from naturalize.compose.draw.planner import plan
from naturalize.compose.paint.crops import CropStore
from naturalize.compose.paint.render import render
from naturalize.compose.recipe.plan import Plan
from naturalize.compose.recipe.recipe import Recipe
from naturalize.inputs.compose import open_source

#: Each time is the median of so many rounds.
ROUNDS = 5

#: Of the slow references this share of the recipes is painted.
_SLOW = 0.1

Painter = Callable[[Recipe], object]


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--recipes", type=int, default=400)
    parser.add_argument("--images", type=Path, help="labelled images; the phantom by default")
    parser.add_argument("--bank", type=Path, help="a bank artifact, instead of images")
    parser.add_argument("--scheme", default="pbc11")
    parser.add_argument("--cap-python", help="Python of an environment with cap-augmentation")
    parser.add_argument("--million", action="store_true", help="plan 10^6 recipes as well")
    options = parser.parse_args()
    cv2.setNumThreads(1)
    with tempfile.TemporaryDirectory(prefix="naturalize-bench-") as folder:
        work = Path(folder)
        if options.bank:
            run(CellBank.load(options.bank), work, options)
            return
        images = options.images or _phantom(work / "phantom")
        with open_source(images, work=work / "source", scheme=options.scheme) as source:
            run(source.bank, work, options)


def run(bank: CellBank, work: Path, options: argparse.Namespace) -> None:
    """Measure on the cells of ``bank``."""
    classes = [label for label, count in bank.counts()["targets"].items() if count]
    paper_like(bank, classes, work, options)
    store, drawn = scenes(bank, classes, work, options.recipes)
    whole_fields(bank, classes[:1], work)
    workers(drawn, store)
    planning(bank, classes, work, options.million)


def paper_like(bank: CellBank, classes: list[str], work: Path, options: argparse.Namespace) -> None:
    """Print rates of one white and up to eight red cells on a flat background."""
    each = -(-options.recipes // len(classes))
    # many tries, so that nearly all eight red cells find room
    made = {
        turn: plan(bank, mode="paper", add=each, classes=classes, tries=200, turn=turn)
        for turn in ("none", "any")
    }
    print("| composites on one core | reference | ours | ratio |\n|---|--:|--:|--:|")
    for turn, drawn in made.items():
        store = CropStore.build(drawn, bank, work / f"crops-{turn}", what=None)
        cells = float_cells(drawn, store)
        pillow = pillow_cells(cells)
        hard = [drawn.recipe(i) for i in range(len(drawn))]
        soft = [_feathered(recipe) for recipe in hard]
        placed = statistics.mean(len(recipe.placements) for recipe in hard)
        how = f"{'turned by any angle' if turn == 'any' else 'not turned'}, {placed:.1f} cells"
        ours = partial(render, bank=store)
        plainly = partial(paste_plainly, cells=cells)
        few = max(int(_SLOW * len(hard)), 1)
        for name, recipes, reference in (
            ("(a) NumPy, blurs each mask; feathered", soft, partial(plainly, ready=False)),
            ("(a) NumPy, has blurred masks; feathered", soft, partial(plainly, ready=True)),
            ("(a) NumPy, has blurred masks; hard edges", hard, partial(plainly, ready=True)),
            (
                "(b) Pillow, rotate and paste; hard edges",
                hard,
                partial(paste_with_pillow, cells=pillow),
            ),
            (
                "(c) cv2.seamlessClone; feathered",
                soft[:few],
                partial(clone_seamlessly, cells=cells),
            ),
        ):
            _row(f"{name}; {how}", *_rates([reference, ours], recipes))
        jpeg = [
            lambda r, p=p: encode_image(p(r), "jpeg", quality=95)
            for p in (partial(plainly, ready=True), ours)
        ]
        _row(f"(a) and JPEG-95; feathered; {how}", *_rates(jpeg, soft))
        if options.cap_python and turn == "none":
            for recipes, blending, name in ((hard, 0.0, "hard edges"), (soft, 0.5, "soft edges")):
                theirs = rate_of_cap_augmentation(
                    options.cap_python, pillow, work / "cap", len(recipes), ROUNDS, blending
                )
                _row(f"(d) cap-augmentation, {name}; 9 cells", theirs, _rates([ours], recipes)[0])


def scenes(bank: CellBank, classes: list[str], work: Path, n: int) -> tuple[CropStore, Plan]:
    """Print rates of composites whose scene is a real image; return the store and the plan."""
    drawn = plan(bank, mode="scene", add=-(-n // len(classes)), classes=classes)
    store = CropStore.build(drawn, bank, work / "crops-scene", what=None)
    small = CropStore.build(drawn, bank, work / "crops-192", size=192, what=None)
    recipes = [drawn.recipe(i) for i in range(len(drawn))]
    seamless = [
        replace(r, placements=tuple(replace(p, blend="poisson") for p in r.placements))
        for r in recipes
    ]

    def shrunk(recipe: Recipe) -> np.ndarray:
        return cv2.resize(render(recipe, store), (192, 192), interpolation=cv2.INTER_AREA)

    def encoded(recipe: Recipe) -> bytes:
        return encode_image(render(recipe, store), "jpeg", quality=95)

    print("\n| scene mode, one core, warm | composites a second |\n|---|--:|")
    full, jpeg, large, direct = _rates(
        [partial(render, bank=store), encoded, shrunk, partial(render, bank=small, size=192)],
        recipes,
    )
    lone = CropStore.build(
        Plan.of(seamless, bank=bank.fingerprint), bank, work / "crops-poisson", what=None
    )
    poisson = _rates([partial(render, bank=lone)], seamless)[0]
    for name, rate in (
        ("render", full),
        ("render and JPEG-95", jpeg),
        ("render, then shrink to 192 × 192", large),
        ("render at 192 × 192", direct),
        ("render with Poisson blending", poisson),
    ):
        print(f"| {name} | {rate:,.0f} |")
    sizes = [sum(f.stat().st_size for f in s.folder.glob("*.npy")) / 2**20 for s in (store, small)]
    print(
        f"\nstore of {len(drawn):,} recipes: {sizes[0]:.1f} MiB; for 192 × 192: {sizes[1]:.1f} MiB"
    )
    return store, drawn


def whole_fields(bank: CellBank, classes: list[str], work: Path, n: int = 8) -> None:
    """Print how long whole fields of 1,000 × 1,000 pixels take."""
    print("\n| fields of 1,000 × 1,000, one core, warm | cells | paint | paint and truth |")
    print("|---|--:|--:|--:|")
    annotation = BankAnnotation(bank)
    for cover in (0.1, 0.3, 0.6):
        how = {"width": 1000, "height": 1000, "sizes": [0.7, 0.7], "coverage": [cover, cover]}
        drawn = plan(bank, mode="field", add=n, classes=classes, images=20, **how)
        store = CropStore.build(drawn, bank, work / f"crops-field-{cover}", what=None)
        recipes = [drawn.recipe(i) for i in range(len(drawn))]
        cells = statistics.mean(len(recipe.placements) for recipe in recipes)
        both = partial(painted, source=store, annotation=annotation)
        rates = _rates([partial(render, bank=store), both], recipes)
        times = " | ".join(f"{1000 / rate:,.0f} ms" for rate in rates)
        print(f"| coverage {cover} | {cells:,.0f} | {times} |", flush=True)


def workers(drawn: Plan, store: CropStore) -> None:
    """Print how much quicker two workers are than one, pools already started."""
    recipes = [drawn.recipe(i % len(drawn)) for i in range(4000)]
    rates = [_pool_rate(recipes, store, count) for count in (1, 2)]
    print(
        f"\n1 → 2 workers: {rates[1] / rates[0]:.2f} times as many "
        f"({rates[0]:,.0f}/s → {rates[1]:,.0f}/s)"
    )


def _pool_rate(recipes: Sequence[Recipe], store: CropStore, count: int) -> float:
    """Return composites a second of workers, from the time that more recipes take longer."""
    took = []
    for part in (recipes[:1000], recipes):
        start = time.perf_counter()
        backend = "processes" if count > 1 else "serial"
        paint = partial(_checked, store=store)
        for _ in engine.map(paint, part, backend=backend, workers=count, chunk=64):
            pass
        took.append(time.perf_counter() - start)
    return (len(recipes) - 1000) / (took[1] - took[0])


def _checked(recipe: Recipe, *, store: CropStore) -> int:
    return int(render(recipe, store)[::7, ::7].sum())


def planning(bank: CellBank, classes: list[str], work: Path, million: bool) -> None:
    """Print how quickly recipes are planned, and what they weigh."""
    print("\n| planning | recipes a second |\n|---|--:|")
    # with its stain varied, a scene mode of few cells and scenes has composites enough
    for mode, more in (("paper", {}), ("scene", {"stain": 0.1})):
        took = []
        for seed in range(ROUNDS):
            start = time.process_time()
            drawn = plan(bank, mode=mode, add=2000, classes=classes, seed=seed, **more)
            took.append(time.process_time() - start)
        print(f"| {mode} | {len(drawn) / statistics.median(took):,.0f} |")
    bank.save(work / "bank")
    print("\n| recipes | columns in memory | peak of the process above the bank's |\n|---|--:|--:|")
    for n in (10**4, 10**6) if million else (10**4,):
        words = [sys.executable, "-c", _WEIGH, str(work / "bank"), str(n), ",".join(classes)]
        done = subprocess.run(words, capture_output=True, text=True, check=True)
        columns, peak = (float(word) for word in done.stdout.split())
        print(f"| {n:,} | {columns:,.1f} MiB | {peak:,.0f} MiB |")


_WEIGH = """
import resource, sys
from naturalize.cells.bank import CellBank
from naturalize.compose.draw.planner import plan
bank, n, classes = CellBank.load(sys.argv[1]), int(sys.argv[2]), sys.argv[3].split(",")
plan(bank, add=1, classes=classes)
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
before = peak()
drawn = plan(bank, add=-(-n // len(classes)), classes=classes)
held = sum(v.nbytes for v in vars(drawn.columns).values() if hasattr(v, "nbytes"))
print(held / 2**20, peak() - before)
"""


def _rates(painters: Sequence[Painter], recipes: Sequence[Recipe]) -> list[float]:
    """Return composites a second of each painter, measured in turn, after a warm-up round."""
    took: list[list[float]] = [[] for _ in painters]
    for turn in range(ROUNDS + 1):
        for painter, times in zip(painters, took, strict=True):
            start = time.process_time()
            for recipe in recipes:
                painter(recipe)
            if turn:
                times.append(time.process_time() - start)
    return [len(recipes) / statistics.median(times) for times in took]


def _row(name: str, theirs: float, ours: float) -> None:
    print(f"| {name} | {theirs:,.0f}/s | {ours:,.0f}/s | {ours / theirs:.1f} |", flush=True)


def _feathered(recipe: Recipe) -> Recipe:
    soft = [replace(p, blend="feather", feather=FEATHER) for p in recipe.placements]
    return replace(recipe, placements=tuple(soft))


def _phantom(folder: Path) -> Path:
    from naturalize.dataset.phantom import write_phantom

    write_phantom(folder, per_class=8, seed=1)
    return folder


if __name__ == "__main__":
    main()
