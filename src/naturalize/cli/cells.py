"""``naturalize cells``: show the cells of a bank, export them, import others."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from naturalize.cli.options import Command, Engine, Overwrite, Root, Workers

app = typer.Typer(no_args_is_help=True)


@app.callback()
def _cells() -> None:
    """Show the cells of a bank, export them, import those of other tools.

    **Examples**

    ```
    naturalize cells show runs/bank --rejected -o lost.png
    naturalize cells export runs/bank -f coco -o coco
    naturalize cells import annotations.json --images images -o cells
    ```
    """


_Bank = Annotated[Path, typer.Argument(help="A bank.")]
_Kind = Annotated[str | None, typer.Option(help="wbc, rbc or platelet.")]
_Label = Annotated[str | None, typer.Option(help="A class.")]
_Where = Annotated[
    list[str] | None,
    typer.Option(help="COLUMN=LOW:HIGH, either end may be left out; can be given again."),
]
_Rejected = Annotated[
    bool, typer.Option("--rejected", help="Cells that may not be composed, not those that may.")
]


_Kinds = Annotated[
    list[str] | None,
    typer.Option(help="NAME=KIND, or KIND for all others: wbc, rbc, platelet, auto."),
]
_Meaning = Annotated[
    str | None,
    typer.Option(
        help="What the numbers of label images are: numbers (a cell each), kinds (1 white, "
        "2 red, 3 platelet), binary (cell and slide) or levels (cytoplasm and nucleus)."
    ),
]


_Source = Annotated[
    Path, typer.Argument(help="COCO file, folder of label images or cut-outs, shards.")
]
_Invert = Annotated[
    bool, typer.Option("--invert", help="The slide has the highest number of a label image.")
]
_Brush = Annotated[
    bool, typer.Option("--brush", help="COCO masks marked iscrowd are single cells (CVAT).")
]


@app.command(cls=Command)
def show(
    bank: _Bank,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Picture to write (.png or .jpg).")
    ] = None,
    kind: _Kind = None,
    label: _Label = None,
    where: _Where = None,
    rejected: _Rejected = False,
    reason: Annotated[str | None, typer.Option(help="Why they were rejected.")] = None,
    cell: Annotated[str | None, typer.Option(help="One cell, by its id.")] = None,
    number: Annotated[int, typer.Option("-n", min=1, help="Cells in a row of the picture.")] = 12,
    root: Root = None,
    overwrite: Overwrite = False,
) -> None:
    """Count the cells that fit, and draw them in rows: by class and kind, or by reason.

    **Examples**

    ```
    naturalize cells show runs/bank
    naturalize cells show runs/bank --kind rbc --where area=3000: -o large.png
    naturalize cells show runs/bank --rejected --label SNE -o lost.png
    naturalize cells show runs/bank --cell 0123456789abcdef-0 -o cell.png
    ```
    """
    from naturalize.base.artifacts import check_file
    from naturalize.base.console import result
    from naturalize.base.images import write_image
    from naturalize.cells.bank import CellBank
    from naturalize.cells.pictures import AROUND, cell_picture, cells_sheet, grouped

    if out:
        check_file(out)
    opened = CellBank.load(bank, root=root)
    if cell is not None:
        row = opened.row(cell)
        for name, value in row.items():
            if name not in ("mask", "nucleus"):
                shown = f"{value:.4g}" if isinstance(value, float) else value
                result(f"{name:15} {'–' if value is None else shown}")
        if out:
            write_image(out, cell_picture(opened.cutout, cell))
            result(f"picture: {out}")
        return
    found = opened.cells(
        kind, label, accepted=not rejected, reason=reason, where=_ranges(where or [])
    )
    groups = grouped(found, opened.labels)
    for name, rows in groups.items():
        result(f"{rows.num_rows:8,}  {name}")
    title = f"{found.num_rows:,} cells of {len(opened):,}"
    result(f"{found.num_rows:8,}  cells of {len(opened):,}")
    if out and found.num_rows:
        around = AROUND if rejected or reason else 0
        write_image(out, cells_sheet(groups, opened.cutout, title, columns=number, around=around))
        result(f"picture: {out}")


@app.command("export", cls=Command)
def export_cells(
    bank: _Bank,
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder to write to.")],
    format: Annotated[
        str, typer.Option("--format", "-f", help="shards, coco, labels or rgba.")
    ] = "shards",
    kind: _Kind = None,
    label: _Label = None,
    where: _Where = None,
    everything: Annotated[bool, typer.Option("--all", help="Rejected cells too.")] = False,
    categories: Annotated[
        str | None, typer.Option(help="COCO categories: kind (the default) or label.")
    ] = None,
    root: Root = None,
    overwrite: Overwrite = False,
) -> None:
    """Write accepted cells for other software, with all that is needed to use them.

    Images are written upright: one with an EXIF orientation becomes a PNG of the turned pixels.

    shards: tar files of RGBA cut-outs and JSON (WebDataset), which can be imported again. coco:
    annotations.json with exact masks, and the images. labels: a 16-bit label image for each image,
    as for Cellpose. rgba: a transparent PNG for each cell, one folder a class.

    **Examples**

    ```
    naturalize cells export runs/bank -o shards
    naturalize cells export runs/bank -f coco --categories label -o coco
    naturalize cells export runs/bank -f labels --kind rbc --all -o red
    ```
    """
    from naturalize.base.console import result
    from naturalize.cells.bank import CellBank
    from naturalize.cells.exchange import export

    opened = CellBank.load(bank, root=root)
    found = opened.cells(
        kind, label, accepted=None if everything else True, where=_ranges(where or [])
    )
    options = {"categories": categories} if categories else {}
    written = export(opened, out, format=format, cells=found, **options)
    result(", ".join(f"{n:,} {what}" for what, n in written.items()))
    result(f"{format}: {out}")


@app.command("import", cls=Command)
def import_(
    source: _Source,
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder to write to.")],
    images: Annotated[
        Path | None, typer.Option(help="The images, where they are not beside the masks.")
    ] = None,
    format: Annotated[
        str, typer.Option("--format", "-f", help="auto, coco, labels, masks, rgba or shards.")
    ] = "auto",
    kind: _Kinds = None,
    meaning: _Meaning = None,
    invert: _Invert = False,
    brush: _Brush = False,
    to: Annotated[
        str, typer.Option(help="cells, bank, or auto: a bank where the source has classes.")
    ] = "auto",
    accept_all: Annotated[
        bool, typer.Option("--accept-all", help="Into a bank: take every cell, judge none.")
    ] = False,
    self_contained: Annotated[
        bool, typer.Option("--self-contained", help="Into a bank: copy the images too.")
    ] = False,
    workers: Workers = None,
    engine: Engine = "processes",
    overwrite: Overwrite = False,
) -> None:
    """Take in the masks of another tool; everything is measured anew on the images.

    coco: polygons or RLE. labels: masks named after their images (Cellpose's _masks or _cp_masks).
    masks: label images of kinds, as segment --masks writes. rgba: transparent cut-outs, the folder
    is the class. shards: what export wrote. Cells whose classes the source names become a bank;
    others become cells, to be banked with a catalog.

    What the numbers of label images mean is recognised where it is certain; otherwise the command
    asks for --meaning. What cannot be used is left out, counted by reason.

    **Examples**

    ```
    naturalize cells import annotations.json --images images -o cells
    naturalize cells import cellpose_out --images images --kind auto -o cells
    naturalize cells import nuclei --images images --meaning levels -o cells
    naturalize cells import cutouts --kind sickle=rbc -o bank
    naturalize bank cells --catalog runs/catalog -o bank
    ```
    """
    from naturalize.base.console import result
    from naturalize.cells.bank import CellBank
    from naturalize.cells.exchange import import_source
    from naturalize.inputs.images import summary

    made = import_source(
        source,
        out,
        to=to,
        backend=engine,
        workers=workers,
        format=format,
        images=images,
        kinds=_kinds(kind or []),
        meaning=meaning,
        invert=invert,
        brush=brush,
        judge=not accept_all,
        self_contained=self_contained,
    )
    if made == "bank":
        counts = CellBank.load(out).counts()
        for name, n in {**counts["targets"], **counts["accepted"]}.items():
            result(f"{name} {n:,} accepted")
        result(f"bank: {out}")
        return
    for line in summary(out):
        result(line)
    result(f"cells: {out}; next: naturalize bank {out} --catalog CATALOG -o BANK")


def _ranges(texts: list[str]) -> dict[str, tuple[float | None, float | None]]:
    """Return column → (low, high) of ``COLUMN=LOW:HIGH`` texts."""
    from naturalize.base.errors import SettingsError

    found = {}
    for text in texts:
        column, _, ends = text.partition("=")
        low, colon, high = ends.partition(":")
        try:
            bounds = (float(low) if low else None, float(high) if high else None)
        except ValueError:
            colon = ""
        if not colon or not column:
            raise SettingsError(f"--where {text}: expected COLUMN=LOW:HIGH, such as area=800:5000")
        found[column.strip()] = bounds
    return found


def _kinds(texts: list[str]) -> str | dict[str, str] | None:
    """Return the kinds of ``NAME=KIND`` texts, or the one kind for all."""
    from naturalize.base.errors import SettingsError

    named = dict(text.rpartition("=")[::2] for text in texts if "=" in text)
    plain = [text for text in texts if "=" not in text]
    if len(plain) > 1:
        raise SettingsError(f"--kind: {plain[0]} and {plain[1]} cannot both be for all others")
    return {**named, "*": plain[0]} if named and plain else (plain[0] if plain else named or None)
