"""``naturalize models``: which networks there are, how large, and whose weights are here."""

from __future__ import annotations

from typing import Annotated

import typer


def models(
    pattern: Annotated[
        str | None,
        typer.Argument(help="Any timm names, * for anything.  [default: the usual ones]"),
    ] = None,
    classes: Annotated[
        int, typer.Option(min=2, help="Classes, which count as parameters too.")
    ] = 11,
) -> None:
    """List the networks that can be trained by name.

    Shows for each its parameters, the side of its own input in pixels, and where ImageNet weights
    are on this machine: in a pip package, in timm's cache, or absent. Names may also be written as
    papers do (EfficientNetV2-B0); cbam:NAME+NAME is a CBAM ensemble.

    **Examples**

    ```
    naturalize models
    naturalize models "resnet*"
    naturalize train runs/pbc11 --model EfficientNetV2-B0 -o model
    ```
    """
    from naturalize.base.console import result, say
    from naturalize.models.zoo import find, listed, ways

    names = find(pattern)
    width = max(map(len, names))
    result(f"{'name':<{width}}  parameters   input  weights  in papers".rstrip())
    absent = []
    for row in listed(names, classes):
        said = f"{row.name:<{width}}  {row.parameters / 1e6:>8.1f} M  {row.input_size:>3} px"
        result(f"{said}  {row.weights:<7}  {row.spoken or ''}".rstrip())
        absent += [row.name] if row.weights == "absent" else []
    for way in ways(absent):
        say(f"absent weights: {way}")
    if pattern is None:
        say('any other timm name works too: naturalize models "resnet*"')
