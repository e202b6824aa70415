"""Numbers as text. A no-break space keeps a number with its unit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

NBSP = "\u00a0"

#: What stands in a table where a number is not known.
ABSENT = "–"


def number(n: float) -> str:
    """Return a whole number with thousands apart: ``16891`` → ``"16,891"``."""
    return f"{round(n):,}"


def count(n: int, thing: str, things: str | None = None) -> str:
    """Return a count with its noun: ``"1 image"``, ``"2 images"``; ``things`` if not just + s."""
    return f"{number(n)}{NBSP}{thing if n == 1 else things or thing + 's'}"


def score(value: float | None) -> str:
    """Return a score in 0–1 with three digits, ``"0.912"``; a dash where there is none."""
    return ABSENT if value is None else f"{value:.3f}"


def span(interval: Sequence[float] | None) -> str:
    """Return an interval of scores, ``"0.894–0.929"``; a dash where there is none."""
    if interval is None:
        return ABSENT
    return f"{interval[0]:.3f}–{interval[1]:.3f}"


def difference(value: float) -> str:
    """Return a signed difference of scores, with a minus sign: ``"+0.021"``, ``"−0.004"``."""
    if 0 < abs(value) < 0.0005:
        return f"{'+' if value > 0 else '−'}<{NBSP}0.001"
    return f"{value:+.3f}".replace("-", "−").replace("+0.000", "0.000")


def magnitude(value: float) -> str:
    """Return the size of a difference of scores: ``"0.021"``, ``"less than 0.001"``."""
    size = abs(value)
    return "less than 0.001" if 0 < size < 0.0005 else f"{size:.3f}"


def signed_span(interval: Sequence[float]) -> str:
    """Return an interval of differences: ``"−0.004 to +0.031"``."""
    return f"{difference(interval[0])} to {difference(interval[1])}"


def percent(share: float) -> str:
    """Return a share as a percentage; what is neither nothing nor all is never rounded to it."""
    if 0 < share < 0.005:
        return f"<{NBSP}1{NBSP}%"
    if 0.995 <= share < 1:
        return f">{NBSP}99{NBSP}%"
    return f"{share * 100:.0f}{NBSP}%"


def p_value(p: float) -> str:
    """Return a p-value as papers print it: ``"p = 0.030"``, ``"p < 0.001"``."""
    return f"p{NBSP}<{NBSP}0.001" if p < 0.001 else f"p{NBSP}={NBSP}{p:.3f}"


def duration(seconds: float | None) -> str:
    """Return a time as ``"4.2 s"``, ``"3 min 12 s"`` or ``"1 h 04 min"``."""
    if seconds is None:
        return ABSENT
    if seconds < 60:
        return f"{seconds:.1f}{NBSP}s"
    whole = round(seconds)
    if whole < 3600:
        return f"{whole // 60}{NBSP}min {whole % 60:02d}{NBSP}s"
    minutes = round(seconds / 60)
    return f"{minutes // 60}{NBSP}h {minutes % 60:02d}{NBSP}min"


def memory(megabytes: float | None) -> str:
    """Return an amount of memory: ``"812 MB"``, ``"1.4 GB"``."""
    if megabytes is None:
        return ABSENT
    if megabytes < 1000:
        return f"{megabytes:.0f}{NBSP}MB"
    return f"{megabytes / 1000:.1f}{NBSP}GB"


def listed(names: Sequence[str]) -> str:
    """Return names as a sentence lists them: ``"a"``, ``"a and b"``, ``"a, b and c"``."""
    if len(names) < 2:
        return "".join(names)
    return f"{', '.join(names[:-1])} and {names[-1]}"


def verb(n: int, one: str, many: str) -> str:
    """Return the form of a verb that goes with ``n`` things."""
    return one if n == 1 else many


def few(lines: Sequence[str], most: int = 40) -> dict[str, Any]:
    """Return the first lines of a list as ``lines``, and how many ``more`` there are, in words."""
    left = len(lines) - most
    more = f"and {number(left)} more" if left > 0 else ""
    return {"lines": tuple(lines[:most]), "more": more}


def multiplier(its: Mapping[str, Any]) -> str:
    """Return a data multiplier with its interval; null is beyond the curve, 0 below it."""

    def one(value: float | None) -> str:
        return "beyond" if value is None else "below" if value == 0 else f"{value:.1f}"

    low, high = its["interval"]
    return f"{one(its['value'])} ({one(low)}–{one(high)})"
