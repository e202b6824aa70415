"""``naturalize explain``: where a model looked, as overlays."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from naturalize.cli.options import ModelArgument, Overwrite, Standardise


def explain(
    model: ModelArgument,
    images: Annotated[
        list[Path], typer.Argument(help="Image files or folders of images.", show_default=False)
    ],
    out: Annotated[
        Path, typer.Option("--out", "-o", help="Folder for the explanation.", show_default=False)
    ],
    method: Annotated[
        list[str] | None,
        typer.Option(
            "--method",
            "-m",
            help="score-cam, grad-cam, grad-cam++, layer-cam, attention-rollout or "
            "attention-relevance; may be given again.  "
            "[default: those that fit the model]",
            show_default=False,
        ),
    ] = None,
    layer: Annotated[
        str | None, typer.Option(help="Layer of the CAMs.  [default: the last with maps]")
    ] = None,
    channels: Annotated[
        float,
        typer.Option(
            min=0,
            help="Masks Score-CAM uses an image; below 1: those of the channels that carry this "
            "share of the energy; 0: one a channel.",
        ),
    ] = 32,
    limit: Annotated[int, typer.Option(min=1, help="Most images of a folder to explain.")] = 100,
    checks: Annotated[
        bool, typer.Option(help="Test each map by insertion and deletion of pixels.")
    ] = True,
    training: Annotated[
        Path | None,
        typer.Option(
            help="The model's study folder, or its labelled training images: the nearest cells "
            "of them stand beside each explained one.  [default: the study that MODEL lies in]",
            show_default=False,
        ),
    ] = None,
    standardise: Standardise = "auto",
    overwrite: Overwrite = False,
) -> None:
    """Show where a model looked.

    Writes an overlay for each image and method, the heat maps as numbers (maps.npz), a sheet and
    explanations.json, which says how much of the heat lies on the cell, on red cells and on slide;
    checks.json says it by class, and how the answers change as pixels are put in and taken away.
    Images that do not look like the training images are standardised, as predict does, and
    explained by the network that answers for them. A killed run goes on where it stopped.

    **Examples**

    ```
    naturalize explain pbc11 cell.jpg -o why
    naturalize explain MODEL images --method score-cam --method grad-cam -o why
    naturalize explain MODEL images -m score-cam --channels 0.99 -o why-closely
    ```
    """
    from naturalize.base.artifacts import read_json
    from naturalize.base.console import result, say, warn
    from naturalize.base.process import ready_for_networks

    ready_for_networks()
    from naturalize.explain.picks import picks_of_files
    from naturalize.explain.sheet import heat_remark
    from naturalize.explain.write import explain_images
    from naturalize.inputs.trained_on import study_of, training_cells
    from naturalize.models.predictor import Predictor
    from naturalize.prediction.predictor import standardising

    root, picks = picks_of_files(images, limit=limit)
    paths = [root / pick.path for pick in picks]
    predictor = standardising(Predictor.load(model), paths, standardise)
    explain_images(
        predictor,
        picks,
        root,
        out,
        methods=method,
        layer=layer,
        channels=channels or None,
        checks=checks,
        training=training_cells(training or study_of(model)),
    )
    entries = read_json(out / "explanations.json")
    outside = sum(heat_remark(entry) is not None for entry in entries)
    if outside:
        say(f"{outside} of {len(entries)} maps have most of their heat outside the cell")
    found = read_json(out / "checks.json")
    reds = [label for label, its in found["classes"].items() if its["looks_at_red_cells"]]
    if reds:
        warn(f"the model looks at red cells for {', '.join(reds)}: more heat an area than the cell")
    for name, its in found["methods"].items():
        result(f"{name}: insertion {its['insertion_auc']:.3f}, deletion {its['deletion_auc']:.3f}")
    result(f"explanation: {out} (look at {out / 'sheet.jpg'})")
