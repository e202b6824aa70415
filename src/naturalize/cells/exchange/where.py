"""Finding the image that a mask or an annotation belongs to."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path, PurePosixPath

from naturalize.base.errors import InputError
from naturalize.base.walk import walk_images


def image_below(root: Path, name: str, where: str) -> str:
    """Return the path below ``root`` of an image that a file names.

    Raises
    ------
    InputError
        If there is no such file, or the name leads out of the folder.
    """
    path = PurePosixPath(name.replace("\\", "/"))
    if path.is_absolute() or ".." in path.parts or not path.parts:
        raise InputError(f"{where}: {name!r} leads out of {root}; name images below one folder")
    for candidate in (path, PurePosixPath(path.name)):
        if (root / candidate).is_file():
            return candidate.as_posix()
    raise InputError(f"{where}: no image {name!r} in {root}; say where they are with --images")


class ByStem:
    """Images below a folder, found by the path or the name of a mask without its endings."""

    def __init__(self, root: Path, *, without: tuple[str, ...] = ()) -> None:
        self.root = root
        self._of_path, self._of_stem = (
            defaultdict[str, list[str]](list),
            defaultdict[str, list[str]](list),
        )
        for path in walk_images(root).images:
            pure = PurePosixPath(path)
            if pure.stem.endswith(without):
                continue
            for key in {pure.with_suffix("").as_posix(), path}:
                self._of_path[key].append(path)
            for key in {pure.stem, pure.name}:
                self._of_stem[key].append(path)
        if not self._of_path:
            raise InputError(f"{root}: no image in it; say where they are with --images")

    def find(self, key: str, mask: Path) -> str:
        """Return the image with the path, or else the only one with the name, of ``key``.

        Raises
        ------
        InputError
            If there is none, or there are several.
        """
        found = self._of_path.get(key) or self._of_stem.get(PurePosixPath(key).name, [])
        if not found:
            raise InputError(
                f"{mask}: no image {key}.* in {self.root}; say where they are with --images"
            )
        if len(found) > 1:
            raise InputError(
                f"{mask}: {len(found)} images have this stem ({', '.join(found[:3])}); give them "
                "and their masks the same sub-folders, or different names"
            )
        return found[0]
