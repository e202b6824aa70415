"""Flags that a laboratory defines: ``PMY > 0``, ``LY% >= 50``, ``BNE / (BNE + SNE) > 0.1``.

A rule compares sums, differences, products and quotients of numbers and classes. A class, in double
quotes where its name has spaces or signs, stands for how many cells it has, with ``%`` for its per
cent of the white cells; comparisons are joined by ``and`` and ``or``. Nothing is evaluated but this
grammar.
"""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from naturalize.base.errors import SettingsError, closest
from naturalize.dataset.schemes import NO_LEUKOCYTES
from naturalize.evaluation.intervals import exact
from naturalize.fields.differential import white_cells

#: Characters and nested brackets that a rule has at most: none that a person writes has more.
LONGEST, DEEPEST = 200, 20

_TOKEN = re.compile(r"""\s*(?:(\d+\.?\d*|\.\d+)|("[^"]+"|[^\W\d]\w*)|(>=|<=|==|!=|[-+*/()%<>]))""")
_COMPARE: dict[str, Callable[[float, float], bool]] = {
    ">": operator.gt, "<": operator.lt, ">=": operator.ge, "<=": operator.le,
    "==": operator.eq, "!=": operator.ne,
}  # fmt: skip
_ARITHMETIC: dict[str, Callable[[float, float], float]] = {
    "+": operator.add, "-": operator.sub, "*": operator.mul, "/": operator.truediv,
}  # fmt: skip

#: ``("number", 2.0)``, ``("class", "LY")``, ``("percent", "LY")``, or an operator with two nodes.
Node = tuple[Any, ...]


@dataclass(frozen=True)
class Flag:
    """What a rule says of a differential.

    ``fired`` is null where the rule divides by no cell, or is of numbers that are too large.
    ``value`` is the left side of a single comparison; where it is a share of cells, or a number of
    white cells, ``low`` and ``high`` are its exact 95 % interval among ``of`` cells, and ``sure``
    says whether all of the interval lies on one side of a share's limit. All of these are null
    elsewhere.
    """

    rule: str
    fired: bool | None
    value: float | None = None
    low: float | None = None
    high: float | None = None
    of: int | None = None
    sure: bool | None = None

    @property
    def said(self) -> str:
        """In words what the rule says."""
        if self.fired is None:
            return "not decided: it divides by no cell, or its numbers are too large"
        text = "yes" if self.fired else "no"
        if self.low is not None:
            doubt = "; not certain" if self.sure is False else ""
            text += f": {self.value:.3g}, 95 % interval {self.low:.3g}–{self.high:.3g}"
            return f"{text}, of {self.of} cells{doubt}"
        return f"{text}: {self.value:.3g}" if self.value is not None else text


@dataclass(frozen=True)
class Rule:
    """A rule that is understood: its text, and the tree of it."""

    text: str
    tree: Node

    def flag(self, n: Mapping[str, int]) -> Flag:
        """Return what the rule says where class → ``n`` cells."""
        try:
            fired = bool(_value(self.tree, n))
        except ZeroDivisionError:
            return Flag(self.text, None)
        if self.tree[0] not in _COMPARE:
            return Flag(self.text, fired)
        compare, left, right = self.tree
        value, limit = _value(left, n), _value(right, n)
        if not (math.isfinite(value) and math.isfinite(limit)):
            return Flag(self.text, None)
        found = _share(left, n)
        if found is None or not found[1] or _classes(right):
            return Flag(self.text, fired, value)
        part, of, scale = found
        low, high = (scale * x for x in exact(part, of))
        # of a count the interval is that of such cells in as many others; it has no wrong side
        sure = (
            None if _sum_of(left) else len({_COMPARE[compare](x, limit) for x in (low, high)}) == 1
        )
        return Flag(self.text, fired, value, low, high, of, sure)


def parse(text: str, classes: Sequence[str]) -> Rule:
    """Return the rule of a text; ``SettingsError`` names the column of the fault.

    Examples
    --------
    >>> parse("LY% >= 50", ["LY", "MO"]).flag({"LY": 60, "MO": 40}).fired
    True
    """
    return Rule(text, _Parser(text, classes).whole())


class _Parser:
    def __init__(self, text: str, classes: Sequence[str]) -> None:
        self.text, self.classes, self.at, self.depth = text, classes, 0, 0
        if len(text) > LONGEST:
            raise SettingsError(f"rule {text[:20]!r}…: more than {LONGEST} characters")
        self.tokens: list[tuple[str, int]] = []
        place = 0
        while text[place:].strip():
            found = _TOKEN.match(text, place)
            if found is None:
                column = place + len(text[place:]) - len(text[place:].lstrip())
                raise self.fault("a class, a number or an operator", text[column], column)
            self.tokens.append((found.group().strip(), found.start(found.lastindex or 0)))
            place = found.end()
        self.tokens.append(("", len(text)))

    def fault(self, expected: str, got: str, column: int) -> SettingsError:
        said = repr(got) if got else "the end"
        return SettingsError(
            f"rule {self.text!r}: column {column + 1}: expected {expected}, got {said}"
        )

    def take(self, *wanted: str) -> str | None:
        token = self.tokens[self.at][0]
        if token not in wanted or not token:
            return None
        self.at += 1
        return token

    def whole(self) -> Node:
        tree = self.joined("or", lambda: self.joined("and", self.comparison))
        if self.at < len(self.tokens) - 1:
            raise self.fault("and, or, or the end", *self.tokens[self.at])
        return tree

    def joined(self, word: str, part: Callable[[], Node]) -> Node:
        tree = part()
        while self.take(word):
            tree = (word, tree, part())
        return tree

    def comparison(self) -> Node:
        left = self.sum()
        sign = self.take(*_COMPARE)
        if sign is None:
            raise self.fault("a comparison (>, >=, <, <=, ==, !=)", *self.tokens[self.at])
        return (sign, left, self.sum())

    def sum(self) -> Node:
        tree = self.product()
        while sign := self.take("+", "-"):
            tree = (sign, tree, self.product())
        return tree

    def product(self) -> Node:
        tree = self.atom()
        while sign := self.take("*", "/"):
            tree = (sign, tree, self.atom())
        return tree

    def atom(self) -> Node:
        token, column = self.tokens[self.at]
        if self.take("("):
            self.depth += 1
            if self.depth > DEEPEST:
                raise self.fault(f"at most {DEEPEST} brackets", token, column)
            tree = self.sum()
            if not self.take(")"):
                raise self.fault(")", *self.tokens[self.at])
            self.depth -= 1
            return tree
        if token[:1].isdigit() or token[:1] == ".":
            self.at += 1
            return ("number", float(token))
        if (name := token.strip('"')) in self.classes:
            self.at += 1
            return ("percent" if self.take("%") else "class", name)
        what = f"a class ({', '.join(self.classes)}), a number or ("
        if token[:1].isalpha():
            what += closest(token, list(self.classes))
        raise self.fault(what, token, column)


def _value(node: Node, n: Mapping[str, int]) -> float:
    kind, left, *rest = node
    if kind == "number":
        return left
    if kind == "class":
        return float(n.get(left, 0))
    if kind == "percent":
        return 100 * n.get(left, 0) / white_cells(n)
    a, b = _value(left, n), _value(rest[0], n)
    if kind in ("and", "or"):
        return a and b if kind == "and" else a or b
    return (_COMPARE.get(kind) or _ARITHMETIC[kind])(a, b)


def _classes(node: Node) -> set[str]:
    """Return the classes that occur in a node."""
    if node[0] in ("number", "class", "percent"):
        return set() if node[0] == "number" else {node[1]}
    return set().union(*(_classes(part) for part in node[1:]))


def _sum_of(node: Node, leaf: str = "class") -> list[str]:
    """Return the classes of a sum of different classes; empty for anything else."""
    if node[0] == leaf:
        return [node[1]]
    if node[0] != "+":
        return []
    left, right = (_sum_of(part, leaf) for part in node[1:])
    return left + right if left and right and not set(left) & set(right) else []


def _share(node: Node, n: Mapping[str, int]) -> tuple[int, int, float] | None:
    """Return a node as so many of so many cells, and what their share is multiplied by."""
    of: int
    if node[0] == "/" and (part := _sum_of(node[1])) and (whole := _sum_of(node[2])):
        if not set(part) <= set(whole):
            return None
        return sum(n.get(c, 0) for c in part), sum(n.get(c, 0) for c in whole), 1.0
    of = white_cells(n)
    for leaf, scale in (("percent", 100.0), ("class", float(of))):
        part = _sum_of(node, leaf)
        if part and not NO_LEUKOCYTES.intersection(part):
            return sum(n.get(code, 0) for code in part), of, scale
    return None
