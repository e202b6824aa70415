"""What a notebook and a terminal show of an object with a table."""

from __future__ import annotations

from html.parser import HTMLParser

import pyarrow as pa

from naturalize.base.display import TableView, html_table


class Cells(TableView):
    def __init__(self, table):
        self.table = table

    def summary(self):
        return f"{len(self)} cells"


class Texts(HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.cells, self.tags = [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)

    def handle_data(self, data):
        self.cells.append(data)


TABLE = pa.table(
    {"name": ["a<b", "y" * 99] + ["c"] * 18, "area": [1.23456789] * 20, "none": pa.nulls(20)}
)


def test_the_display_is_short_and_safe():
    found = Cells(TABLE)
    assert repr(found) == "<Cells: 20 cells>"
    shown = Texts(found._repr_html_())
    assert shown.tags.count("tr") == 11
    assert shown.cells[:5] == ["Cells: 20 cells", "name", "area", "a<b", "1.235"]
    assert "y" * 39 + "…" in shown.cells
    assert shown.cells[-1] == "… and 10 more rows"
    assert "none" not in shown.cells


def test_rows_come_as_dictionaries_and_the_table_as_it_is():
    found = Cells(TABLE)
    assert len(found) == 20
    assert list(found) == TABLE.to_pylist()
    assert found.to_arrow() is TABLE
    assert html_table(TABLE.slice(0, 0)).count("<tr>") == 1
