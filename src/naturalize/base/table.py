"""The one reader of tables that users write, of any delimiter, encoding and line end; CSV text."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from naturalize.base.console import remark, warn
from naturalize.base.errors import InputError, closest

#: Endings of files that are read as tables.
SUFFIXES = (".csv", ".tsv", ".tab", ".txt")

_DELIMITERS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "bars"}

#: Column → other names that it often has (lower case).
SYNONYMS = {
    "path": ("file", "filename", "file_name", "filepath", "file_path", "image", "image_path"),
    "label": ("class", "class_name", "category", "cell_type", "celltype", "target"),
    "group": ("patient", "patient_id", "patientid", "subject", "subject_id", "donor", "slide"),
    "part": ("split", "subset", "partition", "set"),
    "guess": ("answer",),
}


@dataclass(frozen=True)
class Row:
    """One row: column → value without blanks around it, and where it stands, for messages."""

    values: dict[str, str]
    where: str
    line: int

    def __getitem__(self, column: str) -> str:
        return self.values.get(column, "")


def csv_text(head: Sequence[str], rows: Iterable[Sequence[object]], *, delimiter: str = ",") -> str:
    """Return rows below a head as CSV, with a line feed at the end of each line."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n", delimiter=delimiter).writerows([head, *rows])
    return text.getvalue()


def read_rows(
    file: str | Path,
    required: Sequence[str],
    optional: Sequence[str] = (),
    *,
    renamed: Mapping[str, str] | None = None,
    also: str | None = None,
) -> list[Row]:
    """Read a table with a header line; ``InputError`` names the line and what to change.

    Commas, semicolons, tabs or bars divide it, or what a first line ``sep=`` names. It may be in
    UTF-8, UTF-16 or Windows-1252, with any line ends. Empty rows and other columns are ignored.

    A column of ``required`` or ``optional`` is found under its name, in any case, or under one of
    its :data:`SYNONYMS`. ``renamed`` says what a column is called in this table; ``None`` if no
    option says that. ``also``: columns whose names begin so are read too, under their own names.
    """
    file = Path(file)
    lines = _text(file).replace("\r\n", "\n").replace("\r", "\n").split("\n")
    first = lines[0].strip('"').strip(" ")
    skip = int(first.lower().startswith("sep=") and len(first) == 5)
    delimiter = (
        first[4] if skip else _delimiter(lines[skip:], [*required, *optional], renamed or {})
    )
    reader = csv.reader((f"{line}\n" for line in lines[skip:]), delimiter=delimiter, strict=True)
    header: dict[str, int] | None = None
    names: list[str] = []
    rows: list[Row] = []
    start = skip + 1
    try:
        for raw in reader:
            line, start = start, skip + reader.line_num + 1
            values = [value.strip() for value in raw]
            if not any(values):
                continue
            if header is None:
                names = values
                header = _header(file, line, values, required, optional, renamed)
                if also is not None:
                    header |= {n: i for i, n in enumerate(names) if n.startswith(also)}
                continue
            where = f"{file}: line {line}"
            _check_length(values, names, [header[name] for name in required], where, delimiter)
            found = {name: values[i] for name, i in header.items() if i < len(values)}
            rows.append(Row(found, where, line))
    except csv.Error as error:
        raise InputError(f"{file}: line {start}: not a CSV table ({error})") from error
    if header is None:
        _header(file, 1, [], required, optional, renamed)
    return rows


def _text(file: Path) -> str:
    try:
        data = file.read_bytes()
    except OSError as error:
        raise InputError(f"{file}: cannot be read ({(error.strerror or '').lower()})") from error
    if data[:4] == b"PK\x03\x04":
        raise InputError(f"{file}: is a workbook, not text; save it as CSV")
    if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return data.decode("utf-16", errors="replace")
    if b"\0" in data:
        wide = data[1:2] == b"\0" or data[:1] == b"\0"
        if not wide:
            raise InputError(f"{file}: holds bytes that are no text; save it as CSV")
        return data.decode("utf-16-le" if data[1:2] == b"\0" else "utf-16-be", errors="replace")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        warn(f"{file}: is not in UTF-8; it is read as Windows-1252")
    try:
        return data.decode("cp1252")
    except UnicodeDecodeError:
        return data.decode("latin-1")


def _delimiter(lines: list[str], columns: Sequence[str], renamed: Mapping[str, str]) -> str:
    """Return the delimiter under which the header has most of the wanted columns."""
    first = next((line for line in lines if line.strip(" ,;|\t")), "")

    def fit(delimiter: str) -> tuple[int, int]:
        names = [name.strip().lower() for name in next(csv.reader([first], delimiter=delimiter))]
        wanted = [_candidates(column, renamed) for column in columns]
        return sum(any(name in names for name in one) for one in wanted), len(names)

    return max(_DELIMITERS, key=fit)


def _candidates(column: str, renamed: Mapping[str, str]) -> list[str]:
    if column in renamed:
        return [renamed[column].strip().lower()]
    return [column, *SYNONYMS.get(column, ())]


def _header(
    file: Path,
    line: int,
    names: list[str],
    required: Sequence[str],
    optional: Sequence[str],
    renamed: Mapping[str, str] | None,
) -> dict[str, int]:
    """Return column → its place in a row."""
    lower = [name.lower() for name in names]
    found: dict[str, int] = {}
    for column in [*required, *optional]:
        names_here = _candidates(column, renamed or {})
        places = [i for i, name in enumerate(lower) if name == names_here[0]]
        places = places or [i for i, name in enumerate(lower) if name in names_here]
        if len(places) > 1:
            both = " and ".join(repr(names[i]) for i in places)
            if column in optional and lower[places[0]] != column:
                continue
            option = "" if renamed is None else f": --column {column}={names[places[0]]}"
            raise InputError(
                f"{file}: line {line}: {both} may both be the column {column!r}; say which{option}"
            )
        if places:
            found[column] = places[0]
        elif column in required or column in (renamed or ()):
            raise _lacking(file, line, column, [name for name in names if name], renamed)
    if taken := [f"{names[i]!r} as {name}" for name, i in found.items() if lower[i] != name]:
        remark(f"{file.name}: takes {', '.join(taken)}")
    return found


def _lacking(
    file: Path, line: int, column: str, names: list[str], renamed: Mapping[str, str] | None
) -> InputError:
    wanted = (renamed or {}).get(column, column)
    has = f"; it has {', '.join(repr(name) for name in names)}" if names else "; it is empty"
    option = f"with --column {column}=NAME" if renamed is not None else "in the table"
    advice = f": name the one that is it {option}" if names else ""
    return InputError(
        f"{file}: line {line}: lacks the column {wanted!r}{closest(wanted, names)}{has}{advice}"
    )


def _check_length(
    values: list[str], names: list[str], required: list[int], where: str, delimiter: str
) -> None:
    n = max(i for i, value in enumerate(values, start=1) if value)
    if n > len(names):
        raise InputError(
            f"{where} has {n} values, the header {len(names)}; put double quotes around a value "
            f"that holds {_DELIMITERS.get(delimiter, 'the delimiter')}"
        )
    if len(values) <= max(required, default=0):
        raise InputError(f"{where} has {len(values)} values, the header {len(names)}")
