"""What a model was not made for is unsure, or has no cell: never a sure class."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import cv2
import numpy as np
import pytest
from scipy.spatial.distance import mahalanobis

from naturalize.base.images import content_hash, read_image, write_image
from naturalize.models.config import Typical
from naturalize.models.predictor import Predictor
from naturalize.models.shipped import find
from naturalize.prediction.domain import MEASURES, distance, measures, not_a_smear, typical
from naturalize.prediction.files import predict_files

SLIDE = (255.0, 228.0, 203.0)
#: Optical densities (red, green, blue) of a red cell and of a nucleus.
RED, NUCLEUS = (0.08, 0.12, 0.07), (0.46, 0.80, 0.17)


def smear(
    *,
    slide: tuple[float, float, float] = SLIDE,
    nucleus: tuple[float, float, float] = NUCLEUS,
    place: tuple[int, int] = (180, 180),
) -> np.ndarray:
    """A picture of four red cells around a nucleus, from the colours of stains alone."""
    density = np.zeros((360, 360, 3))
    for x, y in ((60, 60), (60, 290), (290, 70), (300, 300)):
        density[_disc(x, y, 36)] = RED
    density[_disc(*place, 50)] = nucleus
    return np.clip(np.array(slide) * 10**-density, 0, 255).round().astype(np.uint8)


def _disc(x: int, y: int, radius: int) -> np.ndarray:
    rows, columns = np.ogrid[:360, :360]
    return (columns - x) ** 2 + (rows - y) ** 2 <= radius**2


def test_measures_are_those_of_the_stains_that_were_drawn():
    found = dict(zip(MEASURES, measures(smear(), SLIDE), strict=True))
    middle = 270 * 270
    assert found["nuclear density"] == pytest.approx(0.80, abs=0.02)
    assert found["nuclear red"] == pytest.approx((0.46 + 0.02) / (0.80 + 0.02), abs=0.02)
    assert found["nuclear blue"] == pytest.approx((0.17 + 0.02) / (0.80 + 0.02), abs=0.02)
    assert found["red cells' red"] == pytest.approx((0.08 + 0.02) / (0.12 + 0.02), abs=0.05)
    assert 10 ** found["nuclear area"] == pytest.approx(np.pi * 50**2 / middle + 0.002, rel=0.05)
    assert found["nuclear place"] == pytest.approx(50 / np.sqrt(2) / 270, rel=0.05)
    corner = dict(zip(MEASURES, measures(smear(place=(240, 240)), SLIDE), strict=True))
    assert corner["nuclear place"] > 2 * found["nuclear place"]
    blurred = measures(cv2.GaussianBlur(smear(), (0, 0), 4), SLIDE)
    assert dict(zip(MEASURES, blurred, strict=True))["sharpness"] < found["sharpness"] - 1


@pytest.mark.parametrize("shape", [(1, 1), (2, 5), (17, 90), (90, 91), (40, 3000)])
def test_any_size_can_be_measured(shape):
    image = np.random.default_rng(0).integers(0, 256, (*shape, 3)).astype(np.uint8)
    assert np.isfinite(measures(image, SLIDE)).all()


def _grey(image: np.ndarray) -> np.ndarray:
    return cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)


@pytest.mark.parametrize(
    ("picture", "slide", "why"),
    [
        (smear(), SLIDE, None),
        (smear(slide=(205, 203, 200), nucleus=(0.2, 0.36, 0.0)), (205, 203, 200), None),
        (smear()[..., ::-1], SLIDE[::-1], "colours"),
        (_grey(smear()), (233, 233, 233), "colours"),
        (smear()[..., [0, 2, 1]], (255, 203, 228), "stain"),
        (smear(nucleus=(0.05, 0.09, 0.02)), SLIDE, "hardly any stain"),
        (smear() // 4, (63, 57, 50), "dark"),
        (np.full((360, 360, 3), SLIDE, np.uint8), SLIDE, "hardly any stain"),
    ],
)
def test_what_is_no_stained_smear_is_known_by_its_stain(picture, slide, why):
    found = not_a_smear(slide, measures(np.ascontiguousarray(picture), slide))
    assert (found is None) if why is None else (why in (found or ""))


def test_distance_is_mahalanobis_from_the_class_or_the_nearest_one():
    draw = np.random.default_rng(0)
    n = len(MEASURES)
    mix = draw.normal(size=(n, n))
    means = {"A": draw.normal(size=n), "B": draw.normal(size=n) + 5}
    labels = ["A", "B"] * 400
    rows = np.stack([means[name] for name in labels]) + draw.normal(size=(800, n)) @ mix
    found = typical(rows, labels)
    assert found is not None
    inverse = np.array(found.inverse)
    for place in (0, 1, 7):
        label = labels[place]
        expected = mahalanobis(rows[place], found.means[label], inverse) ** 2 / found.limit
        assert distance(found, label, rows[place])[0] == pytest.approx(expected)
        both = [mahalanobis(rows[place], mean, inverse) ** 2 for mean in found.means.values()]
        assert distance(found, "?", rows[place])[0] == pytest.approx(min(both) / found.limit)
    far = [distance(found, name, row)[0] for name, row in zip(labels, rows, strict=True)]
    assert np.mean(np.array(far) > 1) == pytest.approx(0.01, abs=0.002)
    assert typical(rows[:50], labels[:50]) is None
    assert Typical.parse({**found.__dict__}) == found


# -- the shipped model on real images ---------------------------------------------------------


@pytest.fixture(scope="module")
def unseen(real_data) -> list[Path]:
    """Images of the model's classes that it was not trained on, every tenth of them."""
    seen = set((find("pbc11") / "training_images.txt").read_text().split())
    paths = sorted((real_data / "pbc").rglob("*.jpg"))[::3]
    unknown = [path for path in paths if content_hash(path.read_bytes()) not in seen]
    return [p for p in unknown if not p.name.startswith(("IG_", "NEUTROPHIL_"))][:120]


@pytest.mark.real
def test_images_like_the_training_images_are_hardly_ever_in_doubt(unseen):
    rows = list(predict_files(Predictor.load("pbc11"), unseen))
    assert len(rows) == len(unseen)
    flags = Counter(flag for row in rows for flag in row.flags if flag.startswith("unlike"))
    assert sum(flags.values()) <= 0.025 * len(rows), flags
    assert sum(bool(row.flags) for row in rows) <= 0.06 * len(rows)  # some do show two cells


@pytest.mark.real
@pytest.mark.parametrize(
    "change",
    [
        _grey,
        lambda image: np.repeat(image[..., :1], 3, axis=2),
        lambda image: 255 - image,
        lambda image: image // 16,
        lambda image: image[..., ::-1],
        lambda image: image[..., [1, 2, 0]],
        lambda image: cv2.GaussianBlur(image, (0, 0), 5),
        lambda image: (200 + (image.astype(int) - 200) // 5).astype(np.uint8),
        lambda image: (image // 64 * 64 + 32).astype(np.uint8),
        lambda image: np.full_like(image, np.median(image[:8], axis=(0, 1)).astype(np.uint8)),
        lambda image: np.random.default_rng(0).integers(0, 256, image.shape).astype(np.uint8),
    ],
    ids=[
        "grey",
        "red-only",
        "inverted",
        "12-bit",
        "bgr",
        "gbr",
        "blurred",
        "pale",
        "posterised",
        "blank",
        "noise",
    ],
)
def test_other_pictures_are_never_sure(unseen, tmp_path, change):
    for i, path in enumerate(unseen[::15]):
        write_image(tmp_path / f"{i}.png", np.ascontiguousarray(change(read_image(path))))
    rows = list(predict_files(Predictor.load("pbc11"), sorted(tmp_path.iterdir())))
    assert rows
    for row in rows:
        assert row.label == "no cell" or "unsure" in row.flags, (row.label, row.flags)


@pytest.mark.real
def test_two_cells_in_one_image_are_mostly_flagged(unseen, tmp_path):
    images = [cv2.resize(read_image(path), (360, 363)) for path in unseen[5:105:5]]
    for i, (one, other) in enumerate(zip(images, images[1:] + images[:1], strict=True)):
        write_image(tmp_path / f"{i}.png", np.hstack([one[:, 90:270], other[:, 90:270]]))
    rows = list(predict_files(Predictor.load("pbc11"), sorted(tmp_path.iterdir())))
    assert np.mean([bool(row.flags) for row in rows]) >= 0.6
