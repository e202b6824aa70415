"""The split: every usable image in train, val or test; groups whole, classes in proportion."""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa

from naturalize.base.artifacts import (
    fingerprint,
    read_manifest,
    read_table,
    read_written,
    write_json,
    write_table,
    writing,
)
from naturalize.base.console import remark, warn
from naturalize.base.display import TableView, rows_of
from naturalize.base.errors import ArtifactError, InputError, SettingsError, unknown
from naturalize.base.rng import rng
from naturalize.base.statistics import connected
from naturalize.dataset.assign import assign_groups
from naturalize.dataset.catalog import Catalog
from naturalize.dataset.readers.levels import PARTS

#: What ``auto`` makes of given parts of which one is lacking.
COMPLETED = "given, completed"

#: How images are divided.
USES = ("auto", "random", "given")

#: Columns of ``split.parquet``.
SCHEMA = pa.schema(
    [
        ("image_id", pa.string()),
        ("label", pa.string()),
        ("group", pa.string()),
        ("part", pa.string()),
    ]
)


@dataclass(repr=False)
class Split(TableView):
    """Which image is for what, and the settings by which that was decided."""

    #: One row a usable image, sorted by ``image_id``: ``image_id``, ``label``, ``group`` (the unit
    #: that is never divided), ``part`` (``train``, ``val``, ``test``).
    table: pa.Table
    fractions: tuple[float, float, float]
    seed: int
    conflicts: str = "refuse"
    use: str = "random"
    #: ``{"path", "reason"}`` of each usable image that was left out.
    dropped: list[dict[str, str]] = field(default_factory=list)
    #: Fingerprint of the catalog it was built from.
    catalog: str = ""
    #: Most images of a class in train, of all classes or by name, and the seed that they were drawn
    #: by; null: all.
    train_per_class: int | dict[str, int] | None = None
    train_seed: int = 0

    @classmethod
    def build(
        cls,
        catalog: Catalog,
        *,
        fractions: Sequence[float] = (0.7, 0.1, 0.2),
        seed: int = 0,
        conflicts: str = "refuse",
        use: str = "auto",
        train_per_class: int | Mapping[str, int] | None = None,
        train_seed: int = 0,
    ) -> Split:
        """Divide the usable images of a catalog.

        Images of one group (patient, slide), exact and near duplicates stay together. The result
        depends on image contents, labels, groups and the seed; not on file names or their order.

        ``fractions`` are the shares of train, val and test and add up to 1; a part with 0 stays
        empty. Where one picture has two labels, ``conflicts`` ``"refuse"`` raises, ``"drop"``
        leaves out all its files. ``use`` is ``"random"``, ``"given"``: the parts that the source
        itself names, or ``"auto"``: given where it names one for every image, a part that it lacks
        taken out of train at random. Of a group that lies in several given parts, only the images
        in the first of test, val, train are kept.

        ``train_per_class`` is the most images of a class that stay in train, of all classes or by
        name, to see what few allow; ``train_seed`` draws them, a smaller number being a part of a
        larger one. Val and test do not depend on either.

        ``InputError`` on label conflicts, one class only, or a class with fewer groups than parts;
        ``SettingsError`` on other fractions, unknown choices, or less than one image.
        """
        shares = checked_fractions(fractions)
        if conflicts not in ("refuse", "drop"):
            raise unknown("choice for conflicts", conflicts, ["refuse", "drop"])
        if use not in USES:
            raise unknown("choice for use", use, list(USES))
        rows, dropped = _without_conflicts(catalog, conflicts)
        _check_classes(catalog, rows)
        group_of = _groups(catalog, rows)
        if use == "auto":
            use = _use_of(catalog, rows, shares)
        if use != "random":
            rows, left_out = _given_parts(catalog, rows, group_of)
            dropped += left_out
            part_of = {row["image_id"]: row["source_part"] for row in rows}
            if use == COMPLETED:
                part_of |= _lacking_parts(rows, part_of, group_of, shares, seed)
        else:
            part_of = _random_parts(rows, group_of, shares, seed)
        found = [
            {**row, "group": group_of[row["image_id"]], "part": part_of[row["image_id"]]}
            for row in sorted(rows, key=lambda row: row["image_id"])
        ]
        if train_per_class is not None:
            kept = _few(found, train_per_class, train_seed)
            dropped += [
                {"path": row["path"], "reason": "one of many in train"}
                for row in found
                if row["image_id"] not in kept
            ]
            found = [row for row in found if row["image_id"] in kept]
        return cls(
            table=pa.Table.from_pylist(found, schema=SCHEMA),
            fractions=shares,
            seed=seed,
            conflicts=conflicts,
            use=use,
            dropped=dropped,
            catalog=catalog.fingerprint,
            train_per_class=_plain(train_per_class),
            train_seed=train_seed,
        )

    def summary(self) -> str:
        """Say how many images of how many classes are in each part."""
        counts = self.counts()
        sizes = ", ".join(f"{part} {sum(n.values()):,}" for part, n in counts.items())
        return f"{len(self):,} images of {len(counts['train'])} classes: {sizes}"

    @property
    def hash(self) -> str:
        """16 hex digits of the SHA-256 over the sorted ``image_id part`` lines."""
        lines = (f"{image_id} {part}\n" for image_id, part in sorted(self.part_of().items()))
        return hashlib.sha256("".join(lines).encode()).hexdigest()[:16]

    @property
    def settings(self) -> dict[str, Any]:
        """What decided the content."""
        decided = {
            "fractions": list(self.fractions),
            "seed": self.seed,
            "conflicts": self.conflicts,
            "use": self.use,
        }
        if self.train_per_class is not None:
            decided |= {"train_per_class": self.train_per_class, "train_seed": self.train_seed}
        return decided

    @property
    def fingerprint(self) -> str:
        """16 hex digits naming the content; equal to the saved artifact's."""
        return fingerprint("split", self.settings, {"catalog": self.catalog})

    def ids(self, part: str) -> list[str]:
        """Return the sorted image ids of ``"train"``, ``"val"`` or ``"test"``."""
        if part not in PARTS:
            raise unknown("part", part, list(PARTS))
        return sorted(image_id for image_id, its in self.part_of().items() if its == part)

    def part_of(self) -> dict[str, str]:
        """Return image id → part."""
        return dict(rows_of(self.table, "image_id", "part"))

    def counts(self) -> dict[str, dict[str, int]]:
        """Return part → class → number of images."""
        n = Counter(rows_of(self.table, "part", "label"))
        classes = sorted({label for _, label in n})
        return {part: {label: n[part, label] for label in classes} for part in PARTS}

    def save(self, path: str | Path, *, inputs: Mapping[str, str] | None = None) -> None:
        """Write the split artifact to ``path``; ``inputs``: by default the catalog."""
        inputs = {"catalog": self.catalog} if inputs is None else inputs
        with writing(path, "split", settings=self.settings, inputs=inputs) as folder:
            write_table(folder / "split.parquet", self.table)
            about = {
                **self.settings,
                "catalog": self.catalog,
                "dropped": self.dropped,
                "counts": self.counts(),
                "hash": self.hash,
            }
            write_json(folder / "split.json", about)

    @classmethod
    def load(cls, path: str | Path) -> Split:
        """Open a split artifact; ``ArtifactError`` if it was changed by hand (its hash differs)."""
        path = Path(path)
        read_manifest(path, "split")
        about = read_written(path, "split.json")
        try:
            split = cls(
                table=read_table(path / "split.parquet", SCHEMA),
                fractions=tuple(about["fractions"]),
                seed=about["seed"],
                conflicts=about["conflicts"],
                use=about["use"],
                dropped=about["dropped"],
                catalog=about["catalog"],
                train_per_class=about.get("train_per_class"),
                train_seed=about.get("train_seed", 0),
            )
            saved = about["hash"]
        except KeyError as error:
            raise ArtifactError(f"{path / 'split.json'}: lacks {error}") from error
        if split.hash != saved:
            raise ArtifactError(f"{path}: split.parquet does not fit the hash in split.json")
        return split


def _plain(per_class: int | Mapping[str, int] | None) -> int | dict[str, int] | None:
    return dict(sorted(per_class.items())) if isinstance(per_class, Mapping) else per_class


def _few(rows: list[dict[str, Any]], per_class: int | Mapping[str, int], seed: int) -> set[str]:
    """Return the ids of all rows of val and test, and of a few of train."""
    labels = sorted({row["label"] for row in rows})
    named = per_class if isinstance(per_class, Mapping) else dict.fromkeys(labels, per_class)
    for label, most in named.items():
        if label not in labels:
            raise unknown("class in train_per_class", label, labels)
        if most < 1:
            raise SettingsError(f"train_per_class: expected 1 or more of {label}, got {most}")
    kept = {row["image_id"] for row in rows if row["part"] != "train"}
    for label in labels:
        ids = sorted(r["image_id"] for r in rows if r["part"] == "train" and r["label"] == label)
        order = rng(seed, "few", label).permutation(len(ids))[: named.get(label)]
        kept.update(ids[place] for place in order)
    return kept


def checked_fractions(fractions: Sequence[float]) -> tuple[float, float, float]:
    """Return the three shares; ``SettingsError`` if they do not add up to 1."""
    values = [float(value) for value in fractions]
    if len(values) != len(PARTS):
        raise SettingsError(f"fractions: expected three (train, val, test), got {len(values)}")
    if not (min(values) >= 0 and values[0] > 0 and abs(sum(values) - 1) < 1e-6):
        raise SettingsError(
            f"fractions: expected train > 0, none below 0 and a sum of 1, got {tuple(values)}"
        )
    return values[0], values[1], values[2]


def _without_conflicts(
    catalog: Catalog, conflicts: str
) -> tuple[list[dict[str, Any]], list[dict[str, str]]]:
    """Return the usable rows with one label a picture, and what was dropped for having two."""
    columns = ["image_id", "path", "label", "group", "source_part", "pixel_hash"]
    rows = catalog.usable().select([*columns, "near_duplicate_of", "flags"]).to_pylist()
    sets: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for row in rows:
        if "label_conflict" in row["flags"]:
            sets[row["pixel_hash"]].append(row)
    if sets and conflicts == "refuse":
        first = next(iter(sets.values()))
        named = " and ".join(f"{row['path']} ({row['label']})" for row in first)
        raise InputError(
            f"{catalog.root}: one picture, two labels: {named}"
            + (f", and {len(sets) - 1} more such pictures" if len(sets) > 1 else "")
            + "; correct the labels, or leave them out with conflicts: drop"
        )
    dropped = [
        {"path": row["path"], "reason": f"same pixels as {_others(members, row)}"}
        for members in sets.values()
        for row in members
    ]
    kept = [row for row in rows if "label_conflict" not in row["flags"]]
    return kept, sorted(dropped, key=lambda entry: entry["path"])


def _others(members: list[dict[str, Any]], row: dict[str, Any]) -> str:
    return ", ".join(f"{m['path']} (labelled {m['label']})" for m in members if m is not row)


def _check_classes(catalog: Catalog, rows: list[dict[str, Any]]) -> None:
    present = {row["label"] for row in rows}
    if len(present) < 2:
        found = f"one class only ({present.pop()})" if present else "no labelled images"
        raise InputError(f"{catalog.root}: {found}; a split needs two classes or more")


def _groups(catalog: Catalog, rows: list[dict[str, Any]]) -> dict[str, str]:
    """Return image id → group: images tied by a given group, equal or nearly equal pixels.

    All files of the catalog tie, not only usable ones: a patient whose two images are copies of
    two other patients' images ties all three. A group is named by its smallest image id.
    """
    columns = ["image_id", "path", "group", "duplicate_of", "near_duplicate_of"]
    everything = catalog.table.select(columns).to_pylist()
    pairs = []
    for row in everything:
        here = ("path", row["path"])
        pairs.append((here, ("id", row["image_id"])))
        if row["group"] is not None:
            pairs.append((here, ("group", row["group"])))
        for link in ("duplicate_of", "near_duplicate_of"):
            if row[link] is not None:
                pairs.append((here, ("path", row[link])))
    usable = {row["image_id"] for row in rows}
    found: dict[str, str] = {}
    for members in connected(pairs):
        ids = sorted(name for kind, name in members if kind == "id" and name in usable)
        found |= dict.fromkeys(ids, ids[0] if ids else "")
    return found


def _random_parts(
    rows: list[dict[str, Any]],
    group_of: dict[str, str],
    shares: tuple[float, float, float],
    seed: int,
) -> dict[str, str]:
    contents: dict[str, Counter[str]] = defaultdict(Counter)
    for row in rows:
        contents[group_of[row["image_id"]]][row["label"]] += 1
    part_of_group = assign_groups(contents, dict(zip(PARTS, shares, strict=True)), seed=seed)
    return {row["image_id"]: part_of_group[group_of[row["image_id"]]] for row in rows}


def _use_of(
    catalog: Catalog, rows: list[dict[str, Any]], shares: tuple[float, float, float]
) -> str:
    """Return what ``auto`` means for these images, and say it where the source names parts."""
    parts = Counter(row["source_part"] for row in rows if row["source_part"] in PARTS)
    named = ", ".join(f"{part} {parts[part]:,}" for part in PARTS if parts[part])
    if parts.total() < len(rows) or not parts["train"] or len(parts) < 2:
        if parts:
            warn(
                f"{catalog.root}: its own parts ({named}) are no split of its {len(rows):,} "
                "images; they are divided at random"
            )
        return "random"
    lacking = [part for part, share in zip(PARTS, shares, strict=True) if share and not parts[part]]
    more = f"; {' and '.join(lacking)} taken out of train" if lacking else ""
    remark(f"{catalog.root}: split into its own parts ({named}){more}")
    return COMPLETED if lacking else "given"


def _lacking_parts(
    rows: list[dict[str, Any]],
    part_of: dict[str, str],
    group_of: dict[str, str],
    shares: tuple[float, float, float],
    seed: int,
) -> dict[str, str]:
    """Return the parts of the images in train, divided to make the parts that no image is in."""
    there = set(part_of.values()) - {"train"}
    left = [0.0 if part in there else share for part, share in zip(PARTS, shares, strict=True)]
    train, val, test = (share / sum(left) for share in left)
    in_train = [row for row in rows if part_of[row["image_id"]] == "train"]
    return _random_parts(in_train, group_of, (train, val, test), seed)


def _given_parts(
    catalog: Catalog, rows: list[dict[str, Any]], group_of: dict[str, str]
) -> tuple[list[dict[str, Any]], list[dict[str, str]]]:
    """Return the rows in the parts that the source names, and those left out of divided groups."""
    if nameless := [row["path"] for row in rows if row["source_part"] not in PARTS]:
        raise InputError(
            f"{catalog.root}: the source names no part for {len(nameless)} of {len(rows)} images, "
            f"the first is {nameless[0]}; use the parts 'random'"
        )
    highest: dict[str, str] = {}
    for row in rows:
        group = group_of[row["image_id"]]
        highest[group] = max(highest.get(group, "train"), row["source_part"], key=PARTS.index)
    kept, dropped = [], []
    for row in rows:
        part = highest[group_of[row["image_id"]]]
        if row["source_part"] == part:
            kept.append(row)
        else:
            reason = f"in {row['source_part']}, but its group has images in {part}"
            dropped.append({"path": row["path"], "reason": reason})
    return kept, dropped
