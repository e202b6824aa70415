"""Source images of a bank: read when asked for, kept for a while, checked if so wished."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from naturalize.base.errors import ArtifactError, ImageReadError
from naturalize.base.images import content_hash, decode_image, read_bytes

#: Decoded source images kept in memory (about 0.4 MB each for PBC).
_KEPT = 64

_ADVICE = (
    "the bank points into it: bring the file back, or say where the images are now with --root"
)


@dataclass(frozen=True, eq=False)
class Cutout:
    """A cell: ``rgb`` uint8 (h, w, 3), its box as it is; ``mask`` bool (h, w), the cell.

    ``corner``: column and row of ``rgb`` in its image file.
    """

    rgb: np.ndarray
    mask: np.ndarray
    corner: tuple[int, int] = (0, 0)


class Pictures:
    """Images below a folder; pickles without the pixels that it holds.

    Parameters
    ----------
    root
        The folder.
    check
        Compare the content of every file that is read with what it was.
    hashes
        Path → content id. What is not in it is compared with the id that it is asked for under.
    """

    def __init__(self, root: Path, *, check: bool, hashes: Mapping[str, str]) -> None:
        self.root, self.check, self.hashes = root, check, dict(hashes)
        self._held: OrderedDict[str, np.ndarray] = OrderedDict()

    def read(self, path: str, image_id: str, *, check: bool | None = None) -> np.ndarray:
        """Return the image at ``path``, RGB uint8 (H, W, 3), not to be written to.

        Raises
        ------
        ArtifactError
            If the file is gone, or (with ``check``, by default that of this object) its content is
            another than when it was segmented.
        """
        check = self.check if check is None else check
        if path in self._held and not check:
            self._held.move_to_end(path)
            return self._held[path]
        data = self.data(path, image_id, check=check)
        try:
            image, _ = decode_image(data, name=self.root / path)
        except ImageReadError as error:
            raise ArtifactError(f"{error}; {_ADVICE}") from error
        image.setflags(write=False)
        self._held[path] = image
        if len(self._held) > _KEPT:
            self._held.popitem(last=False)
        return image

    def data(self, path: str, image_id: str, *, check: bool) -> bytes:
        """Return the bytes of the image at ``path``; errors are those of :meth:`read`."""
        file = self.root / path
        try:
            data = read_bytes(file)
        except ImageReadError as error:
            raise ArtifactError(f"{error}; {_ADVICE}") from error
        if check:
            _compare(file, content_hash(data), self.hashes.get(path, image_id))
        return data

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_held": OrderedDict()}


def _compare(file: Path, now: str, expected: str) -> None:
    if now != expected:
        raise ArtifactError(
            f"{file}: has changed since it was segmented (content {now}, was {expected}); "
            "bring the file back, or segment again and rebuild the bank"
        )
