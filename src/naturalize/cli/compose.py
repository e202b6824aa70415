"""``naturalize compose``: cells to composites, as recipes or as folders of images."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from naturalize.cli.options import Overwrite


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
        list[str] | None,
        typer.Option(
            help="Classes to compose, e.g. BNE,SNE; can be given again.  [default: the mode's]"
        ),
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
        str | None,
        typer.Option(
            metavar="WRITER",
            help="Render too: imagefolder (OUT/images/CLASS/), webdataset (tar shards) or coco "
            "(images and annotations).",
        ),
    ] = None,
    format: Annotated[str, typer.Option(help="Files that are rendered: jpeg or png.")] = "jpeg",
    quality: Annotated[int, typer.Option(min=1, max=100, help="Of the JPEG files.")] = 95,
    masks: Annotated[
        bool,
        typer.Option(
            "--masks", help="Write which pixels are each cell's, and its box (coco: always)."
        ),
    ] = False,
    size: Annotated[
        str | None,
        typer.Option(
            metavar="SIDE|WxH", help="Compose at this size, e.g. 192.  [default: the recipe's]"
        ),
    ] = None,
    shard_mb: Annotated[
        float | None,
        typer.Option("--shard-mb", help="Most MiB a shard of webdataset has.  [default: 256]"),
    ] = None,
    scheme: Annotated[
        str, typer.Option(help="Classes of labelled images: pbc11, pbc8 or folders.")
    ] = "folders",
    split: Annotated[
        Path | None,
        typer.Option(help="Only images of this split's train part lend cells.", show_default=False),
    ] = None,
    fractions: Annotated[
        str | None,
        typer.Option(help="Split labelled images first, e.g. 0.7,0.1,0.2 (train, val, test)."),
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
    overwrite: Overwrite = False,
) -> None:
    """Compose new images from cells of real ones.

    Writes the plan (one recipe a composite), a sheet of real beside composite images and the
    lineage: whether any composite has a parent outside the train part. With --write the composites
    are rendered too, and the plan lies in OUT/plan. Of labelled images, OUT also gets their
    catalog, cells and bank (and split): realism, train and compose go on from there, and the next
    run does not segment again.

    **Examples**

    ```
    naturalize compose runs/pbc11 --name 2K-PBC -o runs/2k
    naturalize compose runs/pbc11 --add 500 --write imagefolder -o composites
    naturalize compose images --scheme pbc11 -m scene --per-class 2000 --write imagefolder -o out
    naturalize compose images -m scene --balance --fractions 0.7,0.1,0.2 -o out
    naturalize compose runs/pbc11 -m scene --add 500 --write coco --size 192 -o detect
    naturalize compose runs/pbc11 -m layout --add 200 --gate --set crowding=1.3 -o plan
    naturalize compose runs/pbc11/bank --per-class 3000 --set turn=any -o plan
    ```
    """
    from naturalize.base.artifacts import check_place
    from naturalize.base.console import say
    from naturalize.base.text import names_of
    from naturalize.cli.keyvalue import settings_of
    from naturalize.compose.deliver import WRITERS, save_plan
    from naturalize.compose.draw.images import check_sources
    from naturalize.compose.draw.modes import mode as mode_of
    from naturalize.compose.draw.planner import plan
    from naturalize.compose.recipe.targets import one_target
    from naturalize.inputs.compose import open_source

    # what can be refused is refused now, not after an hour of segmenting
    target: dict[str, Any] = {"name": name, "add": add, "per_class": per_class, "balance": balance}
    one_target(**target)
    rendered = writer_options(write, format, quality, masks, size, shard_mb)
    shares = fractions_of(fractions)
    check_place(out)
    of_mode = settings_of(settings or [], example="turn=any")
    mode_of(mode, **of_mode)
    run: dict[str, Any] = {"backend": engine, "workers": workers}
    work = out.with_name(f".{out.name}.source")
    with open_source(
        source,
        work=work,
        scheme=scheme,
        split=split,
        fractions=shares,
        root=root,
        segmenter=segmenter,
        kept=out,
        **run,
    ) as found:
        made = plan(
            found.bank,
            mode=mode,
            classes=names_of(classes, found.bank.labels),
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
                made, found.bank, out, lineage=lineage, also=found.keep, **rendered, **run
            )
        else:
            save_plan(made, out, found.bank, lineage, also=found.keep)
    counts = ", ".join(f"{label} {n:,}" for label, n in made.targets.items() if n)
    say(f"{len(made):,} composites: {counts}")
    if made.rejections:
        say("given up: " + ", ".join(f"{why} {n:,}" for why, n in made.rejections.items()))
    say(f"lineage: {lineage['statement']}")
    if found.cells is not None:
        say(f"catalog, cells and bank are kept in {out}: the next run goes on from there")
    say(f"to look at: {(out / 'plan' if write else out) / 'sheet.jpg'}")


def writer_options(
    write: str | None,
    format: str,
    quality: int,
    masks: bool,
    size: str | None,
    shard_mb: float | None,
) -> dict[str, Any]:
    """Return what the writer ``write`` is called with, or say which option does not fit it."""
    from naturalize.base.console import warn
    from naturalize.base.errors import SettingsError, unknown
    from naturalize.compose.deliver import WRITERS, check_format

    if write is not None and write not in WRITERS:
        raise unknown("choice for --write", write, list(WRITERS))
    check_format(format, quality)
    given = {"--masks": masks, "--size": size is not None, "--shard-mb": shard_mb is not None}
    if write is None and any(given.values()):
        name = next(name for name, there in given.items() if there)
        raise SettingsError(f"{name} is of rendered files; add --write {' or '.join(WRITERS)}")
    if shard_mb is not None and write != "webdataset":
        raise SettingsError(f"--shard-mb: {write} writes no shards; use --write webdataset")
    if masks and write == "coco":
        warn("--masks changes nothing: coco always has them")
    options: dict[str, Any] = {"format": format, "quality": quality, "size": size_of(size)}
    options["masks"] = masks or write == "coco"
    if shard_mb is not None:
        if not 0.01 <= shard_mb < 2**20:
            raise SettingsError(f"--shard-mb: expected 0.01 MiB or more, got {shard_mb:g}")
        options["shard_bytes"] = round(shard_mb * 2**20)
    return options


def size_of(text: str | None) -> int | tuple[int, int] | None:
    """Return ``"192"`` as a side and ``"320x240"`` as width and height.

    Examples
    --------
    >>> size_of("192"), size_of("320x240")
    (192, (320, 240))
    """
    import re

    from naturalize.base.errors import SettingsError

    if text is None:
        return None
    found = re.fullmatch(r"([1-9]\d{0,4})(?:[x×]([1-9]\d{0,4}))?", text.strip().lower())
    if not found:
        raise SettingsError(
            f"--size: expected a side, or width x height, such as 192 or 320x240, got {text!r}"
        )
    width, height = found.groups()
    return (int(width), int(height)) if height else int(width)


def fractions_of(text: str | None) -> list[float] | None:
    """Return ``"0.7,0.1,0.2"`` as numbers."""
    from naturalize.base.errors import SettingsError

    if text is None:
        return None
    try:
        return [float(share) for share in text.split(",")]
    except ValueError as error:
        raise SettingsError(
            f"--fractions: expected three numbers such as 0.7,0.1,0.2, got {text!r}"
        ) from error
