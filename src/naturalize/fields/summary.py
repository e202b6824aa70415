"""What is written of named fields: tables of cells and fields, counts, differentials."""

from __future__ import annotations

import csv
import itertools
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv

from naturalize.base.artifacts import read_json, read_table, write_json, write_table, write_tables
from naturalize.base.display import rows_of
from naturalize.cells.segmentation import KINDS, OK
from naturalize.fields.differential import counted, differential, is_unsure, per_hundred
from naturalize.fields.outcome import CUT, NO_WHITE
from naturalize.fields.tables import FIELDS, cells_schema

#: Columns of ``counts.csv`` before those of the classes.
_COUNTS = ("field", "outcome", "white_cells", "red_cells", "platelets", "unsure")


#: Fields named for each outcome that is not ok.
_NAMED = 3


def write_summary(folder: Path, named: Iterable[pa.Table], classes: Sequence[str]) -> None:
    """Write the tables of fields into a folder.

    ``named``: any number of times readable, one table of one row a field (`tables.named_schema`);
    ``classes`` of the model.
    """
    cells = cells_schema(classes)
    plain = pa.schema([field for field in cells if field.name != "mask"])
    write_tables(folder / "cells.parquet", numbered(named, cells), cells)
    with pyarrow.csv.CSVWriter(folder / "cells.csv", plain) as writer:
        for table in numbered(named, cells):
            writer.write_table(table.select(plain.names))
    folders: dict[str, dict[str, Any]] = {}
    rows = []
    with (folder / "counts.csv").open("w", newline="", encoding="utf-8") as file:
        counts = csv.writer(file)
        counts.writerow([*_COUNTS, *classes])
        for _, parts in itertools.groupby(named, key=lambda table: table["field"][0].as_py()):
            row, whites = _joined(parts, cells)
            labels = Counter(label for label, _ in whites)
            unsure = sum(is_unsure(flag) for _, flag in whites)
            kinds = [row[f"n_{kind}"] for kind in KINDS]
            of_class = [labels[name] for name in classes]
            counts.writerow([row["field"], row["outcome"], *kinds, unsure, *of_class])
            _add(folders.setdefault(row["folder"], _empty()), row["outcome"], whites)
            rows.append(row)
    write_table(folder / "fields.parquet", pa.Table.from_pylist(rows, schema=FIELDS))
    write_json(folder / "differential.json", [_told(*item, classes) for item in folders.items()])
    _write_differentials(folder / "differential.csv", folders, classes)


def numbered(named: Iterable[pa.Table], schema: pa.Schema) -> Iterator[pa.Table]:
    """Yield the cells of each part, numbered through their field."""
    field, before = None, 0
    for table in named:
        here = table["field"][0].as_py()
        before = before if here == field else 0
        cells, field = _cells(table, schema), here
        place = schema.get_field_index("cell")
        yield cells.set_column(
            place, schema.field(place), pc.add(cells["cell"], pa.scalar(before, pa.int32()))
        )
        before += cells.num_rows


def _joined(
    parts: Iterable[pa.Table], schema: pa.Schema
) -> tuple[dict[str, Any], list[tuple[str | None, str]]]:
    """Return the row of a field from those of its parts, and its white cells.

    The outcome of a scan is that of most of its cells.
    """
    rows, whites = [], []
    for table in parts:
        rows += table.select(FIELDS.names).to_pylist()
        whites += _whites(_cells(table, schema))
    if len(rows) == 1:
        return rows[0], whites
    of_kind = {f"n_{kind}": sum(row[f"n_{kind}"] or 0 for row in rows) for kind in KINDS}
    outcomes = Counter[str]()
    for row in rows:
        outcomes[row["outcome"]] += sum(row[name] or 0 for name in of_kind)
    if of_kind["n_wbc"]:
        outcomes[OK] += outcomes.pop(NO_WHITE, 0)
    widths = [row["red_cell"] for row in rows if row["red_cell"] is not None]
    size = {name: rows[0][name] for name in ("field", "folder", "width", "height")}
    outcome = max(outcomes, key=lambda name: (outcomes[name], name == OK))
    width = float(np.median(widths)) if widths else None
    return size | of_kind | {"outcome": outcome, "red_cell": width}, whites


def _cells(table: pa.Table, schema: pa.Schema) -> pa.Table:
    """Return the cells of a field's row."""
    cells = table["cells"].combine_chunks().flatten()
    return pa.Table.from_arrays(cells.flatten(), names=schema.names).cast(schema)


def _whites(cells: pa.Table) -> list[tuple[str | None, str]]:
    """Return label and flag of the white cells."""
    rows = rows_of(cells, "kind", "label", "flag")
    return [(label, flag) for kind, label, flag in rows if kind == "wbc"]


def _empty() -> dict[str, Any]:
    return {"fields": 0, "left_out": Counter(), "cut": 0, "n": Counter(), "unsure": Counter()}


def _add(of: dict[str, Any], outcome: str, whites: list[tuple[str | None, str]]) -> None:
    """Add a field to what is known of its folder; only fields in order have a differential."""
    if outcome != OK:
        of["left_out"][outcome] += 1
        return
    of["fields"] += 1
    n, unsure = counted(whites)
    of["n"] += n
    of["cut"] += sum(label is not None and CUT in flag.split("; ") for label, flag in whites)
    of["unsure"] += unsure


def _told(name: str, of: dict[str, Any], classes: Sequence[str]) -> dict[str, Any]:
    """Return the entry of ``differential.json`` for a folder of fields."""
    return {
        "folder": name,
        "fields": of["fields"],
        "left_out": dict(sorted(of["left_out"].items())),
        "cells": sum(of["n"].values()),
        "cut": of["cut"],
        "classes": [asdict(share) for share in differential(classes, of["n"], of["unsure"])],
        "erythroblasts_per_100": per_hundred(classes, of["n"]),
        "interval": "exact binomial, 95 % (Clopper and Pearson 1934)",
    }


def _write_differentials(
    path: Path, folders: dict[str, dict[str, Any]], classes: Sequence[str]
) -> None:
    names = ["folder", "label", "name", "n", "unsure", "share", "low", "high"]
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, names)
        writer.writeheader()
        for name, of in folders.items():
            for share in differential(classes, of["n"], of["unsure"]):
                writer.writerow({"folder": name, **asdict(share)})


def told(out: str | Path) -> list[str]:
    """Return lines to print of a reading: its cells, its differentials, what became of others."""
    out = Path(out)
    table = read_table(out / "fields.parquet", FIELDS)
    kinds = [pc.sum(table[f"n_{kind}"]).as_py() or 0 for kind in KINDS]
    named = zip(kinds, ("white cells", "red cells", "platelets"), strict=True)
    lines = [f"{table.num_rows:,} fields: {', '.join(f'{n:,} {name}' for n, name in named)}"]
    for of in read_json(out / "differential.json"):
        lines += _lines(of)
    others = table.filter(pc.not_equal(table["outcome"], OK))
    fields: dict[str, list[str]] = {}
    for outcome, field in rows_of(others, "outcome", "field"):
        fields.setdefault(outcome, []).append(field)
    for outcome, names in sorted(fields.items(), key=lambda item: -len(item[1])):
        more = f" and {len(names) - _NAMED:,} more" if len(names) > _NAMED else ""
        lines.append(f"{len(names):,} {outcome}: {', '.join(names[:_NAMED])}{more}")
    return lines


def unreadable(out: str | Path) -> bool:
    """Return whether no field of a reading could be read."""
    table = read_table(Path(out) / "fields.parquet", FIELDS)
    return table["width"].null_count == table.num_rows


def _lines(of: dict[str, Any]) -> list[str]:
    """Return lines to print of a folder's differential."""
    name = "differential" if of["folder"] == "." else of["folder"]
    fields, cells = of["fields"], of["cells"]
    line = f"{name}: {cells:,} white cell{_s(cells)} of {fields:,} field{_s(fields)}"
    without = [f"{n} {outcome}" for outcome, n in of["left_out"].items()]
    without += [f"{of['cut']:,} cell{_s(of['cut'])} {CUT}"] if of["cut"] else []
    lines = [line + (f" (left out: {', '.join(without)})" if without else "")]
    for row in of["classes"]:
        share = ""
        if row["share"] is not None:
            share = f"{100 * row['share']:6.1f} %  {100 * row['low']:.1f} – {100 * row['high']:.1f}"
        unsure = f"  {row['unsure']} unsure" if row["unsure"] else ""
        lines.append(f"  {row['label']:4} {row['name']:22} {row['n']:6,} {share}{unsure}")
    if (red := of["erythroblasts_per_100"]) is not None and red["value"]:
        low, high = red["low"], red["high"]
        lines.append(f"  erythroblasts per 100: {red['value']:.1f}  {low:.1f} – {high:.1f}")
    return lines


def _s(n: int) -> str:
    """Return the ending of a plural."""
    return "" if n == 1 else "s"
