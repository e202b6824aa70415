"""The one console and the one progress bar.

Results go to standard output (`result`), so that ``> file`` and pipes receive them;
progress, remarks and warnings go to standard error.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sized
from typing import TypeVar

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

T = TypeVar("T")

console = Console(stderr=True, highlight=False)


def progress_bar() -> Progress:
    """Return the project's progress bar, to be used as a context manager."""
    return Progress(
        TextColumn("[bold]{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(compact=True),
        TextColumn("{task.fields[note]}"),
        console=console,
        disable=console.quiet or not console.is_terminal,
    )


def track(items: Iterable[T], what: str, total: int | None = None, *, step: int = 1) -> Iterator[T]:
    """Yield ``items``, showing a bar headed ``what``; off a terminal, a line each 30 seconds.

    ``total`` counts in the same units as ``step``, which is what one item moves the bar by.
    """
    if total is None and isinstance(items, Sized):
        total = len(items) * step
    said = time.monotonic()
    with progress_bar() as bar:
        task = bar.add_task(what, total=total, note="")
        for number, item in enumerate(items, start=1):
            yield item
            done = number * step if total is None else min(number * step, total)
            bar.update(task, completed=done)
            if bar.disable and time.monotonic() - said > 30:
                said = time.monotonic()
                console.print(f"{what}: {done}/{total or '?'}")


def result(text: str) -> None:
    """Print one line of a command's result to standard output, as it is: no markup, no wrapping.

    Results are what a command was called for: counts, scores, tables, and the path it wrote to.
    """
    print(text)


def say(text: str) -> None:
    """Print one remark to standard error; ``rich`` markup is understood."""
    console.print(text, soft_wrap=True)


def remark(text: str) -> None:
    """Print one remark as it is: names of files and folders in it are no markup."""
    console.print(text, markup=False, soft_wrap=True)


def warn(text: str) -> None:
    """Print one warning line for the user."""
    console.print("[yellow]warning:[/yellow] ", end="")
    console.print(text, markup=False, soft_wrap=True)
