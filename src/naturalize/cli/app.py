"""The command line's table of contents: which commands there are, and how errors end."""

from __future__ import annotations

import inspect
import sys
from importlib import import_module
from typing import Annotated, Any

import typer
from typer.core import TyperCommand

from naturalize.cli.options import Command, Group

#: Group heading → commands, in the order of the work. Each lives in its own file of this folder.
COMMANDS = {
    "All in one": ["init", "run", "demo"],
    "Stage by stage": [
        "catalog", "audit-labels", "split", "segment", "bank", "background", "compose", "realism",
        "train", "evaluate", "compare", "labs", "explain", "report",
    ],
    "Data and models": [
        "cells", "data", "weights", "phantom", "models", "ensemble", "export", "adapt", "predict",
        "read", "review",
    ],
}  # fmt: skip


class _Commands(Group):
    """The group of all commands; builds a command when it is asked for, so that help is quick."""

    _listing = False

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        # the names that a misspelt one is compared with
        self.commands = {name: TyperCommand(name) for name in self.list_commands(None)}

    def list_commands(self, _ctx: Any) -> list[str]:
        """Return the names of all commands, in the order of the work."""
        return [name for names in COMMANDS.values() for name in names]

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """Return a command by name; in a list of commands, only what the list shows of it."""
        heading = next((h for h, names in COMMANDS.items() if cmd_name in names), None)
        if heading is None:
            return None
        name = cmd_name.replace("-", "_")
        module = import_module(f"naturalize.cli.{name}")
        group = getattr(module, "app", None)
        if self._listing:
            shown = f"_{name}" if group is not None else name
            text = inspect.cleandoc(getattr(module, shown).__doc__ or "")
            return TyperCommand(cmd_name, help=text, rich_help_panel=heading)
        if group is None:
            group = typer.Typer(add_completion=False, rich_markup_mode="markdown")
            group.command(cmd_name, cls=Command)(getattr(module, name))
        group._add_completion, group.rich_markup_mode = False, "markdown"
        command = typer.main.get_command(group)
        command.name = cmd_name
        return command

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Write the list of commands."""
        self._listing = True
        super().format_help(ctx, formatter)
        self._listing = False


def build_app() -> typer.Typer:
    """Return the typer application; its commands are built when they are asked for."""
    app = typer.Typer(
        name="naturalize",
        cls=_Commands,
        no_args_is_help=True,
        rich_markup_mode="markdown",
        context_settings={"help_option_names": ["-h", "--help"]},
        pretty_exceptions_enable=False,
        help="From a few, imbalanced images of blood cells to a classifier that can be trusted, "
        "with every synthetic pixel accounted for.",
        epilog="Start with `naturalize demo`. Every command has `--help` with examples.",
    )
    app.callback()(_options)
    return app


def _show_version(wanted: bool) -> None:
    if wanted:
        from naturalize import __version__

        typer.echo(f"naturalize {__version__}")
        raise typer.Exit


def _options(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version."),
    ] = False,
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", help="No progress and no remarks.")
    ] = False,
) -> None:
    from naturalize.base.console import console

    console.quiet = quiet


#: What networks need, which a plain installation leaves out: module → what it is called.
_TRAINING = {
    "torch": "PyTorch",
    "timm": "timm",
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
