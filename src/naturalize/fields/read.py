"""Reading a field: its cells found, its scale and stain measured, its white cells named."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from naturalize.base.engine import available_cpus
from naturalize.base.errors import SettingsError
from naturalize.cells.segmentation import Cell, Segmentation
from naturalize.cells.segmenters import segmenter
from naturalize.cells.tiling import Tiled
from naturalize.fields.cell import FieldCell
from naturalize.fields.field import Field
from naturalize.fields.outcome import BAD, flags_of, outcome_of, red_cell
from naturalize.fields.pixels import whole
from naturalize.models.predictor import NetworkPredictor, Predictor
from naturalize.prediction.files import DOUBTFUL, UNSURE, Prediction, predict_cells
from naturalize.prediction.profile import Profile
from naturalize.prediction.scene import TILED, Scene, main_cell, scene_by, whites_of
from naturalize.prediction.standardise import Standardised, Standardiser

#: White cells whose pictures are held at a time.
_AT_ONCE = 32

#: What ``predict`` says of a cut cell; here any kind of cell is flagged, in its own words.
_CUT = "cell cut by the border"


def read(
    image: np.ndarray | str | Path,
    model: str | Path | NetworkPredictor = "pbc11",
    *,
    profile: str | Path | None = None,
    unsure: float = UNSURE,
) -> Field:
    """Find every cell of an image and name the white ones.

    Parameters
    ----------
    image
        RGB uint8 (H, W, 3), or the path of an image file: a field of any size, or one cell.
    model
        A model folder, the name of a shipped one, or an open predictor.
    profile
        The file of a laboratory profile; by default scale and stain are measured on the
        image itself.
    unsure
        Confidence below which a class is flagged.

    Raises
    ------
    ImageReadError
        If the file cannot be read.
    SettingsError
        If ``image`` is an array of another kind, or the model does not say what its training images
        looked like.
    """
    predictor, standardiser = open_reader(model, profile)
    name, of_file = "image", tuple[str, ...]()
    if isinstance(image, str | Path):
        name = Path(image).name
        image, of_file = whole(Path(image))
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or not image.size:
        raise SettingsError(f"image: expected RGB uint8 (H, W, 3), got {image.dtype} {image.shape}")
    found = finder(available_cpus()).segment(image)
    return named(name, image, found, predictor, standardiser, unsure, of_file)


def open_reader(
    model: str | Path | NetworkPredictor, profile: str | Path | None = None, *, device: str = "cpu"
) -> tuple[NetworkPredictor, Standardiser]:
    """Return what names white cells, and what brings them to its standard.

    ``SettingsError`` if the model does not say what its training images looked like.
    """
    if isinstance(model, NetworkPredictor):
        predictor, what = model, "this model"
    else:
        predictor, what = Predictor.load(model, device=device), str(model)
    if (standard := predictor.config.standard) is None:
        raise SettingsError(
            f"{what}: does not say what its training images looked like, so cells of fields cannot "
            "be brought to it; train it with a cell bank"
        )
    found = None if profile is None else Profile.load(Path(profile), standard)
    return predictor, Standardiser(standard, profile=found)


def finder(threads: int = 1) -> Tiled:
    """Return what finds the cells of a field, so many tiles at a time."""
    return Tiled(segmenter(), above=TILED, threads=threads)


def named(
    name: str,
    image: np.ndarray,
    found: Segmentation,
    predictor: NetworkPredictor,
    standardiser: Standardiser,
    unsure: float = UNSURE,
    of_file: tuple[str, ...] = (),
) -> Field:
    """Return a field of which the cells are found: white cells named, all flagged, its outcome.

    White cells go to the model as `naturalize.prediction` brings them to it: at its scale, in its
    stain and sharpness. ``image``: RGB uint8 (H, W, 3), the pixels of ``found``; ``of_file``: what
    is to be said of its file, at each white cell.
    """
    standard = standardiser.standard
    assert standard is not None
    group = None
    if standardiser.profile is not None:
        group = standardiser.profile.nearest(image, found.background, standard)
    scene = scene_by(image, 1.0, found, group, standard)
    answers: dict[int, Prediction] = {}
    asked = _asked(scene, standardiser)
    while piece := list(itertools.islice(asked, _AT_ONCE)):
        cells, made = zip(*piece, strict=True)
        rows = predict_cells(predictor, standardiser, Path(name), made, unsure=unsure)
        answers |= {id(cell): row for cell, row in zip(cells, rows, strict=True)}
    outcome = outcome_of(image, scene.found)
    named_cells = tuple(
        _field_cell(number, cell, flags, answers.get(id(cell)), outcome, of_file)
        for number, (cell, flags) in enumerate(
            zip(scene.found.cells, flags_of(image, scene.found), strict=True), start=1
        )
    )
    width = red_cell(scene.found)
    return Field(name, image, tuple(predictor.classes), named_cells, outcome, width)


def _asked(scene: Scene, standardiser: Standardiser) -> Iterator[tuple[Cell, Standardised]]:
    """Yield each white cell and its picture; that of an image of one cell is the image itself."""
    main, alone = main_cell(scene.found), standardiser.of_one_cell(scene)
    for cell, made in zip(whites_of(scene.found), standardiser.white_cells(scene), strict=True):
        yield cell, alone if alone is not None and cell is main else made


def _field_cell(
    number: int,
    cell: Cell,
    flags: tuple[str, ...],
    answer: Prediction | None,
    outcome: str,
    of_file: tuple[str, ...],
) -> FieldCell:
    """Return a cell with its flags, and a white cell's class as ``predict`` gives it."""
    if answer is None:
        return FieldCell(number, cell, flags=flags)
    said = [*of_file, *(flag for flag in answer.flags if flag != _CUT)]
    if answer.probabilities is None:
        return FieldCell(number, cell, flags=(*flags, *said, f"{DOUBTFUL}: {answer.label}"))
    if outcome in BAD:
        said = [flag for flag in said if not flag.startswith(DOUBTFUL)]
        said.append(f"{DOUBTFUL}: {outcome}")
    return FieldCell(
        number, cell, answer.label, answer.confidence, answer.probabilities, (*flags, *said)
    )
