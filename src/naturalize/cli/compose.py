"""``naturalize compose``: cells to composites, as recipes or as folders of images."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer


def compose(
    source: Annotated[
        Path,
        typer.Argument(
            help="A study folder, a bank, a catalog, or a folder of labelled images.",
            show_default=False,
        ),
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder to write.", show_default=False)],
    mode: Annotated[str, typer.Option("--mode", "-m", help="paper, scene or layout.")] = "paper",
    add: Annotated[
        int | None, typer.Option(min=1, help="So many composites for each class.")
    ] = None,
    per_class: Annotated[
        int | None,
        typer.Option(min=1, help="As many as bring each class, real ones counted, to this number."),
    ] = None,
    balance: Annotated[
        bool, typer.Option("--balance", help="Bring each class to the size of the largest.")
    ] = False,
    name: Annotated[
        str | None, typer.Option(help="A data set of the paper: 1K-PBC, 2K-PBC or 3K-PBC.")
    ] = None,
    classes: Annotated[
        str | None, typer.Option(help="Classes to compose, e.g. BNE,SNE.  [default: the mode's]")
    ] = None,
    max_reuse: Annotated[
        int | None,
        typer.Option(min=1, help="Most composites with the same white cell."),
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="A setting of the mode, e.g. turn=any."),
    ] = None,
    gate: Annotated[
        bool,
        typer.Option("--gate", help="Render and judge all; draw those anew that fail."),
    ] = False,
    write: Annotated[
        str | None, typer.Option(help="imagefolder: render to OUT/images/CLASS/.")
    ] = None,
    format: Annotated[str, typer.Option(help="Files that are rendered: jpeg or png.")] = "jpeg",
    quality: Annotated[int, typer.Option(min=1, max=100, help="Of the JPEG files.")] = 95,
    scheme: Annotated[
        str, typer.Option(help="Classes of labelled images: pbc11, pbc8 or folders.")
    ] = "folders",
    split: Annotated[
        Path | None,
        typer.Option(help="Only images of this split's train part lend cells.", show_default=False),
    ] = None,
    segmenter: Annotated[str, typer.Option(help="Finds the cells of labelled images.")] = "unet",
    root: Annotated[
        Path | None, typer.Option(help="Where the images are now.", show_default=False)
    ] = None,
    seed: Annotated[int, typer.Option(help="Another seed, other composites.")] = 0,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Workers to use.  [default: all processors]")
    ] = None,
    engine: Annotated[str, typer.Option(help="serial, processes or ray.")] = "processes",
) -> None:
    """Compose new images from cells of real ones.

    Writes the plan (one recipe a composite), a sheet of real beside composite images and the
    lineage: whether any composite has a parent outside the train part. With --write imagefolder the
    composites are rendered too, one folder a class, and the plan lies in OUT/plan.

    **Examples**

    ```
    naturalize compose runs/pbc11 --name 2K-PBC -o runs/2k
    naturalize compose runs/pbc11 --add 500 --write imagefolder -o composites
    naturalize compose images --scheme pbc11 -m scene --per-class 2000 --write imagefolder -o out
    naturalize compose runs/pbc11 -m layout --add 200 --gate --set crowding=1.3 -o plan
    naturalize compose runs/pbc11/bank --per-class 3000 --set turn=any -o plan
    ```
    """
    from naturalize.base.artifacts import check_place
    from naturalize.base.console import say
    from naturalize.base.errors import unknown
    from naturalize.cli.keyvalue import settings_of
    from naturalize.compose.images import check_sources
    from naturalize.compose.modes import mode as mode_of
    from naturalize.compose.plan import plan
    from naturalize.compose.source import open_source
    from naturalize.compose.targets import one_target
    from naturalize.compose.write import WRITERS, check_format, save_plan

    # what can be refused is refused now, not after an hour of segmenting
    target: dict[str, Any] = {"name": name, "add": add, "per_class": per_class, "balance": balance}
    one_target(**target)
    if write is not None and write not in WRITERS:
        raise unknown("choice for --write", write, list(WRITERS))
    check_format(format, quality)
    check_place(out)
    of_mode = settings_of(settings or [], example="turn=any")
    mode_of(mode, **of_mode)
    run: dict[str, Any] = {"backend": engine, "workers": workers}
    work = out.with_name(f".{out.name}.source")
    with open_source(
        source, work=work, scheme=scheme, split=split, root=root, segmenter=segmenter, **run
    ) as found:
        made = plan(
            found.bank,
            mode=mode,
            classes=[c.strip() for c in classes.split(",")] if classes is not None else None,
            seed=seed,
            max_reuse=max_reuse,
            real=found.real,
            gate=gate,
            **run,
            **target,
            **of_mode,
        )
        check_sources(found.bank, made.parents())
        lineage = found.lineage(made)
        if write:
            WRITERS[write](
                made, found.bank, out, format=format, quality=quality, lineage=lineage, **run
            )
        else:
            save_plan(made, out, found.bank, lineage)
    counts = ", ".join(f"{label} {n:,}" for label, n in made.targets.items() if n)
    say(f"{len(made):,} composites: {counts}")
    if made.rejections:
        say("given up: " + ", ".join(f"{why} {n:,}" for why, n in made.rejections.items()))
    say(f"lineage: {lineage['statement']}")
    say(f"to look at: {(out / 'plan' if write else out) / 'sheet.jpg'}")
