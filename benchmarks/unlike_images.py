"""How often a model is sure of a picture that it was not made for, kind by kind.

    python -m benchmarks.unlike_images IMAGES [--model pbc11] [--take 60] [--seen FILE]

IMAGES are cell images named PREFIX_NUMBER as PBC's are; those in ``--seen`` (by default, the list
that comes with the model) are left out. Each is shown as it is, and changed in many ways; other
pictures are drawn, or cut from the photographs that come with scikit-image. *flagged*: with any
remark; *unsure*: flagged as unsure or answered "no cell"; *sure*: neither, at 0.9 or more; *sure
and wrong*: sure, and not the class in the file's name (pictures without a cell have no right one).
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
import skimage.data
from PIL import Image, ImageDraw, ImageFont

from naturalize.base.images import content_hash, read_image, write_image
from naturalize.base.rng import rng
from naturalize.base.walk import find_images
from naturalize.cells.segmenters import segmenter
from naturalize.dataset.schemes import SCHEMES
from naturalize.models.predictor import Predictor
from naturalize.models.shipped import find
from naturalize.prediction.files import Prediction, predict_files
from naturalize.restoration.restore import scene

Change = Callable[[np.ndarray], np.ndarray]

_PHOTOGRAPHS = ("astronaut", "chelsea", "coffee", "rocket", "immunohistochemistry", "retina")


def changes(draw: np.random.Generator) -> dict[str, Change]:
    """Return what is done to images that still show their cell."""

    def grey(image: np.ndarray) -> np.ndarray:
        return cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)

    def turned(image: np.ndarray) -> np.ndarray:
        height, width = image.shape[:2]
        return np.roll(image, (height // 2, width // 2), (0, 1))

    return {
        "as they are": lambda image: image,
        "grey": grey,
        "green channel only": lambda image: np.repeat(image[..., 1:2], 3, axis=2),
        "sepia": lambda image: (grey(image) * (1, 0.9, 0.8)).astype(np.uint8),
        "12 bits read as 16": lambda image: image // 16,
        "dark": lambda image: image // 3,
        "inverted": lambda image: 255 - image,
        "red and blue swapped": lambda image: image[..., ::-1],
        "green and blue swapped": lambda image: image[..., [0, 2, 1]],
        "half the colour": lambda image: ((image.astype(int) + grey(image)) // 2).astype(np.uint8),
        "a quarter of the contrast": lambda image: (150 + image // 4).astype(np.uint8),
        "out of focus (σ 3)": lambda image: cv2.GaussianBlur(image, (0, 0), 3),
        "out of focus (σ 6)": lambda image: cv2.GaussianBlur(image, (0, 0), 6),
        "noise (σ 40)": lambda image: _clip(image + draw.normal(0, 40, image.shape)),
        "cut into four, corners inward": turned,
    }


def drawn(draw: np.random.Generator, n: int) -> dict[str, Iterator[np.ndarray]]:
    """Return pictures of no cell."""
    shape = (363, 360, 3)

    def blank() -> Iterator[np.ndarray]:
        for i in range(n):
            slide = np.array([(255, 228, 203), (224, 217, 232), (240, 240, 240)][i % 3], float)
            yield _clip(slide + draw.normal(0, draw.uniform(0, 3), shape))

    def text() -> Iterator[np.ndarray]:
        for i in range(n):
            page = Image.new("RGB", (360, 363), ["white", "#ffe4cb", "#f0e6eb"][i % 3])
            pen, font = ImageDraw.Draw(page), ImageFont.load_default(10 + i % 3 * 8)
            for y in range(4, 360, 14 + i % 3 * 8):
                line = "".join(draw.choice(list("abcdefgh ijklmnop"), 60))
                pen.text((4, y), line, fill=["black", "#3c1478", "#28285a"][i % 3], font=font)
            yield np.array(page)

    def photograph() -> Iterator[np.ndarray]:
        for i in range(n):
            whole = getattr(skimage.data, _PHOTOGRAPHS[i % len(_PHOTOGRAPHS)])()[..., :3]
            y, x = (int(draw.integers(0, side - 290)) for side in whole.shape[:2])
            part = np.ascontiguousarray(whole[y : y + 290, x : x + 288])
            yield cv2.resize(part, shape[1::-1], interpolation=cv2.INTER_CUBIC)

    noise = (draw.integers(0, 256, shape).astype(np.uint8) for _ in range(n))
    return {"blank slide": blank(), "text": text(), "photographs": photograph(), "noise": noise}


def without_cell(images: list[Path]) -> Iterator[np.ndarray]:
    """Yield images whose white cells were taken out."""
    finder = segmenter()
    for path in images:
        image = read_image(path)
        cells = finder.segment(image).cells
        if any(cell.kind == "wbc" for cell in cells):
            yield scene(image, cells, remove="white", key=path.name).image


def two_cells(images: list[Path]) -> Iterator[np.ndarray]:
    """Yield pictures that show the middle of two images side by side."""
    for one, other in zip(images, images[1:] + images[:1], strict=True):
        halves = [cv2.resize(read_image(path), (360, 363))[:, 90:270] for path in (one, other)]
        yield np.hstack(halves)


def _clip(values: np.ndarray) -> np.ndarray:
    return np.clip(values, 0, 255).astype(np.uint8)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("images", type=Path)
    parser.add_argument("--model", default="pbc11")
    parser.add_argument("--take", type=int, default=60)
    parser.add_argument("--seen", type=Path)
    options = parser.parse_args()
    folder = find(options.model)
    predictor = Predictor.load(folder)
    listed = options.seen or folder / "training_images.txt"
    seen = set(listed.read_text().split()) if listed.is_file() else set()
    known = {
        path: SCHEMES["pbc11"].prefixes.get(path.stem.rsplit("_", 1)[0])
        for path in find_images([options.images])
    }
    unseen = [p for p in known if known[p] and content_hash(p.read_bytes()) not in seen]
    order = rng(0, "unlike").permutation(len(unseen))
    print(f"| picture ({predictor.config.architecture}) | n | flagged | unsure | sure | sure and "
          "wrong |\n|---|--:|--:|--:|--:|--:|")  # fmt: skip
    all_of_them = [unseen[i] for i in order]
    _row(
        "all held out", list(predict_files(predictor, all_of_them)), [known[p] for p in all_of_them]
    )
    images = all_of_them[: options.take]
    labels = [known[path] for path in images]
    draw = rng(0, "pictures")
    with tempfile.TemporaryDirectory() as work:
        for what, change in changes(draw).items():
            made = (np.ascontiguousarray(change(read_image(path))) for path in images)
            _show(Path(work), predictor, what, made, labels)
        _show(Path(work), predictor, "two cells", two_cells(images), [None] * len(images))
        _show(Path(work), predictor, "white cell taken out", without_cell(images), None)
        for what, pictures in drawn(draw, options.take).items():
            _show(Path(work), predictor, what, pictures, None)


def _show(
    work: Path,
    predictor: Predictor,
    what: str,
    pictures: Iterator[np.ndarray],
    labels: list[str | None] | None,
) -> None:
    paths = []
    for i, picture in enumerate(pictures):
        paths.append(work / f"{what.replace(' ', '-')}-{i:04d}.png")
        write_image(paths[-1], picture)
    found = list(predict_files(predictor, paths))
    _row(what, found, labels if labels is not None else [None] * len(found))


def _row(what: str, found: list[Prediction], labels: list[str | None]) -> None:
    unsure = [row.confidence is None or "unsure" in row.flags for row in found]
    flagged = [bool(row.flags) or row.confidence is None for row in found]
    sure = [not u and (row.confidence or 0) >= 0.9 for u, row in zip(unsure, found, strict=True)]
    plain = [s and not f for s, f in zip(sure, flagged, strict=True)]
    wrong = [s and row.label != y for s, row, y in zip(plain, found, labels, strict=True)]
    shares = (sum(values) / len(found) for values in (flagged, unsure, plain, wrong))
    print(f"| {what} | {len(found)} | " + " | ".join(f"{share:.3f}" for share in shares) + " |",
          flush=True)  # fmt: skip


if __name__ == "__main__":
    main()
