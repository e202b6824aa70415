"""The command line's table of contents: which commands there are, and how errors end."""

from __future__ import annotations

import sys
from importlib import import_module
from typing import Annotated

import typer

from naturalize.cli.options import Group

#: Group heading → commands, in the order of the work. Each lives in its own file of this folder.
COMMANDS = {
    "All in one": ["run", "demo"],
    "Stage by stage": [
        "catalog", "split", "segment", "bank", "background", "compose", "realism", "train",
        "evaluate", "compare", "explain", "report",
    ],
    "Data and models": [
        "cells", "data", "weights", "phantom", "models", "ensemble", "export", "predict",
    ],
}  # fmt: skip


def build_app() -> typer.Typer:
    """Return the typer application with every command registered."""
    app = typer.Typer(
        name="naturalize",
        cls=Group,
        no_args_is_help=True,
        rich_markup_mode="markdown",
        context_settings={"help_option_names": ["-h", "--help"]},
        pretty_exceptions_enable=False,
        help="From a few, imbalanced images of blood cells to a classifier that can be trusted, "
        "with every synthetic pixel accounted for.",
        epilog="Start with `naturalize demo`. Every command has `--help` with examples.",
    )
    app.callback()(_options)
    for heading, names in COMMANDS.items():
        for name in names:
            module = import_module(f"naturalize.cli.{name}")
            if hasattr(module, "app"):
                app.add_typer(module.app, name=name, rich_help_panel=heading)
            else:
                app.command(name, rich_help_panel=heading)(getattr(module, name))
    return app


def _tell_version(wanted: bool) -> None:
    if wanted:
        import naturalize

        typer.echo(f"naturalize {naturalize.__version__}")
        raise typer.Exit


def _options(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_tell_version, is_eager=True, help="Print the version."),
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress, no talk.")] = False,
) -> None:
    from naturalize.base.console import console

    console.quiet = quiet


#: What networks need, which a plain installation leaves out: module → what it is called.
_TRAINING = {
    "torch": "PyTorch",
    "timm": "timm",
    "lightning": "Lightning",
    "safetensors": "safetensors",
}


def run_app(arguments: list[str] | None = None) -> None:
    """Run the command line; a user's mistake ends in one line and exit code 2."""
    from naturalize.base.errors import MissingExtraError, NaturalizeError

    try:
        build_app()(args=arguments)
    except NaturalizeError as error:
        _fail(f"error: {error}", 2)
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package not in _TRAINING:
            raise
        _fail(f"error: {MissingExtraError(_TRAINING[package], 'train')}", 2)
    except KeyboardInterrupt:
        _fail("stopped; the same command goes on from here", 130)
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(0)


def _fail(message: str, code: int) -> None:
    print(message.replace("\n", " "), file=sys.stderr)
    sys.exit(code)
