"""What the levels of folders in a tree of images mean: part, patient, class, or nothing."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from naturalize.base.errors import InputError, SettingsError
from naturalize.dataset.schemes import Scheme

#: The parts of a split, in order.
PARTS = ("train", "val", "test")

#: Names of folders that stand for a part, such as ``Train``, ``2_valid`` or ``test set``.
_PART = re.compile(
    r"(\d+[ _.-]*)?((?P<train>train(ing)?)|(?P<val>val(id(at(e|ion))?)?|dev)|(?P<test>test(ing)?))"
    r"([ _-]*(set|data|images|split))?",
    re.IGNORECASE,
)

#: Names of folders that stand for a patient: a word and what distinguishes one from another.
_PATIENT = re.compile(
    r"(patient|pat|subject|subj|donor|case|person)[ _.-]*(?=.*\d)[\w.-]+", re.IGNORECASE
)

_WORDS = ("part", "patient", "class", "*")


def part_named(name: str) -> str | None:
    """Return the part that a folder or a word in a table stands for, ``None`` if it is none.

    Examples
    --------
    >>> part_named("Validate"), part_named("TEST"), part_named("LY")
    ('val', 'test', None)
    """
    found = _PART.fullmatch(name.strip())
    return next((part for part in PARTS if found and found[part]), None)


@dataclass(frozen=True)
class Levels:
    """Which level of folders is what: 0 is the first below the root, ``None``: there is none."""

    label: int = 0
    part: int | None = None
    patient: int | None = None

    @property
    def name(self) -> str:
        """As the user can give it: ``"part/class"``; ``"folders"`` where only classes are."""
        words = ["*"] * (1 + max(self.label, self.part or 0, self.patient or 0))
        for word, level in (("class", self.label), ("part", self.part), ("patient", self.patient)):
            if level is not None:
                words[level] = word
        return "folders" if words == ["class"] else "/".join(words)

    def of(self, path: str) -> tuple[str | None, str | None, str | None]:
        """Return the class folder, the patient and the part of an image."""
        folders = path.split("/")[:-1]

        def at(level: int | None) -> str | None:
            return folders[level] if level is not None and level < len(folders) else None

        part = at(self.part)
        return at(self.label), at(self.patient), part_named(part) if part else None


def levels_named(text: str) -> Levels | None:
    """Return the levels that a text such as ``"part/patient/class"`` names; ``None`` if it is none.

    ``SettingsError`` if a word occurs twice, or no level is the class.
    """
    words = text.strip("/").split("/")
    if not set(words) <= set(_WORDS):
        return None
    at = {word: [i for i, one in enumerate(words) if one == word] for word in _WORDS[:3]}
    if len(at["class"]) != 1 or max(map(len, at.values())) > 1:
        raise SettingsError(
            f"reader {text!r}: name the class once, and part and patient at most once, such as "
            "part/class or patient/*/class"
        )
    return Levels(at["class"][0], next(iter(at["part"]), None), next(iter(at["patient"]), None))


def recognised(paths: Sequence[str], scheme: Scheme) -> Levels:
    """Return what the levels of a tree mean, by the names of its folders.

    The first level is the class, unless every folder of it is a part (``Train``, ``val``, …) or a
    patient (``Patient_06``); so is the next one, and a level below the classes that holds only
    parts or only patients. Below patients, the class is the folder that holds the images.
    ``InputError`` if some folders of a level look like parts or patients and others do not: the
    message says which option decides.
    """
    trees = [path.split("/")[:-1] for path in paths if "/" in path]
    found: dict[str, int] = {}
    level = _below_wrapper(trees)
    while word := _word_at(trees, level, found):
        found[word] = level
        level += 1
    below = [tree for tree in trees if len(tree) > level]  # others lie beside the classes
    label = _class_level(below, level, scheme, patients="patient" in found) if below else level
    if all(len(tree) > label + 1 for tree in below) and (word := _word_at(below, label + 1, found)):
        found[word] = label + 1
    return Levels(label, found.get("part"), found.get("patient"))


def _below_wrapper(trees: Sequence[Sequence[str]]) -> int:
    """Return 1 where a single folder holds all and those in it are parts or patients, else 0."""
    if len({tree[0] for tree in trees}) == 1 and all(len(tree) > 2 for tree in trees):
        return int(not _word_at(trees, 0, {}) and _word_at(trees, 1, {}) is not None)
    return 0


def _word_at(trees: Sequence[Sequence[str]], level: int, found: dict[str, int]) -> str | None:
    """Return ``"part"`` or ``"patient"`` if every folder of a level is one."""
    names = sorted({tree[level] for tree in trees if len(tree) > level})
    for word, fits in (("part", part_named), ("patient", _PATIENT.fullmatch)):
        fitting = [name for name in names if fits(name)]
        if word in found or not fitting:
            continue
        if len(fitting) == len(names):
            return word
        if len({part_named(name) or name for name in fitting}) > 1:
            other = next(name for name in names if name not in fitting)
            raise InputError(
                f"the folders {', '.join(fitting[:3])} look like {word}s, {other} does not; say "
                f"what the levels of folders are with --reader {word}/class, or --reader class if "
                "all of them are classes"
            )
    return None


def _class_level(
    trees: Sequence[Sequence[str]], level: int, scheme: Scheme, *, patients: bool
) -> int:
    """Return the level of the classes, at or below ``level``."""
    deepest = min(map(len, trees))
    if scheme.labels is not None:
        known = [sum(scheme.knows(tree[i]) for tree in trees) for i in range(level, deepest)]
        return level + known.index(max(known))
    if patients and max(map(len, trees)) > level + 1:
        if max(map(len, trees)) > deepest:
            raise InputError(
                "below the patients, images lie at different depths; say which level of folders "
                "is the class, such as --reader patient/*/class"
            )
        return deepest - 1
    return level
