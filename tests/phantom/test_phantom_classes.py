"""What tells the classes apart: shape does, colour alone does not."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage
from skimage.measure import euler_number, regionprops

from naturalize.dataset.phantom import CLASSES, PhantomImage, render_phantom

PER_CLASS = 30


@pytest.fixture(scope="module")
def smears() -> dict[str, list[PhantomImage]]:
    return {
        label: [render_phantom(label, 2, i, size=(180, 181)) for i in range(PER_CLASS)]
        for label in CLASSES
    }


def colour_features(image: np.ndarray) -> np.ndarray:
    pixels = image.reshape(-1, 3)
    parts = [pixels.mean(0), pixels.std(0)]
    parts += [np.histogram(pixels[:, c], 16, (0, 256))[0] / len(pixels) for c in range(3)]
    joint = pixels // 64 @ np.array([16, 4, 1])
    parts.append(np.bincount(joint, minlength=64) / len(pixels))
    return np.concatenate(parts)


def shape_features(phantom: PhantomImage) -> list[float]:
    """Features of the nucleus' true mask, in numbers a morphologist would name."""
    cell = phantom.target
    if cell.nucleus is None:
        return [float(cell.mask.sum()), 0, 0, 0, 0, 0, 0]
    found = regionprops(cell.nucleus.astype(np.uint8))[0]
    thick = depth(cell.nucleus)
    return [
        float(cell.mask.sum()),
        found.area / cell.mask.sum(),
        found.solidity,
        found.eccentricity,
        thick.max() / np.sqrt(cell.mask.sum()),
        lobes(cell.nucleus),
        float(euler_number(cell.nucleus)),
    ]


def depth(mask: np.ndarray) -> np.ndarray:
    """Return each pixel's distance to the edge, the window's border counting as edge."""
    return ndimage.distance_transform_edt(np.pad(mask, 1))[1:-1, 1:-1]


def lobes(nucleus: np.ndarray) -> int:
    """Return how many parts are left when all that is thinner than half the thickest is taken."""
    thick = depth(nucleus)
    return int(ndimage.label(thick > 0.5 * thick.max())[1])


def balanced_accuracy(features: np.ndarray, labels: list[str]) -> float:
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.metrics import balanced_accuracy_score
    from sklearn.model_selection import StratifiedKFold, cross_val_predict

    folds = StratifiedKFold(5, shuffle=True, random_state=0)
    model = RandomForestClassifier(200, random_state=0)
    return balanced_accuracy_score(labels, cross_val_predict(model, features, labels, cv=folds))


def test_colour_alone_stays_clearly_below_perfect_but_above_chance(smears):
    features = np.array([colour_features(p.image) for ps in smears.values() for p in ps])
    labels = [label for label, ps in smears.items() for _ in ps]
    assert 0.3 < balanced_accuracy(features, labels) < 0.85


def test_the_neutrophil_line_is_told_by_nuclear_shape_and_hardly_by_colour(smears):
    line = ("MY", "MMY", "BNE", "SNE")
    labels = [label for label in line for _ in range(PER_CLASS)]
    shape = np.array([shape_features(p) for label in line for p in smears[label]])
    colour = np.array([colour_features(p.image) for label in line for p in smears[label]])
    by_shape, by_colour = balanced_accuracy(shape, labels), balanced_accuracy(colour, labels)
    assert by_shape > 0.9
    assert by_colour < by_shape - 0.15


def median(smears: dict[str, list[PhantomImage]], label: str, column: int) -> float:
    return float(np.median([shape_features(p)[column] for p in smears[label]]))


def test_segmented_nuclei_have_three_to_five_lobes_others_one(smears):
    count = [lobes(p.target.nucleus) for p in smears["SNE"]]
    assert np.mean([3 <= n <= 5 for n in count]) > 0.6
    for label in ("BNE", "MY", "PMY", "ERB", "LY", "MMY"):
        assert np.mean([lobes(p.target.nucleus) == 1 for p in smears[label]]) > 0.8, label
    assert np.mean([lobes(p.target.nucleus) in (2, 3) for p in smears["EO"]]) > 0.7


def test_solidity_falls_from_myelocyte_to_metamyelocyte_to_band(smears):
    round_, bean, band = (median(smears, label, 2) for label in ("MY", "MMY", "BNE"))
    assert round_ > 0.96 > bean > 0.85 > band


def test_bands_have_an_even_width(smears):
    """The middle line's distance to the edge varies less than in a segmented nucleus."""
    from skimage.morphology import skeletonize

    def unevenness(phantom: PhantomImage) -> float:
        nucleus = phantom.target.nucleus
        widths = depth(nucleus)[skeletonize(nucleus)]
        return float(widths.std() / widths.mean())

    band, segmented = (
        np.median([unevenness(p) for p in smears[label]]) for label in ("BNE", "SNE")
    )
    assert band < 0.75 * segmented


def test_sizes_follow_blood(smears):
    size = {label: median(smears, label, 0) for label in CLASSES}
    assert size["PLT"] < size["ERB"] < size["LY"] < size["MY"]
    assert size["MO"] > size["LY"]
    assert size["PMY"] > size["MMY"]
    share = {label: median(smears, label, 1) for label in CLASSES if label != "PLT"}
    assert share["LY"] > share["ERB"]
    assert share["PMY"] > share["MMY"] > share["SNE"]


def test_eosinophils_are_the_redder_and_lymphocytes_the_bluer_cells(smears):
    def redness(label: str) -> float:
        values = []
        for phantom in smears[label]:
            cytoplasm = (phantom.label_image() == 1) & ~phantom.nucleus_image()
            r, _, b = phantom.image[cytoplasm].mean(0)
            values.append(r - b)
        return float(np.median(values))

    red = {label: redness(label) for label in CLASSES if label != "PLT"}
    assert max(red, key=red.__getitem__) == "EO"
    assert red["LY"] < red["SNE"] - 20


def test_background_and_light_say_nothing_about_the_class(smears):
    labels = [label for label, ps in smears.items() for _ in ps]
    empty = [p.image[p.instances == 0] for ps in smears.values() for p in ps]
    features = np.array([np.r_[np.median(e, 0), e.std(0)] for e in empty])
    assert balanced_accuracy(features, labels) < 0.22
