"""``naturalize adapt``: a model fitted to one laboratory, from its images alone or a few labels."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from naturalize.cli.options import ClassMap, Device, ModelArgument, Overwrite, ProfileFile

if TYPE_CHECKING:
    from naturalize.adaptation.adapt import Adapted


def adapt(
    model: ModelArgument,
    images: Annotated[
        list[Path],
        typer.Argument(help="The laboratory's images: files and folders.", show_default=False),
    ],
    out: Annotated[
        Path, typer.Option("--out", "-o", help="Folder for the new model.", show_default=False)
    ],
    labels: Annotated[
        Path | None,
        typer.Option(
            help="A few labelled cells: a folder of class folders, or a table with the columns "
            "path and label.",
            show_default=False,
        ),
    ] = None,
    merge: ClassMap = None,
    profile: ProfileFile = None,
    device: Device = "cpu",
    seed: Annotated[int, typer.Option(help="Seed of the cross-check.")] = 0,
    overwrite: Overwrite = False,
) -> None:
    """Fit a model to one laboratory, from its unlabelled images or with a few labels.

    Like cells should get one answer: answers are spread among cells with like features, and the
    network's last layer is fitted to them. 32 cells are needed, 200 are better, in the mix that
    the laboratory sees. A cross-check says whether it helped. If not, the new folder holds the
    model as it was, and the command says so. The new model is for this laboratory only.

    **Examples**

    ```
    naturalize adapt pbc11 images -o our-lab
    naturalize adapt pbc11 images -o our-lab --labels named --map Neutrophil=BNE+SNE
    naturalize adapt pbc11 images -o our-lab --labels labels.csv --profile lab.json
    naturalize predict images --model our-lab
    ```
    """
    from naturalize.adaptation.adapt import adapt as run
    from naturalize.base.console import result
    from naturalize.base.process import ready_for_networks

    ready_for_networks()
    found = run(
        model, images, out, labels=labels, merge=merge, profile=profile, device=device, seed=seed
    )
    for line in _lines(found):
        result(line)


def _lines(found: Adapted) -> list[str]:
    """Return what was measured, line by line."""
    check = found.check
    lines = [f"cells: {found.cells}"]
    if found.labelled:
        given = ", ".join(f"{name} {n}" for name, n in found.labelled.items())
        lines[0] += f", of them labelled: {given}"
    lines += [f"left out: {n} {reason}" for reason, n in found.left_out.items()]
    if found.absent:
        lines.append(f"no label means {', '.join(found.absent)}: answered as far as images say so")
    for what, (before, after) in (
        ("like cells answered alike", check.neighbours),
        ("turned and mirrored views answered alike", check.views),
    ):
        lines.append(f"{what}, on cells not fitted to: {before:.3f} before, {after:.3f} after")
    lines.append(f"models of either half answer alike: {check.stability:.3f}")
    if check.balanced is not None:
        before, after = check.balanced
        lines.append(
            f"balanced accuracy on labels left out: {before:.3f} before, {after:.3f} after"
        )
    if found.helped:
        return [*lines, f"helped by the cross-check; adapted model: {found.path}"]
    return [*lines, f"did not help by the cross-check; {found.path} holds the model unchanged"]
