"""Writes the command-line reference from the commands themselves while the site is built."""

from __future__ import annotations

import inspect
from typing import Any

import click
import typer

PLACE = "<!-- commands -->"


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Put the reference of every command where the page asks for it."""
    if PLACE not in markdown:
        return markdown
    from naturalize.cli.app import build_app

    group = typer.main.get_command(build_app())
    return markdown.replace(PLACE, "\n".join(_section("naturalize", group)))


def _section(name: str, command: Any) -> list[str]:
    if hasattr(command, "list_commands"):
        lines = [] if name == "naturalize" else [f"## `{name}`", "", command.help or ""]
        context = click.Context(command, info_name=name)
        return lines + [
            line
            for key in command.list_commands(context)
            for line in _section(f"{name} {key}", command.get_command(context, key))
        ]
    context = click.Context(command, info_name=name)
    usage = " ".join([name, *command.collect_usage_pieces(context)])
    text = inspect.cleandoc(command.help or "").replace("\b", "").replace("\f", "")
    return [
        f"## `{name}`",
        "",
        "```console",
        f"$ {usage}",
        "```",
        "",
        text,
        "",
        *_options(command),
        "",
    ]


def _options(command: Any) -> list[str]:
    rows = ["| option | meaning | default |", "|---|---|---|"]
    for parameter in command.params:
        names = ", ".join(f"`{o}`" for o in parameter.opts) if parameter.opts else parameter.name
        if parameter.param_type_name == "argument":
            names = f"`{(parameter.name or '').upper()}`"
        meaning = (getattr(parameter, "help", "") or "").replace("|", "\\|")
        default = parameter.default
        shown = "" if default is None or callable(default) or default is False else f"`{default}`"
        rows.append(f"| {names} | {meaning} | {shown} |")
    return rows
