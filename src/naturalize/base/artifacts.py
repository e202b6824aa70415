"""The one writer of artifacts: folders of open formats, written aside and moved in whole."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from naturalize.base.errors import ArtifactError, os_errors_named

if TYPE_CHECKING:
    import pyarrow as pa

#: Name of the file that makes a folder an artifact.
MANIFEST = "artifact.json"


@dataclass(frozen=True)
class Kind:
    """A kind of artifact: what it is to its reader, what writes it, and its version.

    A change of any table or file of a kind raises its version.
    """

    what: str
    command: str
    version: int = 1

    def __str__(self) -> str:
        return f"{self.what} written by `naturalize {self.command}`"


#: The kinds of artifacts, as in ``docs/formats.md``.
KINDS = {
    "annotation": Kind("a store of annotations", "compose --masks"),
    "audit": Kind("an audit", "catalog"),
    "backgrounds": Kind("a folder of backgrounds", "background"),
    "bank": Kind("a bank of cells", "bank"),
    "catalog": Kind("a catalog", "catalog"),
    "cells": Kind("a folder of cells", "segment"),
    "crops": Kind("a store of crops", "compose"),
    "evaluation": Kind("an evaluation", "evaluate"),
    "explanation": Kind("an explanation", "explain"),
    "export": Kind("an export of cells", "cells export"),
    "fields": Kind("a reading of fields", "read"),
    "images": Kind("a folder of composites", "compose --write"),
    "label-audit": Kind("an audit of labels", "audit-labels"),
    "labs": Kind("scores over laboratories", "labs"),
    "model": Kind("a model", "train"),
    "observer-sheet": Kind("a sheet for observers", "realism --sheet"),
    "phantom": Kind("a phantom", "phantom"),
    "plan": Kind("a plan of composites", "compose"),
    "realism": Kind("a realism report", "realism"),
    "review": Kind("a review", "review"),
    "split": Kind("a split", "split"),
}


def version_of(kind: str) -> int:
    """Return the format version of an artifact kind."""
    return KINDS[kind].version if kind in KINDS else 1


@dataclass(frozen=True)
class Manifest:
    """What ``artifact.json`` says: kind, format version, what it was made from, its files."""

    kind: str
    format_version: int
    fingerprint: str
    settings: dict[str, Any]
    inputs: dict[str, str]
    files: dict[str, str]


#: What ``artifact.json`` holds.
_MANIFEST = {
    "kind": str,
    "format_version": int,
    "fingerprint": str,
    "settings": dict,
    "inputs": dict,
    "files": dict,
}


def fingerprint(kind: str, settings: Mapping[str, Any], inputs: Mapping[str, str]) -> str:
    """Return 16 hex digits naming an artifact by kind, settings and its inputs' fingerprints."""
    text = json.dumps(
        {"kind": kind, "version": version_of(kind), "settings": settings, "inputs": inputs},
        sort_keys=True,
        default=str,
    )
    return hashlib.sha256(text.encode()).hexdigest()[:16]


#: Whether artifacts of other sources may be replaced, within :func:`replacing`.
_REPLACING: ContextVar[bool] = ContextVar("replacing", default=False)


@contextmanager
def replacing() -> Iterator[None]:
    """Allow all that is written inside to replace what another source made there."""
    token = _REPLACING.set(True)
    try:
        yield
    finally:
        _REPLACING.reset(token)


def may_replace() -> bool:
    """Return whether it is allowed to replace what another source made (:func:`replacing`)."""
    return _REPLACING.get()


@contextmanager
def writing(
    path: str | Path,
    kind: str,
    *,
    settings: Mapping[str, Any] | None = None,
    inputs: Mapping[str, str] | None = None,
    same_source: Callable[[Path], bool] | None = None,
    overwrite: bool = False,
    changing: Collection[str] = (),
) -> Iterator[Path]:
    """Give a temporary folder beside ``path``; on success, move it to ``path`` whole.

    An artifact that was made there from the same source is replaced, with ``overwrite`` (or within
    :func:`replacing`) any other too. On an error nothing is left behind, and what was at ``path``
    stays. After a SIGKILL a hidden ``.<name>.partial`` folder may remain; the next writer removes
    it. ``ArtifactError`` if ``path`` is a file, or holds files of somebody else or an artifact of
    another source.

    ``kind`` is one of :data:`KINDS`. ``settings`` decided the content: JSON values only, no paths
    of the machine and no worker counts. ``inputs`` are the fingerprints of the artifacts that were
    read, by name. ``same_source`` says of the artifact that is there whether the same source made
    it; by default, artifacts of the same inputs have the same source. ``changing``: files inside
    that change later, and so are not in the manifest.
    """
    path = Path(path)
    settings, inputs = dict(settings or {}), dict(inputs or {})
    check_place(path, None if overwrite else kind, inputs, same_source)
    partial = beside(path, "partial")
    with os_errors_named(path):
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        try:
            yield partial
            found = sorted(file for file in partial.rglob("*") if file.is_file())
            named = {file.relative_to(partial).as_posix(): file for file in found}
            files = {name: file_hash(file) for name, file in named.items() if name not in changing}
            name = fingerprint(kind, settings, inputs)
            manifest = Manifest(kind, version_of(kind), name, settings, inputs, files)
            write_json(partial / MANIFEST, vars(manifest))
            move_whole(partial, path)
        except BaseException:
            shutil.rmtree(partial, ignore_errors=True)
            raise


def beside(path: Path, ending: str) -> Path:
    """Return a hidden name beside ``path``, hashed where it would be too long for a disk."""
    name = f".{path.name}.{ending}"
    if len(os.fsencode(name)) > 255:
        name = f".{hashlib.sha256(os.fsencode(path.name)).hexdigest()[:16]}.{ending}"
    return path.with_name(name)


def check_place(
    path: Path,
    kind: str | None = None,
    inputs: Mapping[str, str] | None = None,
    same_source: Callable[[Path], bool] | None = None,
) -> None:
    """Raise ``ArtifactError`` if ``path`` is a file, or a folder with files of somebody else.

    With ``kind``, also if an artifact is there that is of another kind or, as far as ``inputs``
    and ``same_source`` say, of another source; see :func:`writing`.
    """
    if path.exists() and not path.is_dir():
        raise ArtifactError(f"{path}: is a file; name a folder to write to")
    if not path.is_dir() or not any(path.iterdir()):
        return
    if not (path / MANIFEST).is_file():
        raise ArtifactError(
            f"{path}: holds files that naturalize did not write; name an empty or a new folder"
        )
    if kind is None or _REPLACING.get():
        return
    try:
        found = read_manifest(path)
    except ArtifactError:
        return  # damaged, or of a version that nobody reads here: replaced as before
    if found.kind != kind:
        why = f"is {_article(found.kind)}"
    elif same_source(path) if same_source else inputs is None or found.inputs == dict(inputs):
        return
    else:
        why = "was made from another source"
    raise ArtifactError(f"{path}: {why}; replace it with --overwrite, or choose another place")


def same_images(table: str, ids: Iterable[str], column: str = "image_id") -> Callable[[Path], bool]:
    """Return a ``same_source``: one of the images ``ids`` is in ``table`` of an older artifact."""
    wanted = set(ids)

    def same_source(old: Path) -> bool:
        try:
            return not wanted.isdisjoint(read_table(old / table)[column].to_pylist())
        except (ArtifactError, KeyError):
            return False

    return same_source


def check_file(path: str | Path) -> Path:
    """Return the file to write to; ``ArtifactError`` if it is a folder, or is there already.

    A file is replaced with ``--overwrite`` (:func:`replacing`) only: nothing in it says what it was
    made from.
    """
    path = Path(path)
    if path.is_dir():
        raise ArtifactError(f"{path}: is a folder; name a file")
    if path.exists() and not _REPLACING.get():
        raise ArtifactError(
            f"{path}: is there already; replace it with --overwrite, or name another file"
        )
    return path


def move_whole(partial: Path, path: Path) -> None:
    """Rename the finished folder ``partial`` to ``path``, in place of what is there."""
    old = beside(path, "old")
    shutil.rmtree(old, ignore_errors=True)
    if path.exists():
        path.rename(old)
    partial.rename(path)
    shutil.rmtree(old, ignore_errors=True)


def read_manifest(path: str | Path, kind: str | None = None) -> Manifest:
    """Read ``artifact.json`` of the folder ``path``.

    ``ArtifactError`` if the folder or its manifest is missing or unreadable, if it is of another
    ``kind``, or of a format version that this release does not read.
    """
    path = Path(path)
    file = path / MANIFEST
    if not file.is_file():
        found = "no such folder" if not path.exists() else f"no {MANIFEST} in it"
        wanted = KINDS.get(kind or "") or f"{_article(kind)} written by naturalize"
        raise ArtifactError(f"{path}: expected {wanted}; {found}")
    raw = read_json(file)
    try:
        manifest = Manifest(**{k: raw[k] for k in _MANIFEST})
    except (KeyError, TypeError) as error:
        raise ArtifactError(f"{file}: damaged manifest (missing {error})") from error
    for key, type_ in _MANIFEST.items():
        if not isinstance(raw[key], type_):
            raise ArtifactError(
                f"{file}: damaged manifest ({key}: expected {type_.__name__}, got {raw[key]!r})"
            )
    if kind is not None and manifest.kind != kind:
        raise ArtifactError(
            f"{path}: is {_article(manifest.kind)}; expected {KINDS.get(kind) or _article(kind)}"
        )
    if manifest.format_version != version_of(manifest.kind):
        raise ArtifactError(
            f"{path}: format version {manifest.format_version}, this release reads version "
            f"{version_of(manifest.kind)}; make it again with this release, or install the one "
            "that wrote it"
        )
    return manifest


def _article(kind: str | None) -> str:
    if kind in KINDS:
        return KINDS[kind].what
    name = kind or "artifact"
    return f"{'an' if name[0] in 'aeiou' else 'a'} {name}"


def is_artifact(path: str | Path, kind: str | None = None) -> bool:
    """Return whether the folder ``path`` holds a readable artifact (of ``kind``, if given)."""
    try:
        read_manifest(path, kind)
    except ArtifactError:
        return False
    return True


def check_written(path: Path, name: str) -> None:
    """Raise ``ArtifactError`` if the file ``name`` of the artifact ``path`` was changed since.

    A file that the manifest does not name was put there by somebody else, and may be anything.
    """
    manifest = read_manifest(path)
    if name in manifest.files and manifest.files[name] != file_hash(path / name):
        raise ArtifactError(
            f"{path / name}: was changed after it was written, so that its numbers cannot be "
            f"trusted; make {_article(manifest.kind)} again with --overwrite"
        )


def read_written(path: Path, name: str) -> Any:
    """Read the JSON file ``name`` of the artifact ``path``, as it was written; see the above."""
    found = read_json(path / name)
    check_written(path, name)
    return found


def file_hash(path: Path) -> str:
    """Return 16 hex digits of the SHA-256 of a file, read in pieces."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:16]


def manifest_hash(path: Path, *, without: str) -> str:
    """Return the hash of the manifest in ``path``, as it would be if it did not name one file."""
    raw = read_json(path / MANIFEST)
    if not isinstance(raw.get("files"), dict) or raw["files"].pop(without, None) is None:
        return file_hash(path / MANIFEST)
    return hashlib.sha256(json_bytes(raw)).hexdigest()[:16]


def link_file(source: str | Path, target: str | Path) -> None:
    """Give a finished file a second name, or copy it where the disk has no links."""
    Path(target).parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(source, target)
    except FileNotFoundError:
        raise
    except OSError:  # another disk, or one without links
        shutil.copyfile(source, target)


@contextmanager
def _whole(path: Path) -> Iterator[Path]:
    """Give the name of a file beside ``path``; on success, move that file there."""
    partial = beside(path, "partial")
    with os_errors_named(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            yield partial
            partial.replace(path)
        except BaseException:
            partial.unlink(missing_ok=True)
            raise


def write_bytes(path: Path, data: bytes) -> None:
    """Write ``data`` beside ``path`` and move it there whole."""
    with _whole(path) as partial:
        partial.write_bytes(data)


def write_json(path: Path, value: Any) -> None:
    """Write ``value`` as readable JSON (keys in the order given, full float precision)."""
    write_bytes(path, json_bytes(value))


def json_bytes(value: Any) -> bytes:
    """Return what :func:`write_json` writes."""
    text = json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    return text.encode()


def _refused(constant: str) -> None:
    raise ValueError(f"{constant} is no number")


def read_json(path: Path) -> Any:
    """Read a JSON file; ``ArtifactError`` if it is missing or no JSON, or holds NaN."""
    try:
        return json.loads(path.read_text(encoding="utf-8"), parse_constant=_refused)
    except FileNotFoundError as error:
        raise ArtifactError(f"{path}: no such file") from error
    except ValueError as error:
        raise ArtifactError(f"{path}: not JSON ({error})") from error


def write_table(path: Path, table: pa.Table) -> None:
    """Write an Arrow table as Parquet (zstd), beside its place and moved there whole."""
    write_tables(path, [table], table.schema)


def write_tables(path: Path, tables: Iterable[pa.Table], schema: pa.Schema) -> None:
    """Write Arrow tables one after the other into one Parquet file, holding one at a time.

    Each is a row group of its own. Written beside its place and moved there whole.
    """
    import pyarrow.parquet as pq

    with _whole(path) as partial, pq.ParquetWriter(partial, schema, compression="zstd") as writer:
        for table in tables:
            writer.write_table(table)


def read_table(
    path: Path, schema: pa.Schema | None = None, *, optional: Collection[str] = ()
) -> pa.Table:
    """Read a Parquet table; with ``schema``, check that the columns and types are those.

    Columns that are ``optional`` (later releases added them) are null where the file lacks them.

    ``ArtifactError`` if the file is missing, damaged, or lacks a column of ``schema``.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.ParquetFile(path).read()
    except FileNotFoundError as error:
        raise ArtifactError(f"{path}: no such file") from error
    except (pa.ArrowInvalid, OSError) as error:
        raise ArtifactError(f"{path}: not a readable Parquet table ({error})") from error
    if schema is None:
        return table
    missing = [name for name in schema.names if name not in table.column_names]
    for name in [name for name in missing if name in optional]:
        table = table.append_column(name, pa.nulls(len(table), schema.field(name).type))
        missing.remove(name)
    if missing:
        raise ArtifactError(f"{path}: lacks the column(s) {', '.join(missing)}")
    try:
        return table.select(schema.names).cast(schema)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise ArtifactError(f"{path}: a column has another type ({error})") from error
