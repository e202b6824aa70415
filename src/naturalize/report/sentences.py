"""Every sentence of the report that states a result, made from plain numbers.

Sign and size decide the words: no sentence names a winner, a cause or a certainty that its numbers
do not give. ``tests/report/test_report_sentences.py`` holds each against constructed results.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from naturalize.report import formatting as form

#: Below this p-value, and with an interval on one side of 0, a difference is called beyond chance.
ALPHA = 0.05

#: Confidence from which a wrong answer is called sure.
SURE = 0.9


def interval_name(metrics: Mapping[str, Any]) -> str:
    """Return what to call the intervals of an evaluation, such as ``"95 % interval"``."""
    level = re.search(r"(\d+(?:\.\d+)?)\s?%", str(metrics.get("interval_method", "")))
    return f"{level[1]}{form.NBSP}% interval" if level else "interval"


def interval(metrics: Mapping[str, Any], bounds: Sequence[float] | None) -> str:
    """Return an interval with its name; one without width is said to give no certainty."""
    if bounds is None:
        return ""
    if bounds[0] == bounds[1]:
        return "no interval: all resamples of these images score the same"
    return f"{interval_name(metrics)} {form.span(bounds)}"


def choice(n_runs: int, *, by_validation: bool, tied: bool) -> tuple[str, str]:
    """Return how the named run was chosen among ``n_runs``: as an apposition, and as a sentence."""
    if n_runs < 2:
        return "", ""
    which = "one of the best" if tied else "best" if not by_validation else "chosen"
    if by_validation:
        return (
            f"{which} on the validation images",
            "The marked run was chosen on the validation images; test images decided nothing.",
        )
    return (
        f"{which} on the test images",
        "The marked run was chosen by its score on the test images, so that score is optimistic.",
    )


def verdict(
    name: str, metrics: Mapping[str, Any], *, chosen: str, n_runs: int, protocol: str, outside: int
) -> str:
    """Return the study's result as one sentence, on the run ``name`` and its ``metrics.json``.

    ``chosen``: how it was chosen among ``n_runs``, from :func:`choice`; ``protocol``: ``"honest"``,
    ``"paper"`` or ``""``; ``outside``: composites with a parent outside the training images.
    """
    subject = f"The model “{name}”"
    if n_runs > 1:
        subject = f"Of {form.count(n_runs, 'run')}, “{name}”, {chosen},"
    what = f"reaches a macro-F1 of {form.score(metrics['macro_f1'])}"
    bounds = interval(metrics, dict(metrics.get("intervals") or {}).get("macro_f1"))
    where = f"on {form.count(metrics['n'], 'test image')}"
    text = f"{subject} {what}{f' ({bounds})' if bounds else ''} {where}"
    if protocol == "paper":
        return f"{text} under the paper protocol, which leaks."
    if outside:
        has = form.verb(outside, "has", "have")
        return f"{text}, but {form.count(outside, 'composite')} {has} a parent outside train."
    return f"{text} under the honest protocol." if protocol else f"{text}."


def mistakes(metrics: Mapping[str, Any]) -> list[tuple[int, int, str, str]]:
    """Return the mistakes, most frequent first: how often, of how many, true and called class."""
    labels, matrix = metrics["labels"], metrics["confusion"]
    found = [
        (value, sum(row), labels[i], labels[j])
        for i, row in enumerate(matrix)
        for j, value in enumerate(row)
        if i != j and value
    ]
    # of equally many, the larger share of its class first, then by name
    return sorted(found, key=lambda f: (-f[0], f[1], f[2], f[3]))


def scores(name: str, metrics: Mapping[str, Any], pairs: Sequence[Mapping[str, Any]]) -> str:
    """Return what the scores of a run say, and how it stands against the runs of ``pairs``."""
    text = f"“{name}” classifies {form.percent(metrics['accuracy'])} of the test images correctly"
    found = mistakes(metrics)
    most = [m for m in found if m[0] == found[0][0]]
    if len(most) == 1:
        n, total, true, called = most[0]
        often = f"{form.number(n)} of {form.number(total)}"
        text += f"; its most frequent mistake is {true} taken for {called} ({often})"
    elif len(most) <= 3:
        named = form.listed([f"{true} taken for {called}" for *_, true, called in most])
        each = form.count(most[0][0], "image") if most else ""
        text += f"; its most frequent mistakes are {named} ({each} each)" if most else ""
    else:
        text += f"; no single mistake stands out ({len(most)} occur equally often)"
    return " ".join([f"{text}.", *standing(name, pairs)])


@dataclass(frozen=True)
class Difference:
    """Run ``first`` against run ``second`` on the same images; ``change`` is never negative.

    ``agreed``: the bootstrap interval lies above 0, the exact test gives p < `ALPHA`, and both
    point to ``first``. ``doubtful``: neither excludes chance.
    """

    first: str
    second: str
    change: float
    interval: tuple[float, float]
    only_first: int
    only_second: int
    n: int
    p_value: float

    @classmethod
    def of(cls, pair: Mapping[str, Any]) -> Difference:
        """Read an entry of ``comparisons.json``, which holds a − b, with the better run first."""
        change, (low, high) = float(pair["macro_f1_difference"]), map(float, pair["interval"])
        a, b, test = str(pair["a"]), str(pair["b"]), dict(pair["mcnemar"])
        only_a, only_b = int(test["only_a_right"]), int(test["only_b_right"])
        if change < 0:
            change, low, high, a, b, only_a, only_b = -change, -high, -low, b, a, only_b, only_a
        n, p_value = int(pair["n"]), float(pair["p_value"])
        return cls(a, b, change, (low, high), only_a, only_b, n, p_value)

    @property
    def agreed(self) -> bool:
        """Whether interval and test both say that ``first`` is better."""
        sure = self.interval[0] > 0 and self.p_value < ALPHA
        return self.change > 0 and sure and self.only_first > self.only_second

    @property
    def doubtful(self) -> bool:
        """Whether the interval holds 0 and the test excludes nothing."""
        return self.interval[0] <= 0 <= self.interval[1] and self.p_value >= ALPHA

    @property
    def confidence(self) -> str:
        """How sure the difference is, as the end of a sentence."""
        if self.agreed:
            return "which is beyond chance"
        if self.doubtful:
            return "which may be chance"
        return "but the interval and the test do not agree"


def standing(name: str, pairs: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return how run ``name`` stands against each other run: one sentence for each."""
    said = []
    for found in map(Difference.of, pairs):
        if name not in (found.first, found.second):
            continue
        other = found.second if found.first == name else found.first
        by = form.magnitude(found.change)
        if found.change == 0:
            said.append(f"“{other}” has the same macro-F1.")
        elif found.first == name:
            said.append(f"Its macro-F1 is {by} above that of “{other}”, {found.confidence}.")
        else:
            said.append(f"Its macro-F1 is {by} below that of “{other}”, {found.confidence}.")
    return said


def comparison(found: Difference) -> str:
    """Return who is better in one paired comparison, and how sure that is."""
    if found.change == 0:
        return f"“{found.first}” and “{found.second}” have the same macro-F1:"
    if found.agreed:
        return f"“{found.first}” is better than “{found.second}”:"
    higher = f"“{found.first}” scores higher than “{found.second}”, {found.confidence}:"
    return higher.replace("which may be chance", "but the difference may be chance")


def comparison_counts(found: Difference) -> str:
    """Return on how many images just one of two runs is right."""
    return (
        f"Of {form.count(found.n, 'image')}, {form.number(found.only_first)} "
        f"{form.verb(found.only_first, 'is', 'are')} right with “{found.first}” only and "
        f"{form.number(found.only_second)} with “{found.second}” only"
    )


def calibration(metrics: Mapping[str, Any]) -> str:
    """Return how far the confidence is from the share of right answers; ``""`` if not measured."""
    ece = dict(metrics.get("calibration") or {}).get("ece")
    if ece is None:
        return ""
    return (
        f"The confidence differs from the share of correct answers by {float(ece) * 100:.1f} "
        "percentage points on average (expected calibration error)."
    )


def inputs(totals: Mapping[str, int], composed: int, *, pooled: bool) -> str:
    """Return how many images of how many classes there are, and how evenly they are spread.

    ``pooled``: the ``composed`` images are among ``totals``; otherwise they come on top.
    """
    having = {label: n for label, n in totals.items() if n}
    if not having:
        return "The catalog holds no usable image."
    low, high = min(having.values()), max(having.values())
    text = (
        f"{form.count(sum(having.values()), 'image')} in "
        f"{form.count(len(having), 'class', 'classes')}"
    )
    if len(having) > 1 and low == high:
        text += f", {form.number(low)} of each"
    elif len(having) > 1:
        small, big = ([x for x, n in having.items() if n == end] for end in (low, high))
        text += (
            f", from {form.number(low)}{_named(small)} to {form.number(high)}{_named(big)} a class"
            f" (1{form.NBSP}:{form.NBSP}{high / low:.1f})"
        )
    if composed and pooled:
        text += f"; {form.count(composed, 'composite')} were pooled with them and are counted"
    elif composed:
        text += f"; {form.count(composed, 'composite')} were planned in addition"
    return text + "."


def _named(labels: Sequence[str]) -> str:
    return f" ({labels[0]})" if len(labels) == 1 else ""


def audit(
    n_images: int, n_usable: int, serious: Sequence[str], notable: Sequence[str], *, tested: bool
) -> str:
    """Return how many images can be used, and the worst that the audit found.

    ``tested``: it was measured whether properties of the files predict the class.
    """
    text = f"Of {form.count(n_images, 'image')}, {form.number(n_usable)} can be used"
    if serious:
        return f"{text}. Serious: {form.listed(serious)}."
    if notable:
        return f"{text}. Nothing serious, but {form.listed(notable)}."
    if tested:
        text += ", and no tested property of the files is clearly linked to the class"
    return text + "."


def label_audit(n: int, doubtful: int) -> str:
    """Return how many labels a classifier that was fitted without the image contradicts."""
    if not doubtful:
        return f"Of {form.count(n, 'label')}, none is contradicted by like images."
    is_ = form.verb(doubtful, "is", "are")
    return (
        f"Of {form.count(n, 'label')}, {form.number(doubtful)} ({form.percent(doubtful / n)}) "
        f"{is_} contradicted by like images: a list to look through, not a count of mistakes."
    )


def cells(found: tuple[int, int] | None, accepted: tuple[int, int] | None) -> str:
    """Return ``found``, in how many of how many images, and how many target cells were accepted."""
    said = []
    if found is not None:
        ok, n = found
        share = f"{form.number(ok)} of" if ok < n or n < 2 else "all"
        said.append(f"Cells were found in {share} {form.count(n, 'image')}")
    if accepted is not None:
        ok, n = accepted
        if not n:
            return "; ".join([*said, "the bank holds 0 target cells"]) + "."
        was = form.verb(ok, "was", "were")
        cells_ = form.count(n, "target cell")
        said.append(f"{form.number(ok)} of {cells_} {was} accepted for composition")
    return "; ".join(said or ["What was found in 0 images is recorded"]) + "."


def composites(labels: Sequence[str], red_cells: int) -> str:
    """Return how many composites of which classes there are, and how many red cells they hold."""
    if not labels:
        return "The plan holds 0 composites."
    named = sorted(set(labels))
    return (
        f"{form.count(len(labels), 'composite')} for "
        f"{form.count(len(named), 'class', 'classes')} ({form.listed(named)}), with "
        f"{red_cells / len(labels):.1f} red cells each on average."
    )


def lineage(outside: int, n: int) -> str:
    """Return how many composites have a parent outside the training images."""
    if not n:
        return "There is no training composite"
    has = form.verb(outside, "has", "have")
    return (
        f"{form.number(outside)} of {form.count(n, 'training composite')} {has} a parent outside "
        "train"
    )


def training(runs: Sequence[tuple[str, float | None, str]]) -> str:
    """Return which of the runs ``(name, validation macro-F1, epoch)`` is best on validation."""
    n = len(runs)
    text = f"{form.count(n, 'run')} {form.verb(n, 'was', 'were')} trained"
    known = [(name, f1, epoch) for name, f1, epoch in runs if f1 is not None]
    if not known:
        return text + "."
    top = max(f1 for _, f1, _ in known)
    best = [(name, epoch) for name, f1, epoch in known if f1 == top]
    where = ""
    if len(best) > 1:
        where = " by " + form.listed([f"“{name}”" for name, _ in best])
    elif n > 1:
        where = f" by “{best[0][0]}”"
    when = best[0][1] if len(best) == 1 else ""
    return (
        f"{text}; the best macro-F1 on the validation images, {form.score(top)}, was "
        f"reached{where}{when}."
    )


def explanations(name: str, confidences: Sequence[float], n: int, explained: int) -> str:
    """Return how often run ``name`` is wrong, how surely, and how many answers are explained.

    ``confidences`` are those of its wrong answers among ``n`` test images.
    """
    end = f"{form.count(explained, 'prediction')} {form.verb(explained, 'is', 'are')} explained."
    if not n:
        return end
    wrong = len(confidences)
    if not wrong:
        return f"“{name}” is right on all {form.count(n, 'test image')}; {end}"
    sure = sum(confidence >= SURE for confidence in confidences)
    many = form.number(sure) if sure else "none"
    threshold = f"a confidence of {SURE * 100:.0f}{form.NBSP}% or more"
    how = f"{many} of them with {threshold}"
    if wrong == 1:
        how = f"{'with' if sure else 'not with'} {threshold}"
    images = form.count(n, "test image")
    return f"“{name}” is wrong on {form.number(wrong)} of {images}, {how}; {end}"


def looks_at_red_cells(classes: Sequence[str], n: int) -> str:
    """Return for which of ``n`` explained classes the heat is denser on red cells."""
    if not classes:
        return "For no explained class is the heat denser on red cells than on the cell."
    named = f"the model looks at red cells for {form.listed(classes)}"
    rest = f"{form.number(len(classes))} of {form.count(n, 'explained class', 'explained classes')}"
    return f"{named[0].upper()}{named[1:]} ({rest}): the heat is denser there than on the cell."


def labs(
    name: str, n: int, mean: Mapping[str, Any], worst: Mapping[str, Any], *, sure: int, wrong: int
) -> str:
    """Return how model ``name`` does in ``n`` laboratories, and how many wrong answers are sure.

    ``mean``: ``value`` and ``interval`` of the balanced accuracy; ``worst``: ``value`` and
    ``laboratory``; ``sure`` of ``wrong`` answers have a confidence above `SURE`.
    """
    mean_of = f"a mean balanced accuracy of {form.score(mean['value'])}"
    where = f"in {form.count(n, 'laboratory', 'laboratories')}"
    text = f"“{name}” reaches {mean_of} ({form.span(mean['interval'])}) {where}"
    if n == 1:
        text = text.replace("a mean balanced", "a balanced").replace(
            where, f"in {worst['laboratory']}"
        )
    else:
        text += f", and {form.score(worst['value'])} in the worst, {worst['laboratory']}"
    if not wrong:
        return f"{text}; no answer is wrong."
    many = form.number(sure) if sure else "none"
    is_ = form.verb(sure or 2, "has", "have")
    return f"{text}; of {form.count(wrong, 'wrong answer')} {many} {is_} a confidence above {SURE}."


def fields(rows: Sequence[Mapping[str, Any]], counted: int) -> str:
    """Return what was found in fields: ``rows`` of ``fields.parquet``, ``counted`` white cells."""
    n = [sum(row[kind] or 0 for row in rows) for kind in ("n_wbc", "n_rbc", "n_platelet")]
    found = form.listed(
        [
            form.count(n[0], "white cell"),
            form.count(n[1], "red cell"),
            form.count(n[2], "platelet"),
        ]
    )
    text = f"{found} were found in {form.count(len(rows), 'field')}"
    return f"{text}; the differential counts {form.count(counted, 'white cell')}."


def robustness(name: str, found: Mapping[str, Any]) -> str:
    """Return how much of its macro-F1 run ``name`` keeps under corruptions, and the worst one.

    ``found``: ``robustness.json``.
    """
    clean, mean = found["clean"]["macro_f1"], found["mean_corruption_score"]["macro_f1"]
    means = {name: each["mean"]["macro_f1"]["value"] for name, each in found["corruptions"].items()}
    worst = min(means, key=means.__getitem__)
    change = found["change"]["macro_f1"]["interval"]
    text = (
        f"Under corruptions “{name}” has a mean macro-F1 of {form.score(mean['value'])} "
        f"({form.span(mean['interval'])}), and {form.score(clean['value'])} on the same images as "
        f"they are"
    )
    if change[0] <= 0 <= change[1]:
        text += "; the difference lies within its interval"
    return f"{text}. It is lowest under {worst}: {form.score(means[worst])}."


def provenance(seconds: Mapping[str, float], version: str, *, settings: bool) -> str:
    """Return what made the study, and which stage took longest; ``seconds``: stage → time."""
    made = f"Made by naturalize {version}".rstrip()
    total = sum(seconds.values())
    if not seconds:
        return f"{made}; what its stages cost was not recorded."
    text = f"{made} in {form.duration(total)}"
    longest = max(seconds, key=lambda stage: (seconds[stage], stage))
    if total > 0 and len(seconds) > 1:
        text += f"; the longest stage, {longest}, took {form.percent(seconds[longest] / total)}"
    return f"{text}. The settings below reproduce it." if settings else f"{text}."
