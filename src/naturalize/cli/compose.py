"""``naturalize compose``: cells to composites, as recipes or as folders of images."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from naturalize.cli.options import (
    Columns,
    Engine,
    Overwrite,
    Reader,
    Workers,
    columns_of,
    fractions_of,
)

if TYPE_CHECKING:
    from naturalize.compose.deliver import Writer
    from naturalize.compose.recipe.plan import Plan


def _panel(title: str) -> Callable[..., Any]:
    """Return what makes options that the help shows under ``title``."""
    return partial(typer.Option, rich_help_panel=title)


_many, _how, _files = _panel("How many"), _panel("How they are made"), _panel("Rendered files")
_from = _panel("Where the cells come from")

_WHAT = "A study folder, a bank, a catalog, or a folder of labelled images."
_WRITERS = "imagefolder (OUT/images/CLASS/), webdataset (tar shards) or coco (with annotations)."
_Source = Annotated[Path, typer.Argument(help=_WHAT, show_default=False)]
_Out = Annotated[Path, typer.Option("--out", "-o", help="Folder to write.", show_default=False)]
_Add = Annotated[int | None, _many(min=1, help="So many for each class.")]
_PerClass = Annotated[
    int | None, _many(min=1, help="Bring each class, real images counted, to this number.")
]
_Balance = Annotated[bool, _many("--balance", help="Bring each class to the size of the largest.")]
_Name = Annotated[str | None, _many(help="A data set of the paper: 1K-PBC, 2K-PBC or 3K-PBC.")]
_Classes = Annotated[
    list[str] | None,
    _many(help="Classes, e.g. BNE,SNE; can be given again.  [default: the mode's]"),
]
_MaxReuse = Annotated[int | None, _many(min=1, help="Most composites with the same white cell.")]
_Mode = Annotated[str, _how("--mode", "-m", help="scene, layout, varied, field or paper.")]
_Set = Annotated[
    list[str] | None,
    _how("--set", metavar="KEY=VALUE", help="A setting of the mode, e.g. turn=any."),
]
_Scenes = Annotated[
    Path | None,
    _how(show_default=False, help="Set the cells into these images of another laboratory."),
]
_Gate = Annotated[bool, _how("--gate", help="Render and judge all; draw those anew that fail.")]
_Seed = Annotated[int, _how(help="Another seed, other composites.")]
_Write = Annotated[str | None, _files(metavar="WRITER", help=_WRITERS)]
_Format = Annotated[str, _files(help="jpeg or png.")]
_Quality = Annotated[int, _files(min=1, max=100, help="Of the JPEG files.")]
_Masks = Annotated[bool, _files("--masks", help="Which pixels are each cell's (coco: always).")]
_Size = Annotated[
    str | None, _files(metavar="SIDE|WxH", help="Compose at this size.  [default: the recipe's]")
]
_ShardMb = Annotated[
    float | None, _files("--shard-mb", help="Most MiB a shard of webdataset has.  [default: 256]")
]
_Scheme = Annotated[str, _from(help="What the classes are: pbc11, pbc8 or folders.")]
_Split = Annotated[
    Path | None, _from(show_default=False, help="Use cells of this split's train part only.")
]
_Fractions = Annotated[
    str | None, _from(help="Split the images first, e.g. 0.7,0.1,0.2 (train, val, test).")
]
_Segmenter = Annotated[str, _from(help="Finds the cells.")]
_Root = Annotated[Path | None, _from(show_default=False, help="Where the images are now.")]


def compose(
    source: _Source,
    out: _Out,
    add: _Add = None,
    per_class: _PerClass = None,
    balance: _Balance = False,
    name: _Name = None,
    classes: _Classes = None,
    max_reuse: _MaxReuse = None,
    mode: _Mode = "scene",
    settings: _Set = None,
    scenes: _Scenes = None,
    gate: _Gate = False,
    seed: _Seed = 0,
    write: _Write = None,
    format: _Format = "jpeg",
    quality: _Quality = 95,
    masks: _Masks = False,
    size: _Size = None,
    shard_mb: _ShardMb = None,
    scheme: _Scheme = "folders",
    reader: Reader = "auto",
    columns: Columns = None,
    split: _Split = None,
    fractions: _Fractions = None,
    segmenter: _Segmenter = "unet",
    root: _Root = None,
    workers: Workers = None,
    engine: Engine = "processes",
    overwrite: Overwrite = False,
) -> None:
    """Compose new images from cells of real ones.

    Writes the plan (one recipe a composite), a sheet of real beside composite images and the
    lineage: whether any composite has a parent outside the train part. With --write the composites
    are rendered too, and the plan lies in OUT/plan. From labelled images, OUT also gets their
    catalog, cells and bank (and split): realism, train and compose go on from there, and the next
    run does not segment again.

    With --scenes, the cells are set into another laboratory's images, which need no labels, in
    that laboratory's scale, stain, light and sharpness.

    **Examples**

    ```
    naturalize compose runs/pbc11 --add 500 --write imagefolder -o composites
    naturalize compose images --scheme pbc11 --per-class 2000 --write imagefolder -o out
    naturalize compose images --balance --fractions 0.7,0.1,0.2 -o out
    naturalize compose runs/pbc11 --add 500 --write coco --size 192 -o detect
    naturalize compose runs/pbc11 -m layout --add 200 --gate --set crowding=1.3 -o plan
    naturalize compose runs/pbc11 --scenes their-images --add 300 -o theirs
    naturalize compose runs/pbc11 -m field --add 20 --write coco -o fields
    naturalize compose runs/pbc11 -m paper --name 2K-PBC -o runs/2k
    naturalize compose runs/pbc11/bank --per-class 3000 --set turn=right -o plan
    ```
    """
    from naturalize.base.artifacts import check_place
    from naturalize.cli.keyvalue import settings_of
    from naturalize.compose.draw.modes import mode as mode_of
    from naturalize.compose.draw.targets import one_target
    from naturalize.inputs.laboratory import check_scenes

    # what can be refused is refused now, not after an hour of segmenting
    target: dict[str, Any] = {"name": name, "add": add, "per_class": per_class, "balance": balance}
    one_target(**target)
    writer = writer_of(write, format, quality, masks, size, shard_mb)
    of_mode = settings_of(settings or [], example="turn=any")
    if scenes is not None:
        of_mode = check_scenes(mode, of_mode, gate=gate)
    mode_of(mode, **of_mode)
    check_place(out)
    how = {"mode": mode, "seed": seed, "max_reuse": max_reuse, "gate": gate, **of_mode}
    opened: dict[str, Any] = {"scheme": scheme, "split": split, "root": root}
    opened |= {"reader": reader, "columns": columns_of(columns)}
    opened |= {"segmenter": segmenter, "fractions": fractions_of(fractions) if fractions else None}
    run = {"backend": engine, "workers": workers}
    carry_out(source, out, classes, writer, {**target, **how}, opened, run, scenes)


def carry_out(
    source: Path,
    out: Path,
    classes: list[str] | None,
    writer: Writer | None,
    drawn: dict[str, Any],
    opened: dict[str, Any],
    run: dict[str, Any],
    scenes: Path | None = None,
) -> None:
    """Open the source, plan and write; ``drawn``: for the plan, ``opened``: for the source."""
    from naturalize.base.console import say
    from naturalize.base.text import names_of
    from naturalize.compose.deliver import save_plan, write
    from naturalize.compose.draw.materials import check_sources
    from naturalize.compose.draw.planner import counts_of, plan
    from naturalize.inputs.compose import open_source
    from naturalize.inputs.laboratory import set_into

    work = out.with_name(f".{out.name}.source")
    with open_source(source, work=work, kept=out, **opened, **run) as own:
        found = own
        named = names_of(classes, found.bank.labels)
        real = found.real
        if scenes is not None:
            wanted, real = counts_of(found.bank, classes=named, real=real, **drawn)
            more = {"segmenter": opened["segmenter"], "seed": drawn["seed"]}
            found = set_into(found, scenes, wanted=wanted, work=work, kept=out, **more, **run)
        bank = found.drawn_from
        made = plan(bank, classes=named, real=real, **drawn, **run)
        check_sources(bank, made.parents())
        lineage = found.lineage(made)
        if writer is None:
            save_plan(made, out, bank, lineage, also=found.keep)
        else:
            write(made, bank, out, writer, lineage=lineage, also=found.keep, **run)
    report(made, lineage["statement"], out / "plan" if writer else out)
    if found.cells is not None:
        say(f"catalog, cells and bank are kept in {out}: the next run goes on from there")


def report(made: Plan, lineage: str, folder: Path) -> None:
    """Print what was composed, from how many cells, and what was left out."""
    from naturalize.base.console import result

    result(f"{len(made):,} composites, mode {made.mode}")
    for row in made.by_class().to_pylist():
        cells = f"{row['used']:,} of {row['cells']:,} cells, {row['most']:,} from the most used one"
        result(f"  {row['label']}: {row['composites']:,} from {cells}")
    for reason, n in made.rejections.items():
        result(f"{n:,} {reason}")
    result(f"lineage: {lineage}")
    result(f"{folder}: look at sheet.jpg first")


def writer_of(
    write: str | None,
    format: str,
    quality: int,
    masks: bool,
    size: str | None,
    shard_mb: float | None,
) -> Writer | None:
    """Return the writer ``write``, or say which option does not fit it."""
    from naturalize.base.console import warn
    from naturalize.base.errors import SettingsError
    from naturalize.compose.deliver import WRITERS, writer

    given = {"--masks": masks, "--size": size is not None, "--shard-mb": shard_mb is not None}
    if write is None and any(given.values()):
        name = next(name for name, there in given.items() if there)
        raise SettingsError(f"{name} is of rendered files; add --write {' or '.join(WRITERS)}")
    options: dict[str, Any] = {"format": format, "quality": quality, "size": size_of(size)}
    if write is None:
        writer(**options)
        return None
    if shard_mb is not None:
        if write != "webdataset":
            raise SettingsError(f"--shard-mb: {write} writes no shards; use --write webdataset")
        if not 0.01 <= shard_mb < 2**20:
            raise SettingsError(f"--shard-mb: expected 0.01 MiB or more, got {shard_mb:g}")
        options["shard_bytes"] = round(shard_mb * 2**20)
    if masks and write == "coco":
        warn("--masks changes nothing: coco always has them")
    elif masks:
        options["masks"] = True
    return writer(write, **options)


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
