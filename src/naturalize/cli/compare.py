"""``naturalize compare``: two evaluations of the same images, or two arms of several seeds."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from naturalize.cli.options import Overwrite, Resamples, Seed


def compare(
    first: Annotated[
        Path,
        typer.Argument(
            metavar="EVAL_A",
            help="An evaluation folder, or a folder of them, one a seed.",
            show_default=False,
        ),
    ],
    second: Annotated[
        Path,
        typer.Argument(metavar="EVAL_B", help="Another one.", show_default=False),
    ],
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="A JSON file for the result too.", show_default=False),
    ] = None,
    forest: Annotated[
        Path | None,
        typer.Option(
            "--forest",
            metavar="FILE",
            help="A forest plot of the differences (.png or .svg).",
            show_default=False,
        ),
    ] = None,
    common: Annotated[
        bool, typer.Option("--common", help="Compare over the images that are in both.")
    ] = False,
    resamples: Resamples = 2000,
    seed: Seed = 0,
    overwrite: Overwrite = False,
) -> None:
    """Test whether one model is better than another on the same images.

    McNemar's exact test on who is right, and paired bootstrap intervals of the differences
    (first minus second). Of two folders of evaluations, one a seed, those of the same name are
    paired: means over the seeds, and intervals over images and seeds.

    **Examples**

    ```
    naturalize compare runs/pbc11/evaluations/plain runs/pbc11/evaluations/naturalize
    naturalize compare eval/a eval/b --common -o difference.json
    naturalize compare eval/plain eval/varied --forest difference.svg
    ```
    """
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table

    from naturalize.base.artifacts import check_file, write_json
    from naturalize.base.console import result as say_result
    from naturalize.base.console import say
    from naturalize.base.errors import SettingsError
    from naturalize.evaluation.compare import paired_seeds, pairs_of
    from naturalize.evaluation.pictures import difference_picture
    from naturalize.report.formatting import count

    if forest and forest.suffix.lower() not in (".png", ".svg"):
        raise SettingsError(f"--forest {forest}: expected a file that ends in .png or .svg")
    for file in (out, forest):
        if file:
            check_file(file)
    pairs = pairs_of(first, second)
    result = paired_seeds(list(pairs.values()), resamples=resamples, seed=seed, common_only=common)
    table = Table("score", "first", "second", "difference", "95 % interval", box=SIMPLE_HEAD)
    f1 = {f"F1 of {label}": row for label, row in result["classes"].items()}
    for name, row in (result["scores"] | f1).items():
        low, high = row["interval"]
        table.add_row(
            name.replace("_", " "),
            f"{row['a']:.3f}",
            f"{row['b']:.3f}",
            f"{row['difference']:+.3f}",
            f"{low:+.3f} to {high:+.3f}",
        )
    Console(highlight=False).print(table)
    images = count(result["n"], "image")
    if test := result["mcnemar"]:
        say(
            f"{images}: only the first right {test['only_a_right']}, only the second "
            f"right {test['only_b_right']}; McNemar p = {test['p_value']:.3g}"
        )
    else:
        say(f"{images}; seeds: {', '.join(pairs)}")
    say(result["method"])
    if out:
        write_json(out, {"a": first.name, "b": second.name, **result})
        say_result(f"comparison: {out}")
    if forest:
        difference_picture(result, (first.name, second.name), forest)
        say_result(f"forest plot: {forest}")
