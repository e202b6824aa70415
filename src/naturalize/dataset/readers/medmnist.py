"""Reader of MedMNIST ``.npz`` archives; their arrays become PNG files."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from naturalize.base.console import track
from naturalize.base.errors import InputError, SettingsError
from naturalize.base.images import write_image
from naturalize.dataset.readers.files import Item, Listing
from naturalize.dataset.readers.levels import PARTS
from naturalize.dataset.schemes import Scheme


def read_medmnist(file: Path, scheme: Scheme, images: Path) -> Listing:
    """Write the images of a MedMNIST archive to ``images`` and list them.

    The archive holds ``<part>_images`` (uint8, (N, H, W) or (N, H, W, 3)) and ``<part>_labels``
    (integers, (N, 1) or (N,)). Image *i* of a part becomes ``<part>/<i>.png``; PNG keeps every
    pixel. Class *k* is the *k*-th class of the scheme, or ``"k"`` under the scheme ``folders``
    (BloodMNIST: ``pbc8``). Images are read one at a time, so memory stays flat. ``InputError`` if
    the archive is damaged, lacks an array, or its arrays do not fit each other.
    """
    if scheme.name == "pbc11":
        raise SettingsError(
            f"{file}: MedMNIST numbers its classes and BloodMNIST has 8; "
            "use the scheme pbc8 or folders"
        )
    try:
        with zipfile.ZipFile(file) as archive:
            parts = [part for part in PARTS if f"{part}_images.npy" in archive.namelist()]
            if not parts:
                raise InputError(f"{file}: holds no train_images, val_images or test_images")
            items = [
                item for part in parts for item in _unpack(file, archive, part, scheme, images)
            ]
    except (zipfile.BadZipFile, zlib.error, EOFError) as error:
        raise InputError(f"{file}: not a readable .npz archive ({error})") from error
    return Listing(images, "medmnist", scheme, items)


def _unpack(
    file: Path, archive: zipfile.ZipFile, part: str, scheme: Scheme, images: Path
) -> Iterator[Item]:
    labels = _labels(file, archive, part, scheme)
    pixels = _rows(file, archive, f"{part}_images", len(labels))
    for i, image in enumerate(track(pixels, f"unpack {part}", len(labels))):
        rgb = image if image.ndim == 3 else np.repeat(image[:, :, None], 3, axis=2)
        path = f"{part}/{i:06d}.png"
        write_image(images / path, rgb)
        yield Item(path, labels[i], source_part=part)


def _labels(file: Path, archive: zipfile.ZipFile, part: str, scheme: Scheme) -> list[str]:
    name = f"{part}_labels"
    if f"{name}.npy" not in archive.namelist():
        raise InputError(f"{file}: lacks the array {name}")
    with archive.open(f"{name}.npy") as stream:
        try:
            values = np.lib.format.read_array(stream, allow_pickle=False)
        except ValueError as error:
            raise InputError(f"{file}: {name}: damaged array ({error})") from error
    if values.ndim == 2 and values.shape[1] > 1:
        raise InputError(f"{file}: {name}: {values.shape[1]} labels an image; expected one")
    if values.dtype.kind not in "iu":
        raise InputError(f"{file}: {name}: expected integers, found {values.dtype}")
    numbers = values.reshape(-1).tolist()
    if scheme.labels is None:
        width = len(str(max(numbers, default=0)))
        return [f"{number:0{width}d}" for number in numbers]
    if numbers and not 0 <= min(numbers) <= max(numbers) < len(scheme.labels):
        raise InputError(
            f"{file}: {name}: class numbers {min(numbers)} to {max(numbers)}, "
            f"but scheme {scheme.name} has {len(scheme.labels)} classes; use the scheme folders"
        )
    return [scheme.labels[number] for number in numbers]


def _rows(file: Path, archive: zipfile.ZipFile, name: str, n_labels: int) -> Iterator[np.ndarray]:
    """Yield the images of an array inside the archive without loading it whole."""
    with archive.open(f"{name}.npy") as stream:
        try:
            version = np.lib.format.read_magic(stream)
            read_header = (
                np.lib.format.read_array_header_1_0
                if version == (1, 0)
                else np.lib.format.read_array_header_2_0
            )
            shape, fortran, dtype = read_header(stream)
        except ValueError as error:
            raise InputError(f"{file}: {name}: damaged array ({error})") from error
        fits = len(shape) == 3 or (len(shape) == 4 and shape[3] == 3)
        if not fits or dtype != np.uint8 or fortran:
            raise InputError(
                f"{file}: {name}: expected uint8 (N, H, W) or (N, H, W, 3), found {dtype} {shape}"
            )
        if shape[0] != n_labels:
            raise InputError(f"{file}: {name}: {shape[0]} images, but {n_labels} labels")
        size = int(np.prod(shape[1:]))
        for _ in range(shape[0]):
            data = stream.read(size)
            if len(data) < size:
                raise InputError(f"{file}: {name}: the array ends too early")
            yield np.frombuffer(data, np.uint8).reshape(shape[1:])
