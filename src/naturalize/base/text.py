"""What users write on a command line: lists of names that may hold commas, and paths."""

from __future__ import annotations

import csv
import os
import unicodedata
from collections.abc import Sequence
from pathlib import Path
from typing import overload

from naturalize.base.errors import unknown


def pieces_of(text: str) -> list[str]:
    """Split a text at commas; a piece in double quotes may hold commas.

    Examples
    --------
    >>> pieces_of('BNE, "Blast, no lineage spec",SNE')
    ['BNE', 'Blast, no lineage spec', 'SNE']
    """
    pieces = next(csv.reader([text], skipinitialspace=True), [])
    return [piece.strip() for piece in pieces]


@overload
def names_of(texts: Sequence[str] | str, known: Sequence[str] | None = None) -> list[str]: ...
@overload
def names_of(texts: None, known: Sequence[str] | None = None) -> None: ...
def names_of(
    texts: Sequence[str] | str | None, known: Sequence[str] | None = None
) -> list[str] | None:
    """Return the classes that an option lists; each text of a repeated option is a list.

    ``texts`` is ``"A,B"``, ``'A,"B, c"'`` or several of them; ``None`` stays ``None``. Pieces that
    make up one of the ``known`` names together are joined, so that such a name needs no quotes.
    ``SettingsError`` for a name that is not among them, with the most similar one.

    Examples
    --------
    >>> names_of(["BNE,Blast, no lineage spec"], ["BNE", "Blast, no lineage spec"])
    ['BNE', 'Blast, no lineage spec']
    """
    if texts is None:
        return None
    found: list[str] = []
    for text in [texts] if isinstance(texts, str) else texts:
        if known is not None and text.strip() in known:
            found.append(text.strip())
        else:
            pieces = [piece for piece in pieces_of(text) if piece]
            found += pieces if known is None else _joined(pieces, known)
    return list(dict.fromkeys(found))


def _joined(pieces: list[str], known: Sequence[str]) -> list[str]:
    """Join pieces to known names, the longest run of pieces first."""
    plain = {_plain(name): name for name in known}
    found, start = [], 0
    while start < len(pieces):
        ends = range(len(pieces), start, -1)
        runs = ((end, plain.get(_plain(",".join(pieces[start:end])))) for end in ends)
        end, name = next(((end, name) for end, name in runs if name is not None), (start, None))
        if name is None:
            raise unknown("class", pieces[start], list(known))
        found.append(name)
        start = end
    return found


def _plain(name: str) -> str:
    return ",".join(piece.strip() for piece in name.split(","))


def expanded(text: str) -> str:
    """Return a command-line argument or a path with ``~`` as the home folder.

    Examples
    --------
    >>> expanded("~/cells") == str(Path.home() / "cells"), expanded("--out=~").startswith("--out=/")
    (True, True)
    """
    option, sign, value = text.partition("=")
    if sign and option.startswith("--") and value.startswith("~"):
        return f"{option}={expanded(value)}"
    if not text.startswith("~"):
        return text
    own = text == "~" or text[1] in (os.sep, "/")
    return str(Path(text).expanduser()) if own else text


def expanded_path(path: str | Path) -> Path:
    """Return ``path`` with ``~`` as the home folder."""
    return Path(expanded(str(path)))


def has_controls(text: str) -> bool:
    """Return whether a text has characters that do not show: controls, directions, half letters.

    Examples
    --------
    >>> has_controls("Åsa Ñandú"), has_controls("a\\0b"), has_controls("a\\u202eb")
    (False, True, True)
    """
    return any(unicodedata.category(letter)[0] == "C" for letter in text)
