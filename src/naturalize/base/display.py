"""How objects that hold a table show themselves: one line in a terminal, a table in a notebook."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from html import escape
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pyarrow as pa

#: Rows and characters of a cell that a notebook shows.
ROWS, CHARACTERS = 10, 40


class TableView(ABC):
    """Length, iteration, conversion and display of an object whose content is ``table``.

    Iterating gives a dictionary a row. A dataclass that inherits from it is declared with
    ``repr=False``.
    """

    table: pa.Table

    @abstractmethod
    def summary(self) -> str:
        """Say in a few words what this holds; the first line of every display."""

    def __len__(self) -> int:
        return int(self.table.num_rows)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        for batch in self.table.to_batches(max_chunksize=1024):
            yield from batch.to_pylist()

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: {self.summary()}>"

    def _repr_html_(self) -> str:
        title = f"{type(self).__name__}: {self.summary()}"
        return html_table(self.table, title)

    def to_arrow(self) -> pa.Table:
        """Return the content as an Arrow table."""
        return self.table

    def to_pandas(self) -> Any:
        """Return the content as a pandas data frame; pandas has to be installed."""
        return self.table.to_pandas()


def rows_of(table: pa.Table, *names: str) -> Iterator[tuple[Any, ...]]:
    """Return the values of the columns ``names``, a tuple a row."""
    return zip(*(table[name].to_pylist() for name in names), strict=True)


def html_table(table: pa.Table, title: str = "", *, rows: int = ROWS) -> str:
    """Return the first rows of an Arrow table as HTML; columns without a value are left out."""
    names = [name for name in table.column_names if table[name].null_count < table.num_rows]
    head = "".join(f"<th>{escape(name)}</th>" for name in names)
    lines = [
        "<tr>" + "".join(f"<td>{_cell(row[name])}</td>" for name in names) + "</tr>"
        for row in table.slice(0, rows).select(names).to_pylist()
    ]
    more = table.num_rows - len(lines)
    note = f"<p>… and {more:,} more rows</p>" if more > 0 else ""
    body = "".join(lines)
    return (
        f"<p><b>{escape(title)}</b></p>"
        f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>{note}"
    )


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        text = f"{value:.4g}"
    elif isinstance(value, list):
        text = ", ".join(str(one) for one in value[:8]) + (", …" if len(value) > 8 else "")
    else:
        text = str(value)
    return escape(text if len(text) <= CHARACTERS else text[: CHARACTERS - 1] + "…")
