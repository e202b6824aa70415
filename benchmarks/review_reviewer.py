"""How many cells an hour a person settles in a review, and how many labels are right afterwards.

A scripted person goes through the clusters with the moves of the page, each of which takes the time
that studies of people give it, and every change goes through the review as the page's do:

- a cluster of doubtful cells is looked at cell by cell; of a sure one, a few cells evenly from its
  middle to its rim;
- cells that are wrong are clicked, and those of one class get it by one key. If one of the few is
  wrong, the rest of that cluster is looked at cell by cell too;
- what is left of the cluster is accepted at once: the mouse rests on the list, Page Down brings the
  next cluster under it, and the keys for accepting go to the cluster under the mouse.

The table has the whole session, and that part of it which was spent on sure clusters: where a
reviewer leaves doubtful cells to a second pass, that is how fast the first one is.

The person knows a cell's class when looking at it: the label in the name of its PBC file, which are
labels of experts with errors of their own. ``--error`` is the share of looks at which a cell is
taken for right that is wrong, or given another class than its own. Images that the model was
trained on are left out; so are those whose name does not say one of the eleven classes.

MorphoCluster (Schröder et al., Sensors 20(11), 2020): 16,000 objects an hour at a precision of
0.889, on plankton, with people.

    python -m benchmarks.review_reviewer [--predictions FILE]
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from benchmarks._annotated import trained_on
from naturalize.base.images import content_hash, read_bytes
from naturalize.base.rng import rng
from naturalize.dataset.schemes import SCHEMES
from naturalize.evaluation.intervals import exact
from naturalize.models.folder import TRAINING_IMAGES
from naturalize.models.shipped import find
from naturalize.review.service.answers import Columns
from naturalize.review.service.intake.prepare import make
from naturalize.review.service.review import Review
from naturalize.review.service.roles import Actor

#: Seconds: one look at a thumbnail, the mean fixation in visual search (Rayner, Psychological
#: Bulletin 124, 1998, table 1: 275 ms; 330 ms in scene perception, ``--look 0.33``).
LOOK = 0.275

#: Seconds: pressing a key (an average typist), pointing with a mouse, clicking, and making up one's
#: mind before a command (Card, Moran and Newell, Communications of the ACM 23, 1980; Kieras 1993).
KEY, POINT, CLICK, DECIDE = 0.28, 1.10, 0.20, 1.35

#: Cells of a sure cluster that are looked at, and the doubt from which a cluster is not sure.
SAMPLE, DOUBTFUL = 5, 0.2

_DATA = Path(os.environ.get("NATURALIZE_DATA", "../shared/data"))
_PERSON = Actor("scripted", "reviewer")


@dataclass
class Person:
    """A reviewer who knows the classes; ``seconds`` counts what they do, ``waits`` the service."""

    true: Sequence[str]
    bins: Sequence[str]
    error: float
    look: float
    seed: int
    seconds: float = 0.0
    looks: int = 0
    corrections: int = 0
    waits: list[float] = field(default_factory=list)
    _draw: np.random.Generator = field(init=False)

    def __post_init__(self) -> None:
        self._draw = rng(self.seed, "scripted reviewer")

    def sees(self, cell: int, shown: str | None) -> str | None:
        """Return the class that a cell should have, in the person's eyes, at one look."""
        self.looks += 1
        self.seconds += self.look
        true = self.true[cell]
        if self._draw.random() >= self.error:
            return true
        if shown != true:
            return shown  # overlooked
        return str(self._draw.choice([name for name in self.bins if name != true]))


def main() -> None:
    """Print speed and precision, of a person without error and of one who errs."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--predictions", type=Path, help="table of naturalize predict --set")
    parser.add_argument("--look", type=float, default=LOOK, help="seconds a thumbnail")
    parser.add_argument("--sample", type=int, default=SAMPLE, help="cells of a sure cluster")
    parser.add_argument("--error", type=float, default=0.02, help="share of looks, second person")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    if not (_DATA / "pbc").is_dir():
        sys.exit(f"{_DATA / 'pbc'}: no PBC images; set NATURALIZE_DATA")
    files = held_out()
    with tempfile.TemporaryDirectory() as work:
        given = [options.predictions] if options.predictions else list(files)
        made = make(given, Path(work) / "review", root=_DATA)
        print("| person | clusters | cells | cells/hour | precision (95 %) | before | looks | "
              "corrections |\n|---|--:|--:|--:|--:|--:|--:|--:|")  # fmt: skip
        for error in (0.0, options.error):
            copy = shutil.copytree(made, Path(work) / f"review-{error}")
            show(settle(copy, files, error, options), error)


def held_out() -> dict[Path, str]:
    """Return the images that the shipped model was not trained on, and their classes."""
    known, scheme = trained_on(find("pbc11") / TRAINING_IMAGES), SCHEMES["pbc11"]
    found = {}
    for path in sorted((_DATA.resolve() / "pbc").glob("*/*.jpg")):
        label = scheme.prefixes.get(path.name.split("_")[0])
        if label is not None and content_hash(read_bytes(path)) not in known:
            found[path] = label
    return found


@dataclass
class Part:
    """Cells of one sort of clusters, ``rows`` of the columns, and the seconds they took."""

    rows: list[int] = field(default_factory=list)
    clusters: int = 0
    seconds: float = 0.0
    looks: int = 0
    corrections: int = 0


def settle(
    folder: Path, files: dict[Path, str], error: float, options: argparse.Namespace
) -> dict[str, tuple[Part, int, int]]:
    """Review all cells with the moves of the page.

    Return sort of clusters → what was done, and how many labels were right before and after.
    """
    review = Review.open(folder)
    root = Path(review.settings.root)
    columns = review.columns(1, _PERSON)
    true = [files[root / review.row(cell).path] for cell in columns.ids.tolist()]
    bins = review.settings.bins
    person = Person(true, bins, error, options.look, options.seed)
    parts = {"sure clusters": Part(), "doubtful clusters": Part()}
    order = np.argsort(columns.rank)
    for inside in np.split(order, np.flatnonzero(np.diff(columns.cluster[order])) + 1):
        doubtful = columns.doubt[inside].mean() >= DOUBTFUL or (columns.model[inside] < 0).any()
        before = person.seconds, person.looks, person.corrections
        one_cluster(review, columns, person, inside, len(inside) if doubtful else options.sample)
        part = parts["doubtful clusters" if doubtful else "sure clusters"]
        part.rows += inside.tolist()
        part.clusters += 1
        part.seconds += person.seconds - before[0]
        part.looks += person.looks - before[1]
        part.corrections += person.corrections - before[2]
    after = review.columns(1, _PERSON)
    assert after.seen.all()
    review.close()
    wait = 1000 * float(np.median(person.waits))
    print(f"the service: {wait:.0f} ms a change, not in the rates below", file=sys.stderr)
    sure, doubtful_ = parts.values()
    parts["all"] = Part(
        sure.rows + doubtful_.rows,
        sure.clusters + doubtful_.clusters,
        sure.seconds + doubtful_.seconds,
        sure.looks + doubtful_.looks,
        sure.corrections + doubtful_.corrections,
    )
    return {
        name: (
            part,
            sum(_label(columns, bins, row) == true[row] for row in part.rows),
            sum(_label(after, bins, row, now=True) == true[row] for row in part.rows),
        )
        for name, part in parts.items()
    }


def one_cluster(
    review: Review, columns: Columns, person: Person, inside: np.ndarray, sample: int
) -> None:
    """Look at a sample of a cluster, or at all of it, correct what is wrong, accept the rest."""
    person.seconds += KEY  # to the next cluster
    few = np.unique(np.linspace(0, len(inside) - 1, sample).round().astype(int))
    looked = inside[few]
    wrong = looked_at(columns, person, looked)
    if wrong and len(looked) < len(inside):
        wrong |= looked_at(columns, person, np.setdiff1d(inside, looked))
    for label in sorted(set(wrong.values()), key=str):
        rows = [row for row in wrong if wrong[row] == label]
        person.seconds += DECIDE + len(rows) * (POINT + CLICK) + KEY
        person.corrections += len(rows)
        change(review, person, columns, rows, label, "label")
    rest = [row for row in inside.tolist() if row not in wrong]
    if rest:
        person.seconds += DECIDE + 2 * KEY  # Shift and x
        change(review, person, columns, rest, None, "accept")


def looked_at(columns: Columns, person: Person, rows: np.ndarray) -> dict[int, str | None]:
    """Return the rows that the person wants to change, and to what."""
    found = {}
    for row in rows.tolist():
        shown = _label(columns, person.bins, row)
        if (label := person.sees(row, shown)) != shown:
            found[row] = label
    return found


def change(
    review: Review,
    person: Person,
    columns: Columns,
    rows: list[int],
    label: str | None,
    kind: str,
) -> None:
    """Send a change as the page does, and take the time of the service."""
    began = time.perf_counter()
    ids, versions = columns.ids[rows].tolist(), columns.version[rows].tolist()
    done = review.change(_PERSON, 1, ids, versions, label, kind)
    person.waits.append(time.perf_counter() - began)
    assert len(done.cells) == len(rows)


def show(found: dict[str, tuple[Part, int, int]], error: float) -> None:
    """Print the rows of one person."""
    who = "knows every class" if not error else f"errs at {100 * error:.0f} % of looks"
    for name, (part, before, right) in found.items():
        n = len(part.rows)
        low, high = exact(right, n)
        print(
            f"| {who}, {name} | {part.clusters} | {n:,} | {3600 * n / part.seconds:,.0f} | "
            f"{right / n:.4f} ({low:.4f}–{high:.4f}) | {before / n:.4f} | {part.looks:,} | "
            f"{part.corrections:,} |"
        )


def _label(columns: Columns, bins: Sequence[str], row: int, *, now: bool = False) -> str | None:
    number = int((columns.label if now else columns.model)[row])
    return None if number < 0 else bins[number]


if __name__ == "__main__":
    main()
