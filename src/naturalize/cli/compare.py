"""``naturalize compare``: two evaluations of the same images."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from naturalize.cli.options import Overwrite, Resamples, Seed


def compare(
    first: Annotated[
        Path, typer.Argument(metavar="EVAL_A", help="An evaluation folder.", show_default=False)
    ],
    second: Annotated[
        Path, typer.Argument(metavar="EVAL_B", help="Another one.", show_default=False)
    ],
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="A JSON file for the result too.", show_default=False),
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
    (first minus second).

    **Examples**

    ```
    naturalize compare runs/pbc11/evaluations/plain runs/pbc11/evaluations/naturalize
    naturalize compare eval/a eval/b --common -o difference.json
    ```
    """
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table

    from naturalize.base.artifacts import check_file, write_json
    from naturalize.base.console import say
    from naturalize.evaluation.compare import paired
    from naturalize.evaluation.evaluate import read_predictions

    if out:
        check_file(out)
    result = paired(
        read_predictions(first),
        read_predictions(second),
        resamples=resamples,
        seed=seed,
        common_only=common,
    )
    table = Table("score", "first", "second", "difference", "95 % interval", box=SIMPLE_HEAD)
    for name, row in result["scores"].items():
        low, high = row["interval"]
        table.add_row(
            name.replace("_", " "),
            f"{row['a']:.3f}",
            f"{row['b']:.3f}",
            f"{row['difference']:+.3f}",
            f"{low:+.3f} to {high:+.3f}",
        )
    Console(highlight=False).print(table)
    test = result["mcnemar"]
    say(
        f"{result['n']:,} images: only the first right {test['only_a_right']}, only the second "
        f"right {test['only_b_right']}; McNemar p = {test['p_value']:.3g}"
    )
    say(result["method"])
    if out:
        write_json(out, {"a": first.name, "b": second.name, **result})
        say(f"comparison: {out}")
