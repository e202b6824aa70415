"""``naturalize predict``: images to a table of classes and probabilities."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from naturalize.cli.options import Device, ModelOption, Overwrite, ProfileFile, Standardise

if TYPE_CHECKING:
    from naturalize.models.predictor import NetworkPredictor
    from naturalize.prediction.files import Prediction
    from naturalize.prediction.standardise import Standardiser


Images = Annotated[
    list[Path], typer.Argument(help="Image files and folders of them.", show_default=False)
]
Table = Annotated[
    Path,
    typer.Option("--out", "-o", help="Table to write: .csv, .tsv, .xlsx, .parquet or .json."),
]
SaveProfile = Annotated[
    Path | None,
    typer.Option(help="Write the profile of these images to use again.", show_default=False),
]
Whole = Annotated[
    bool, typer.Option("--whole", help="One row an image, for fields of many cells too.")
]
Unsure = Annotated[
    float, typer.Option(min=0, max=1, help="Confidence below which a row is flagged.")
]
Prior = Annotated[
    str | None,
    typer.Option(
        metavar="CLASS=SHARE,…",
        help="Class mix of these cells, e.g. BNE+SNE=0.6,LY=0.3, or estimate.",
        show_default=False,
    ),
]
Views = Annotated[
    int | None,
    typer.Option(
        help="Views of a cell to average: 1, 4 (turned) or 8 (mirrored too).  [default: 4 of "
        "standardised images, 1 of others]",
        show_default=False,
    ),
]
Sets = Annotated[
    bool, typer.Option("--set", help="Add a column: all classes that the cell may well be.")
]
Sheet = Annotated[
    Path | None, typer.Option(help="Picture to write: cells by class.", show_default=False)
]
Batch = Annotated[int, typer.Option(min=1, help="Images a pass.")]
Engine = Annotated[
    str,
    typer.Option(
        help="What runs the network: onnx (fast on a processor, needs no PyTorch), torch, or "
        "auto (onnx if the model has a graph and the device is cpu)."
    ),
]


def predict(
    images: Images,
    model: ModelOption = "pbc11",
    out: Table = Path("predictions.csv"),
    standardise: Standardise = "auto",
    profile: ProfileFile = None,
    save_profile: SaveProfile = None,
    whole: Whole = False,
    unsure: Unsure = 0.5,
    prior: Prior = None,
    views: Views = None,
    sets: Sets = False,
    sheet: Sheet = None,
    batch: Batch = 32,
    device: Device = "cpu",
    engine: Engine = "auto",
    overwrite: Overwrite = False,
) -> None:
    """Classify the cell of each image, or every white cell of whole fields.

    Without --model, the model of 11 classes that comes with the package is used; nothing is
    downloaded. Prints a differential, and writes one row an image (of a field: one row a white
    cell) in the order given: path, label, confidence, prob_CLASS for each class, flag, and for
    fields the cell's number and box. Images without a cell are labelled so. The flag names what to
    check: standardised, unlike the training images, cell cut by the border, N white cells, unsure
    (and why: two classes, like nothing seen, low confidence); a file that cannot be read is a row
    with its error there.

    Images that do not look like those the model was trained on are standardised first: the white
    cell is found and set in the middle, scale and stain are brought to the model's. What is
    measured of a laboratory for this can be saved and used again.

    --prior weighs the probabilities by a class mix, against even shares: a stated one (classes not
    named share what is left), or the one that explains the answers for the whole set best. The
    table then has a column prior. --set adds a column of all classes that a cell may be: of images
    like those of the model's validation, it holds the true one nine times in ten, class by class.

    **Examples**

    ```
    naturalize predict images -o predictions.csv
    naturalize predict images -o predictions.xlsx --sheet predictions.jpg
    naturalize predict images --set
    naturalize predict many --save-profile lab.json
    naturalize predict one.jpg --profile lab.json
    naturalize predict images --prior BNE+SNE=0.6,LY=0.3 --views 4
    naturalize predict images --model runs/pbc11/models/plain --device cuda
    ```
    """
    from naturalize.base.errors import InputError, SettingsError
    from naturalize.base.process import ready_for_networks
    from naturalize.models.predictor import Predictor

    ready_for_networks()
    from naturalize.base.walk import find_images
    from naturalize.prediction.files import predict_files
    from naturalize.prediction.predictor import VIEWS
    from naturalize.prediction.prior import ESTIMATE, parse, under
    from naturalize.prediction.table import check_ending, write_predictions

    check_ending(out)
    _check_files(out, sheet, save_profile)
    paths = find_images(images)
    predictor = Predictor.load(model, device=device, engine=engine)
    if views is not None and views not in VIEWS:
        raise SettingsError(f"--views {views}: expected 1, 4 or 8")
    if prior is not None and prior != ESTIMATE:
        parse(prior, predictor.classes)  # before anything is read
    if sets and predictor.config.doubt is None:
        raise SettingsError(
            f"--set: {model} has no sets of classes; give it those with naturalize evaluate "
            "--doubt FOLDER, on images that it was not trained on"
        )
    standard = predictor.config.standard
    standardiser = _standardiser(standard, standardise, paths, profile, save_profile)
    how: dict[str, Any] = {
        "batch": batch,
        "unsure": unsure,
        "whole": whole,
        "views": views,
        "what": "predict",
    }
    rows = list(predict_files(predictor, paths, standardiser=standardiser, **how))
    if prior is not None:
        rows = under(rows, prior, predictor.classes, unsure=unsure)
    write_predictions(out, predictor.classes, rows, sets=sets)
    if all(row.error for row in rows):
        raise InputError(f"none of {len(rows)} files can be read; see the column flag in {out}")
    _print(predictor.classes, rows)
    _remarks(rows, standardiser)
    if sheet is not None:
        _write_sheet(sheet, rows, predictor, standardiser)
    _say_outcome(rows, out, estimated=prior == ESTIMATE)


def _check_files(*files: Path | None) -> None:
    from naturalize.base.artifacts import check_file

    for file in files:
        if file is not None:
            check_file(file)


def _write_sheet(
    sheet: Path, rows: Sequence[Prediction], predictor: NetworkPredictor, standardiser: Standardiser
) -> None:
    from naturalize.base.console import result
    from naturalize.base.images import write_image
    from naturalize.prediction.table import prediction_sheet

    picture = prediction_sheet(rows, predictor.classes, standardiser, predictor.config.view)
    write_image(sheet, picture)
    result(f"sheet: {sheet}")


def _say_outcome(rows: Sequence[Prediction], out: Path, *, estimated: bool) -> None:
    """Print what was written, of how many images and cells, and under which class mix."""
    from naturalize.base.console import result

    read = len({row.path for row in rows if not row.error})
    cells = sum(row.box is not None for row in rows)
    of_fields = f" ({cells} white cells in fields)" if cells else ""
    if said := next((row.prior for row in rows if row.prior), None):
        result(f"class mix ({'estimated' if estimated else 'stated'}): {said}")
    result(f"predictions of {read} images{of_fields}: {out}")


def _standardiser(
    standard: object,
    mode: str,
    paths: Sequence[Path],
    profile: Path | None,
    save_profile: Path | None,
) -> Standardiser:
    """Return a standardiser with a profile that was measured before, or on these images."""
    from naturalize.base.console import result
    from naturalize.base.errors import InputError, SettingsError
    from naturalize.models.config import Standard
    from naturalize.prediction.profile import Profile
    from naturalize.prediction.standardise import TO_KEEP, Standardiser

    assert standard is None or isinstance(standard, Standard)
    if standard is None and (profile or save_profile):
        raise SettingsError("this model has no standard, so no laboratory profile serves it")
    if profile is not None and standard is not None:
        return Standardiser(standard, mode, Profile.load(profile, standard))
    made = Standardiser(standard, mode)
    if save_profile is None:
        made.learn(paths)
    else:
        made.learn(paths, save_profile.stem, TO_KEEP)
    if save_profile is not None and standard is not None:
        if made.profile is None:
            raise InputError(
                "--save-profile: all these images look like the training images; there is nothing "
                "to standardise, and no profile is needed"
            )
        made.profile.save(save_profile, standard)
        result(f"profile of {made.profile.measured} images: {save_profile}")
    return made


def _print(classes: Sequence[str], rows: Sequence[Prediction]) -> None:
    """Print the differential to standard output."""
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table

    from naturalize.prediction.table import differential

    table = Table("class", "count", "%", "95 % interval", "flagged", box=SIMPLE_HEAD)
    for column in table.columns[1:]:
        column.justify = "right"
    for row in differential(classes, rows):
        if row.n:
            shares = ["", ""]
            if row.share is not None and row.low is not None and row.high is not None:
                shares = [f"{100 * row.share:.1f}", f"{100 * row.low:.1f} – {100 * row.high:.1f}"]
            flagged = str(row.flagged) if row.flagged else ""
            table.add_row(f"{row.code} {row.name}".rstrip(), str(row.n), *shares, flagged)
    Console(highlight=False).print(table)


def _remarks(rows: Sequence[Prediction], standardiser: Standardiser) -> None:
    """Say what is to be known of the rows as a whole."""
    from naturalize.base.console import remark, say, warn
    from naturalize.prediction.standardise import NO_WHITE_CELL

    fields = {row.path: None for row in rows if row.box is not None or row.label == NO_WHITE_CELL}
    if fields:
        first, more = next(iter(fields)), len(fields) - 1
        others = f" (and {more:,} more)" if more else ""
        remark(f"{first}: this is a field{others}; use naturalize read for all of its cells")

    bad = [row for row in rows if row.error]
    if bad:
        warn(f"{len(bad)} of {len(rows)} files could not be read: {bad[0].path}: {bad[0].error}")
    foreign = len({row.path for row in rows if "standardised" in row.flags})
    if foreign:
        profile = standardiser.profile
        by = f" by the profile {profile.name!r}" if profile is not None and profile.name else ""
        say(
            f"{foreign} images do not look like the training images and were standardised{by}; "
            "the figures on the model card do not hold for them"
        )
    unlike = sum(any(flag.startswith("unlike") for flag in row.flags) for row in rows)
    if unlike:
        say(f"{unlike} rows are unlike the training images in stain or sharpness: unsure")
