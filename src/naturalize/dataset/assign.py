"""Which group goes into which part: stratified, whole, the same for the same groups and seed."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping
from functools import partial

from naturalize.base.errors import InputError
from naturalize.base.rng import rng


def quotas(n: int, shares: Mapping[str, float]) -> dict[str, int]:
    """Divide ``n`` by shares (largest remainders); each part with a share gets at least one.

    Examples
    --------
    >>> quotas(10, {"train": 0.7, "val": 0.1, "test": 0.2})
    {'train': 7, 'val': 1, 'test': 2}
    >>> quotas(3, {"train": 0.7, "val": 0.1, "test": 0.2})
    {'train': 1, 'val': 1, 'test': 1}
    """
    found = {part: int(n * share + 1e-9) for part, share in shares.items()}
    by_remainder = sorted(shares, key=lambda part: found[part] - n * shares[part])
    for part in by_remainder[: n - sum(found.values())]:
        found[part] += 1
    for part in (part for part, share in shares.items() if share > 0 and found[part] == 0):
        found[max(found, key=lambda other: found[other])] -= 1
        found[part] = 1
    return found


def assign_groups(
    groups: Mapping[str, Mapping[str, int]], shares: Mapping[str, float], *, seed: int
) -> dict[str, str]:
    """Assign whole groups (group → class → images) to parts, each class divided in proportion.

    Each class, rare ones first, gives every part one of its smallest groups; then the groups, large
    ones first, go where the squared relative distance to the class quotas grows least. Classes
    whose groups are single images meet their quotas exactly. Parts with a share of 0 get nothing;
    ``seed`` decides among groups that are alike. ``InputError`` if a class has fewer groups than
    there are parts.
    """
    shares = {part: share for part, share in shares.items() if share > 0}
    of_label: dict[str, list[str]] = defaultdict(list)
    totals: Counter[str] = Counter()
    # large ones first, equal ones in an order that only the seed decides
    shuffled = rng(seed, "split").permutation(len(names := sorted(groups)))
    order = sorted((names[i] for i in shuffled), key=lambda group: -sum(groups[group].values()))
    for group in order:
        totals.update(groups[group])
        for label in groups[group]:
            of_label[label].append(group)
    _check(of_label, totals, shares)
    filling = _Filling(groups, {label: quotas(n, shares) for label, n in totals.items()})
    for label in sorted(of_label, key=lambda label: (len(of_label[label]), label)):
        _give_each_part_one(label, of_label[label], shares, filling)
    for group in order:
        if group not in filling.part_of:
            filling.put(group, min(shares, key=partial(filling.growth, group)))
    return filling.part_of


def _check(
    of_label: Mapping[str, list[str]], totals: Mapping[str, int], shares: Mapping[str, float]
) -> None:
    for label, members in sorted(of_label.items()):
        if len(members) < len(shares):
            n = totals[label]
            images = f"{n} image{'s' if n != 1 else ''}"
            if len(members) < n:
                images += f" in {len(members)} group{'s' if len(members) != 1 else ''}"
            raise InputError(
                f"class {label!r} has {images}, too few for {len(shares)} parts "
                f"({', '.join(shares)}); add images, leave the class out, or set a fraction to 0"
            )


class _Filling:
    """What has been put where so far."""

    def __init__(
        self, groups: Mapping[str, Mapping[str, int]], targets: dict[str, dict[str, int]]
    ) -> None:
        self.groups, self.targets = groups, targets
        self.part_of: dict[str, str] = {}
        self.have: dict[tuple[str, str], int] = defaultdict(int)

    def put(self, group: str, part: str) -> None:
        self.part_of[group] = part
        for label, n in self.groups[group].items():
            self.have[part, label] += n

    def growth(self, group: str, part: str) -> float:
        """Return by how much the squared relative distance to the quotas grows with a group."""
        grown = 0.0
        for label, n in self.groups[group].items():
            target = self.targets[label][part]
            missing = target - self.have[part, label]
            grown += ((missing - n) ** 2 - missing**2) / target**2
        return grown


def _give_each_part_one(
    label: str, members: list[str], shares: Mapping[str, float], filling: _Filling
) -> None:
    free = (group for group in reversed(members) if group not in filling.part_of)
    for part in sorted(shares, key=lambda part: shares[part]):
        if filling.have[part, label]:
            continue
        group = next(free, None)
        if group is None:
            raise InputError(
                f"class {label!r} cannot be in every part: its {len(members)} groups are tied "
                "up by rarer classes; merge fewer groups, or set a fraction to 0"
            )
        filling.put(group, part)
