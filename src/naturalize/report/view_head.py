"""The head of the report: the verdict in a sentence, warnings not to be missed, key figures."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from naturalize.report import words
from naturalize.report.folder import Run, StudyFolder


@dataclass(frozen=True)
class Banner:
    """A warning over everything else; ``kind`` is ``"leak"`` or ``"phantom"``."""

    kind: str
    title: str
    text: str


@dataclass(frozen=True)
class Card:
    """A key figure: what it is, the figure, and a line that makes it honest."""

    label: str
    value: str
    note: str = ""


@dataclass(frozen=True)
class Head:
    """What stands over the sections."""

    name: str
    verdict: str
    banners: tuple[Banner, ...]
    cards: tuple[Card, ...]


def head(study: StudyFolder) -> Head:
    """Return the head of the report."""
    return Head(study.name, verdict(study), tuple(_banners(study)), tuple(_cards(study)))


def verdict(study: StudyFolder) -> str:
    """Return the study's result as one sentence."""
    run = study.chosen
    if run is None:
        return "No model of this study has been evaluated yet."
    m = run.metrics
    what = f"reaches a macro-F1 of {words.score(m['macro_f1'])}"
    interval = dict(m.get("intervals") or {}).get("macro_f1")
    if interval:
        what += f" ({interval_name(m)} {words.span(interval)})"
    where = f"on {words.count(m['n'], 'test image')}"
    protocol = {
        "honest": "under the honest protocol",
        "paper": "under the paper protocol, which leaks",
    }.get(study.protocol, "")
    return f"{_subject(study, run)} {what} {where} {protocol}".rstrip() + "."


def _subject(study: StudyFolder, run: Run) -> str:
    if len(study.scored) == 1:
        return f"The model “{run.name}”"
    by_validation = study.chosen_by_validation
    how = "chosen on the validation images" if by_validation else "best on the test images"
    return f"Of {words.count(len(study.scored), 'run')}, “{run.name}”, {how},"


def interval_name(metrics: dict[str, Any]) -> str:
    """Return what to call the intervals, such as ``"95 % interval"``."""
    level = re.search(r"(\d+(?:\.\d+)?)\s?%", str(metrics.get("interval_method", "")))
    return f"{level[1]}{words.NBSP}% interval" if level else "interval"


def _banners(study: StudyFolder) -> list[Banner]:
    banners = []
    if study.protocol == "paper":
        banners.append(
            Banner(
                "leak",
                "These scores leak",
                "Protocol “paper”: real images and composites were pooled and then parted, so the "
                "test part may hold composites, and cells of images that the model was trained on. "
                f"{_counted(study.leak)}The scores show the size of that leak. They do not say how "
                "well the model reads new blood.",
            )
        )
    if study.is_phantom:
        banners.append(
            Banner(
                "phantom",
                "Procedural images, not blood",
                "All images of this study were drawn by a program. The phantom proves code, never "
                "medicine: no figure on this page says anything about real cells.",
            )
        )
    return banners


def _counted(leak: dict[str, Any]) -> str:
    return f"Counted: {leak['statement']}. " if "statement" in leak else ""


def _cards(study: StudyFolder) -> list[Card]:
    cards = [*_score_cards(study.chosen)] if study.chosen else []
    counts = split_counts(study)
    if "train" in counts:
        n = sum(counts["train"].values())
        cards.append(Card("Training images", words.number(n), "without composites"))
    if "plan" in study.artifacts:
        cards.append(_composites(study))
    return cards


def _score_cards(run: Run) -> list[Card]:
    m = run.metrics
    intervals = dict(m.get("intervals") or {})

    def note(name: str) -> str:
        level = interval_name(m).removesuffix(" interval")
        return f"{words.span(intervals[name])} ({level})" if name in intervals else ""

    cards = [
        Card("Macro-F1", words.score(m["macro_f1"]), note("macro_f1")),
        Card("Accuracy", words.score(m["accuracy"]), note("accuracy")),
    ]
    tested = {k: v for k, v in m["per_class"].items() if v["support"]}
    if tested:
        weakest = min(tested, key=lambda label: (tested[label]["f1"], label))
        text = f"F1 {words.score(tested[weakest]['f1'])}"
        cards.append(Card("Weakest class", weakest, text))
    classes = words.count(len(tested), "class", "classes")
    cards.append(Card("Test images", words.number(m["n"]), f"in {classes}"))
    return cards


def _composites(study: StudyFolder) -> Card:
    plan = study.artifacts["plan"]
    lineage = plan.json("lineage.json")
    if "outside" in lineage:
        note = f"{words.number(lineage['outside'])} with a parent outside train"
        return Card("Composites", words.number(lineage["n_composites"]), note)
    table = plan.table("plan.parquet", ["label"])
    return Card("Composites", words.number(table.num_rows if table is not None else 0), "planned")


def split_counts(study: StudyFolder) -> dict[str, dict[str, int]]:
    """Return part → label → number of images, or ``{}`` without a split."""
    split = study.artifacts.get("split")
    return dict(split.json("split.json").get("counts") or {}) if split else {}


def stages(study: StudyFolder) -> dict[str, dict[str, Any]]:
    """Return stage → its seconds, peak memory, fingerprint and whether it was skipped."""
    return dict(study.log.get("stages") or {})
