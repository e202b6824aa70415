"""What all commands have in common: ``--overwrite``, ``~`` as the home folder, no web addresses."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Annotated

import typer
from typer.core import TyperCommand, TyperGroup, TyperOption

from naturalize.base.errors import InputError, SettingsError
from naturalize.base.text import expanded


class Group(TyperGroup):
    """The group of all commands; ``~`` stands for the home folder wherever a path may be."""

    def parse_args(self, ctx: typer.Context, args: list[str]) -> list[str]:  # type: ignore[override]
        """Parse the whole command line."""
        web = next((arg for arg in args if arg.startswith(("http://", "https://"))), None)
        if web and not {"weights", "fetch"} <= set(args):
            raise InputError(f"{web}: a web address; download it, and name the file or folder")
        return super().parse_args(ctx, [expanded(arg) for arg in args])


class Command(TyperCommand):
    """A command in which an option of one value is given once: no value is dropped in silence."""

    def parse_args(self, ctx: typer.Context, args: list[str]) -> list[str]:  # type: ignore[override]
        """Parse the command's own part of the line."""
        *_, given = self.make_parser(ctx).parse_args(args=list(args))
        for option, times in Counter(given).items():
            one = isinstance(option, TyperOption) and not (option.multiple or option.is_flag)
            if one and times > 1:
                raise SettingsError(
                    f"{option.opts[0]} is given {times} times, and takes one value; give it once"
                )
        return super().parse_args(ctx, args)


def _allow(ctx: typer.Context, wanted: bool) -> None:
    from naturalize.base.artifacts import replacing

    if wanted:
        ctx.with_resource(replacing())


#: Where and how work over many images is done.
Workers = Annotated[
    int | None, typer.Option(min=1, help="Workers to use.  [default: all processors]")
]
Engine = Annotated[str, typer.Option(help="serial, processes or ray.")]

#: Where images are that have moved since their catalog, bank or plan was written.
Root = Annotated[Path | None, typer.Option(help="Where the images are now.", show_default=False)]

Scheme = Annotated[str, typer.Option(help="Classes: pbc11, pbc8, or folders (as they are found).")]

#: How labelled images are read, in every command that reads them.
Reader = Annotated[
    str,
    typer.Option(
        help="How labelled images are read: auto, folders, prefix, csv, medmnist, or what the "
        "levels of folders are, e.g. part/class or patient/*/class."
    ),
]

#: What a table of images calls its columns.
Columns = Annotated[
    list[str] | None,
    typer.Option(
        "--column",
        metavar="NAME=COLUMN",
        help="What a table calls the column path, label, group or part; can be given again.",
    ),
]

#: Which model is asked, where it is the first thing named, and where it is an option.
ModelArgument = Annotated[
    str,
    typer.Argument(
        metavar="MODEL",
        help="A model folder, or the name of a shipped one: pbc11.",
        show_default=False,
    ),
]
ModelOption = Annotated[
    str, typer.Option("--model", "-m", help="A model folder, or the name of a shipped model.")
]
Device = Annotated[str, typer.Option(help="cpu, cuda or mps.")]

#: How images from elsewhere are brought to a model's.
Standardise = Annotated[
    str,
    typer.Option(help="Bring images from elsewhere to the model's: auto, always or never."),
]
ProfileFile = Annotated[
    Path | None,
    typer.Option(
        "--profile",
        help="Laboratory profile of these images, measured before.",
        show_default=False,
    ),
]

#: Which of the labelled images are scored, over which classes, and with which intervals.
Part = Annotated[str, typer.Option(help="Part of a split, or all.")]
ClassMap = Annotated[
    list[str] | None,
    typer.Option(
        "--map",
        metavar="CLASS=A+B,…",
        help="Which of the model's classes make up one of the images', e.g. "
        "Neutrophil=BNE+SNE,Eosinophil=EO; can be given again.",
    ),
]
OnlyMapped = Annotated[
    bool,
    typer.Option(
        "--only-mapped", help="Ask which of the mapped classes it is, as if others cannot be."
    ),
]
Resamples = Annotated[int, typer.Option(min=100, help="Resamples of the intervals.")]
Seed = Annotated[int, typer.Option(help="Seed of the intervals.")]


def columns_of(texts: list[str] | None) -> dict[str, str]:
    """Return ``path=file`` texts as a dictionary."""
    from naturalize.base.errors import unknown

    found: dict[str, str] = {}
    for text in texts or ():
        name, sign, column = (piece.strip() for piece in text.partition("="))
        if not sign or not column:
            raise SettingsError(f"--column {text}: expected NAME=COLUMN, such as path=file")
        if name not in ("path", "label", "group", "part"):
            raise unknown("column", name, ["path", "label", "group", "part"])
        found[name] = column
    return found


def fractions_of(text: str) -> list[float]:
    """Return ``"0.7,0.1,0.2"`` as numbers."""
    try:
        return [float(piece) for piece in text.split(",")]
    except ValueError as error:
        raise SettingsError(
            f"--fractions: expected three numbers such as 0.7,0.1,0.2, got {text!r}"
        ) from error


#: Last parameter of every command that writes; nothing is passed on: it sets ``replacing``.
Overwrite = Annotated[
    bool,
    typer.Option(
        "--overwrite",
        callback=_allow,
        expose_value=False,
        help="Replace what was made there from another source.",
    ),
]
