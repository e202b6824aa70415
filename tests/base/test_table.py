"""Tables as people write them: delimiters, encodings, line ends, blank rows, other names."""

from __future__ import annotations

import csv
import io

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from naturalize.base.errors import InputError
from naturalize.base.table import read_rows

ROWS = [("img/1.jpg", "LY"), ("img/zelle-ä.jpg", "EO")]


def found(file, **options):
    rows = read_rows(file, ("path", "label"), ("group",), **options)
    return [(row["path"], row["label"]) for row in rows]


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "cp1252"])
def test_any_delimiter_line_end_and_encoding(tmp_path, delimiter, end, encoding):
    lines = [delimiter.join(row) for row in [("path", "label"), *ROWS]]
    (tmp_path / "t.csv").write_bytes((end.join(lines) + end).encode(encoding))
    assert found(tmp_path / "t.csv") == ROWS


@pytest.mark.parametrize(
    "text",
    [
        "sep=;\npath;label\nimg/1.jpg;LY\nimg/zelle-ä.jpg;EO\n",
        '"sep=\t"\npath\tlabel\nimg/1.jpg\tLY\nimg/zelle-ä.jpg\tEO',
        "path,label\n\nimg/1.jpg,LY\n,\n,,,\n  \nimg/zelle-ä.jpg,EO\n,,\n",
        "\n\npath,label\nimg/1.jpg,LY\nimg/zelle-ä.jpg,EO\n",
        " Path , LABEL \n img/1.jpg , LY \nimg/zelle-ä.jpg,EO\n",
        "note,path,x;y,label\n?,img/1.jpg,1,LY\n,img/zelle-ä.jpg,,EO\n",
        'path,label,\n"img/1.jpg","LY",\n"img/zelle-ä.jpg","EO",\n',
        "filename,class\nimg/1.jpg,LY\nimg/zelle-ä.jpg,EO\n",
        "path,label,class,file\nimg/1.jpg,LY,?,?\nimg/zelle-ä.jpg,EO,?,?\n",
    ],
)
def test_what_people_and_spreadsheets_leave_in_tables(tmp_path, text):
    (tmp_path / "t.csv").write_text(text, encoding="utf-8")
    assert found(tmp_path / "t.csv") == ROWS


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("path,label\n1.jpg,a\nimg/a, b.jpg,LY\n", "line 3 has 3 values, the header 2.*commas"),
        ("path;label\n1.jpg;a\n\nimg;a.jpg;LY\n", "line 4 has 3 values, the header 2.*semicolons"),
        ("sep=;\npath;label\n1.jpg\n", "line 3 has 1 values, the header 2"),
        ('path,label\n1.jpg,a\n"2.jpg,b\n3.jpg,c\n', "line 3: not a CSV table"),
        (
            "place,label\n1.jpg,a\n",
            "line 1: lacks the column 'path'.*'place', 'label'.*path=NAME",
        ),
        ("file,image,label\n1.jpg,2.jpg,a\n", "'file' and 'image' may both be.*--column path=file"),
        ("path,label,label\n1.jpg,a,b\n", "'label' and 'label' may both be"),
        ("", "lacks the column 'path'; it is empty"),
    ],
)
def test_errors_name_the_line_and_what_to_do(tmp_path, text, said):
    (tmp_path / "t.csv").write_text(text)
    with pytest.raises(InputError, match=said):
        found(tmp_path / "t.csv", renamed={})
    with pytest.raises(InputError) as caught:
        found(tmp_path / "t.csv")
    assert "--column" not in str(caught.value)


def test_line_numbers_count_lines_of_the_file(tmp_path):
    (tmp_path / "t.csv").write_text('sep=,\npath,label\n"a\nb.jpg",x\n\nc.jpg,y\n')
    rows = read_rows(tmp_path / "t.csv", ("path", "label"))
    assert [row.line for row in rows] == [3, 6]
    assert rows[0]["path"] == "a\nb.jpg"


def test_workbooks_and_other_bytes_are_named(tmp_path):
    (tmp_path / "t.csv").write_bytes(b"PK\x03\x04...")
    with pytest.raises(InputError, match="is a workbook"):
        found(tmp_path / "t.csv")
    (tmp_path / "t.csv").write_bytes(b"path,label\n1.jpg\0\0,a\n")
    with pytest.raises(InputError, match="bytes that are no text"):
        found(tmp_path / "t.csv")
    with pytest.raises(InputError, match="cannot be read"):
        found(tmp_path / "none.csv")


texts = st.text(st.characters(codec="utf-8", exclude_characters="\r\n\0"), min_size=1).map(
    lambda text: text.strip() or "x"
)


@settings(max_examples=60)
@given(st.lists(st.tuples(texts, texts), min_size=1), st.sampled_from(",;\t"))
def test_what_a_csv_writer_writes_comes_back(tmp_path_factory, rows, delimiter):
    buffer = io.StringIO()
    csv.writer(buffer, delimiter=delimiter).writerows([("path", "label"), *rows])
    file = tmp_path_factory.mktemp("t") / "t.csv"
    file.write_bytes(buffer.getvalue().encode())
    assert found(file) == rows
