"""``python -m tools.results runs/few-images runs/paper …``: what was run, to ``docs/results.md``.

A folder is of a grid (``naturalize run``), with ``=SCORE`` of one of its scores, or of
``benchmarks.paper_protocol``. What a person wrote below stays.
"""

from __future__ import annotations

import argparse
import platform
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.paper_protocol import TABLE, markdown

from naturalize.base.artifacts import read_json
from naturalize.base.engine import available_cpus
from naturalize.report import formatting as form
from naturalize.report.arms import NAMES, base_of, capital, images_of, method_of, verdict

_DOCS = Path(__file__).parents[1] / "docs"

#: What follows this line was written by a person, and stays.
_BY_HAND = "<!-- by hand -->"

_HEAD = """# Results

Whether composites help, measured. Written by `python -m tools.results` from what the commands
below wrote; see [arms, sizes and seeds](howto/studies.md#arms-sizes-and-seeds-does-it-help).
Images: PBC (Acevedo et al., *Data in Brief* 30 (2020) 105474, CC BY 4.0). Intervals are 95 %. A
difference whose interval holds 0 may be chance.
"""


def main() -> None:
    """Write the page and copy the curves beside it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folders", nargs="+", help="of grids (=SCORE), and of the paper's sets")
    parser.add_argument("--docs", type=Path, default=_DOCS)
    options = parser.parse_args()
    pages = [_part(*named.partition("=")[::2], options.docs) for named in options.folders]
    page = options.docs / "results.md"
    _, mark, by_hand = page.read_text().partition(_BY_HAND) if page.is_file() else ("", "", "")
    page.write_text("\n".join([_HEAD, *pages, mark]) + by_hand)


def _part(name: str, score: str, docs: Path) -> str:
    """Return what is said of a folder; of a grid, of one of its scores or of all."""
    folder = Path(name)
    if (folder / TABLE).is_file():
        return _paper(folder)
    result = read_json(folder / "arms.json")
    return _page(folder, {**result, "scores": [score] if score else result["scores"]}, docs)


def _paper(folder: Path) -> str:
    about = read_json(folder / TABLE)
    run, seeds = about["run"], [str(seed) for seed in about["seeds"]]
    sets = [name.removesuffix(", honest") for name in about["lines"] if name.endswith(", honest")]
    key = "--set runs.composites."
    lines = [
        "## The paper's experiment, pooled and honest",
        "",
        "`python -m benchmarks.paper_protocol --set data.root=PBC_dataset_normal_DIB "
        f"{key}input_size={run['input_size']} {key}samples_per_epoch={run['samples_per_epoch']} "
        f"--sets {' '.join(sets)} --seeds {' '.join(seeds)} -o runs/paper`: {run['model']} at "
        f"{run['input_size']} px, {run['epochs']} epochs of {run['samples_per_epoch']:,} samples, "
        f"{form.count(len(seeds), 'seed')}. *Pooled*, as published: composites "
        "are made of all images and divided with them. *Pooled, real only*: the same model, "
        "composites left out of its test part. *Honest*: composites of training images alone.",
        "",
        *markdown(about["lines"]),
        "",
    ]
    return "\n".join(lines)


def _page(folder: Path, result: Mapping[str, Any], docs: Path) -> str:
    name, settings = folder.name, result["settings"]
    run = settings["run"]
    seconds = sum(cell["seconds"] for cell in result["cells"])
    sizes = ",".join(map(str, settings["images_per_class"]))
    laboratories = ",".join(result["laboratories"])
    elsewhere = f"--set laboratories=[{laboratories}] " if laboratories else ""
    lines = [
        f"## {name}",
        "",
        f"`naturalize run studies/{result['name']}.yaml --set data.root=PBC_dataset_normal_DIB "
        f"--set images_per_class=[{sizes}] {elsewhere}-o runs/{name}`: "
        f"{len(result['cells'])} trainings of "
        f"{run['model']} at {run['input_size']} px, {run['epochs']} epochs of "
        f"{run['samples_per_epoch']:,} samples each; "
        f"seeds {form.listed(list(map(str, settings['seeds'])))}. "
        f"{form.duration(seconds)} on {available_cpus()} "
        f"busy processors ({platform.machine()}), torch {result['versions']['torch']}.",
        "",
        verdict(result),
        "",
    ]
    for score in result["scores"]:
        picture = f"{name}-{score}.svg"
        shutil.copyfile(folder / f"{score}.svg", docs / "assets" / picture)
        lines += [f"### {capital(NAMES[score])}", ""]
        lines += [f"{capital(NAMES[score])} {images_of(result, score)}.", ""]
        lines += [f"![{NAMES[score]} over training images a class](assets/{picture})", ""]
        lines += [*_table(result, score), ""]
    if "weak_f1" in result["scores"]:
        lines += [f"Weak classes: {form.listed(result['weak'])}.", ""]
    methods = "; ".join(dict.fromkeys(method_of(result, score) for score in result["scores"]))
    lines += [
        f"Interval: {methods}. Multiplier: how many times as many images the arm beside "
        "it needs for the same score, by that arm's own curve; “beyond” is outside it.",
        "",
    ]
    for failed in result["failed"]:
        which = f"{failed['arm']}, {failed['n']} images, seed {failed['seed']}"
        lines += [f"Failed: {which}: {failed['error']}", ""]
    return "\n".join(lines)


def _table(result: Mapping[str, Any], score: str) -> list[str]:
    lines = [
        f"| arm | images a class | seeds | {NAMES[score]} | beside | difference | multiplier |",
        "|---|--:|--:|---|---|---|---|",
    ]
    for arm, sizes in result["curves"].items():
        for n, scores in sizes.items():
            its = scores[score]
            own = [c for c in result["cells"] if (c["arm"], str(c["images_per_class"])) == (arm, n)]
            gain = result["differences"].get(arm, {}).get(n, {}).get(score)
            times = result["multipliers"].get(arm, {}).get(n, {}).get(score)
            cells = [arm, n, str(len(own)), _with(form.score, form.span, its)]
            cells.append(base_of(result, arm) if gain else "")
            cells.append(_with(form.difference, form.signed_span, gain) if gain else "")
            cells.append(form.multiplier(times) if times else "")
            lines.append(f"| {' | '.join(cells)} |")
    return lines


def _with(value: Any, span: Any, its: Mapping[str, Any]) -> str:
    return f"{value(its['value'])} ({span(its['interval'])})"


if __name__ == "__main__":
    main()
