"""Changes of cells, and what is undone: against a model in memory, and from the trail alone."""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from naturalize.base.errors import NaturalizeError
from naturalize.review.service.errors import NoSuchError, NotAllowedError
from naturalize.review.service.review import Review
from naturalize.review.service.roles import Actor

ADA, BEN = Actor("ada", "reviewer"), Actor("ben", "reviewer")
BINS = ["SNE", "EO", "BA", "LY"]
MODEL = ("EO", "LY", "SNE", None)  # of cells 1, 2, 3, 4

Opened = Callable[..., Review]


def now_of(review: Review, cell: int, reading: int = 1) -> tuple[str | None, bool, int]:
    found = review.cell(reading, cell, ADA)
    return found.label, found.seen, found.version


def trail_of(review: Review) -> list[Any]:
    return review.trail(1, ADA, 0, 100_000)


# ---- one change ------------------------------------------------------------------------------


def test_a_review_begins_with_what_the_model_said(opened: Opened) -> None:
    columns = opened(6).columns(1, ADA)
    assert columns.ids.tolist() == [1, 2, 3, 4, 5, 6]
    # indices into the bins SNE, EO, BA, LY; the fourth cell is unidentified
    assert columns.label.tolist() == columns.model.tolist() == [1, 3, 0, -1, 1, 3]
    assert not columns.seen.any()
    assert not columns.version.any()
    assert columns.cluster.tolist() == [0, 0, 0, 1, 1, 1]
    assert np.isnan(columns.area).all()


def test_a_change_gives_a_label_and_marks_the_cell_as_seen(opened: Opened) -> None:
    review = opened(6)
    changed = review.change(ADA, 1, [4, 2], [0, 0], "BA")
    assert sorted(changed.cells) == [(2, "BA", True, 1), (4, "BA", True, 1)]
    assert changed.conflicts == []
    assert changed.counts == {"EO": 2, "LY": 1, "SNE": 1, "BA": 2}
    columns = review.columns(1, ADA)
    assert columns.label.tolist() == [1, 2, 0, 2, 1, 3]
    assert columns.seen.tolist() == [0, 1, 0, 1, 0, 0]
    assert columns.version.tolist() == [0, 1, 0, 1, 0, 0]
    events = [(e.user, e.kind, e.cell, e.before, e.after, e.version) for e in trail_of(review)]
    assert ("ada", "label", 4, None, "BA", 1) in events
    assert ("ada", "label", 2, "LY", "BA", 1) in events


def test_a_label_is_taken_away_and_accepted(opened: Opened) -> None:
    review = opened(4)
    assert review.change(ADA, 1, [1], [0], None).cells == [(1, None, True, 1)]
    assert review.change(ADA, 1, [2], [0], None, kind="accept").cells == [(2, "LY", True, 1)]
    assert review.change(ADA, 1, [3], [0], None, kind="seen").cells == [(3, "SNE", True, 0)]
    progress = review.progress(1)
    assert (progress.total, progress.unidentified, progress.seen) == (4, 2, 3)
    assert progress.unseen == 1


def test_the_later_of_two_is_told_and_nothing_is_lost(opened: Opened) -> None:
    review = opened(4)
    review.change(ADA, 1, [1], [0], "BA")
    changed = review.change(BEN, 1, [1, 2], [0, 0], "SNE")
    assert changed.cells == [(2, "SNE", True, 1)]
    ((cell, label, version, user, at),) = changed.conflicts
    assert (cell, label, version, user) == (1, "BA", 1, "ada")
    assert at.startswith("20")
    assert now_of(review, 1) == ("BA", True, 1)
    again = review.change(BEN, 1, [1], [1], "SNE")  # knowing what ada said
    assert again.cells == [(1, "SNE", True, 2)]
    history = [(e.user, e.before, e.after) for e in review.cell(1, 1, ADA).history]
    assert history == [("ada", "EO", "BA"), ("ben", "BA", "SNE")]


def test_a_change_that_changes_nothing_leaves_no_trace(opened: Opened) -> None:
    review = opened(4)
    review.change(ADA, 1, [1], [0], "BA")
    lines = len(trail_of(review))
    assert review.change(ADA, 1, [1], [1], "BA").cells == [(1, "BA", True, 1)]
    assert len(trail_of(review)) == lines


@pytest.mark.parametrize(
    ("ids", "versions", "label", "kind", "what"),
    [
        ([99], [0], "BA", "label", "99"),
        ([0], [0], "BA", "label", "0"),
        ([-1], [0], "BA", "label", "-1"),
        ([1], [0], "XYZ", "label", "XYZ"),
        ([1], [0], "", "label", "class"),
        ([1], [0], "BA", "paint", "paint"),
        ([1, 2], [0], "BA", "label", "once"),
        ([1, 1], [0, 0], "BA", "label", "once"),
    ],
)
def test_what_makes_no_sense_is_refused_and_changes_nothing(
    opened: Opened, ids: list[int], versions: list[int], label: str, kind: str, what: str
) -> None:
    review = opened(4)
    with pytest.raises(NaturalizeError, match=what):
        review.change(ADA, 1, ids, versions, label, kind)
    assert review.columns(1, ADA).version.tolist() == [0, 0, 0, 0]


def test_one_strange_cell_among_many_changes_none(opened: Opened) -> None:
    review = opened(4)
    with pytest.raises(NoSuchError, match="99"):
        review.change(ADA, 1, [1, 99], [0, 0], "BA")
    assert now_of(review, 1) == ("EO", False, 0)


def test_a_reading_that_is_not_open_is_refused(opened: Opened) -> None:
    review = opened(4)
    with pytest.raises(NoSuchError, match="2"):
        review.change(ADA, 2, [1], [0], "BA")
    with pytest.raises(NoSuchError):
        review.columns(3, ADA)
    with pytest.raises(NoSuchError):
        review.progress(2)


def test_who_may_only_look_changes_nothing(opened: Opened) -> None:
    review, leo = opened(4), Actor("leo", "reader")
    with pytest.raises(NotAllowedError, match="leo"):
        review.change(leo, 1, [1], [0], "BA")
    with pytest.raises(NotAllowedError):
        review.undo(leo, 1)
    assert review.columns(1, leo).ids.size == 4


def test_many_cells_change_at_once(opened: Opened) -> None:
    review = opened(3000)
    ids = list(range(1, 3001))
    changed = review.change(ADA, 1, ids, [0] * 3000, "LY")
    assert changed.counts == {"LY": 3000}
    assert review.progress(1).unseen == 0
    assert review.undo(ADA, 1).counts == {"EO": 750, "LY": 750, "SNE": 750, None: 750}
    assert review.progress(1).unseen == 3000


# ---- undo and redo ---------------------------------------------------------------------------


def test_undo_takes_back_and_redo_does_again(opened: Opened) -> None:
    review = opened(4)
    review.change(ADA, 1, [1, 4], [0, 0], "BA")
    assert sorted(review.undo(ADA, 1).cells) == [(1, "EO", False, 2), (4, None, False, 2)]
    assert sorted(review.redo(ADA, 1).cells) == [(1, "BA", True, 3), (4, "BA", True, 3)]


def test_nothing_to_undo_is_no_error(opened: Opened) -> None:
    review = opened(4)
    for empty in (review.undo(ADA, 1), review.redo(ADA, 1)):
        assert (empty.action, empty.cells, empty.conflicts) == (None, [], [])


def test_the_same_cell_is_undone_step_by_step(opened: Opened) -> None:
    review = opened(4)
    for version, label in enumerate(["BA", "SNE", "LY"]):
        review.change(ADA, 1, [1], [version], label)
    labels = [review.undo(ADA, 1).cells[0][1] for _ in range(3)]
    assert labels == ["SNE", "BA", "EO"]
    labels = [review.redo(ADA, 1).cells[0][1] for _ in range(3)]
    assert labels == ["BA", "SNE", "LY"]


def test_a_new_change_ends_what_could_be_redone(opened: Opened) -> None:
    review = opened(4)
    review.change(ADA, 1, [1], [0], "BA")
    review.change(ADA, 1, [2], [0], "BA")
    review.undo(ADA, 1)
    review.change(ADA, 1, [3], [0], "BA")
    assert review.redo(ADA, 1).action is None
    review.undo(ADA, 1)
    assert [c[0] for c in review.redo(ADA, 1).cells] == [3]  # and not cell 2
    assert now_of(review, 2)[0] == "LY"


def test_undo_goes_on_after_a_restart(make_review: Callable[..., Path]) -> None:
    folder = make_review(25)
    review = Review.open(folder)
    for cell in range(1, 26):
        review.change(ADA, 1, [cell], [0], "BA")
    review.undo(ADA, 1)
    review.close()
    review = Review.open(folder)
    for cell in range(24, 0, -1):
        assert review.undo(ADA, 1).cells[0][0] == cell
    assert review.undo(ADA, 1).action is None
    assert review.columns(1, ADA).label.tolist() == review.columns(1, ADA).model.tolist()
    review.close()
    review = Review.open(folder)
    for _ in range(25):
        review.redo(ADA, 1)
    assert review.progress(1).unidentified == 0
    review.close()


def test_what_another_changed_since_is_not_undone(opened: Opened) -> None:
    review = opened(4)
    review.change(ADA, 1, [1, 2], [0, 0], "BA")
    review.change(BEN, 1, [1], [1], "SNE")
    undone = review.undo(ADA, 1)
    assert [cell[:2] for cell in undone.cells] == [(2, "LY")]
    assert [(c[0], c[1], c[3]) for c in undone.conflicts] == [(1, "SNE", "ben")]
    assert now_of(review, 1)[0] == "SNE"


def test_each_user_undoes_their_own(opened: Opened) -> None:
    review = opened(4)
    review.change(ADA, 1, [1], [0], "BA")
    review.change(BEN, 1, [2], [0], "BA")
    assert [c[0] for c in review.undo(ADA, 1).cells] == [1]
    assert review.undo(ADA, 1).action is None
    assert now_of(review, 2)[0] == "BA"


# ---- what others changed ---------------------------------------------------------------------


def test_events_say_what_others_changed_since(opened: Opened) -> None:
    review = opened(4)
    start = review.columns(1, ADA).event
    assert review.events(start, 1, 100, ADA).cells == []
    review.change(BEN, 1, [1, 2], [0, 0], "BA")
    review.change(BEN, 1, [1], [1], "SNE")
    found = review.events(start, 1, 100, ADA)
    assert sorted(found.cells) == [(1, "SNE", True, 2), (2, "BA", True, 1)]
    assert found.users == ["ben"]
    assert review.events(found.event, 1, 100, ADA).cells == []


def test_events_come_in_pieces_without_a_gap(opened: Opened) -> None:
    review = opened(20)
    after, seen = review.columns(1, ADA).event, set()
    review.change(BEN, 1, list(range(1, 21)), [0] * 20, "BA")
    for _ in range(20):
        found = review.events(after, 1, 3, ADA)
        if not found.cells:
            break
        after = found.event
        seen |= {cell[0] for cell in found.cells}
    assert seen == set(range(1, 21))


# ---- random sequences ------------------------------------------------------------------------


class Model:
    """What two users do to four cells, worked out with lists and without a database."""

    def __init__(self) -> None:
        self.label = dict(enumerate(MODEL, start=1))
        self.seen = dict.fromkeys(self.label, False)
        self.version = dict.fromkeys(self.label, 0)
        self.writes: list[tuple[int, str]] = []  # cell, user: in order
        self.done: dict[str, list[Any]] = {"ada": [], "ben": []}
        self.undone: dict[str, list[Any]] = {"ada": [], "ben": []}

    def write(self, user: str, cell: int, label: str | None, seen: bool) -> tuple[Any, ...]:
        """Change a cell; return what brings it back: label, seen, number of the write."""
        before = (self.label[cell], self.seen[cell], len(self.writes))
        self.label[cell], self.seen[cell] = label, seen
        self.version[cell] += 1
        self.writes.append((cell, user))
        return before

    def change(
        self, user: str, wanted: dict[int, int], label: str | None, kind: str
    ) -> tuple[set[int], set[int]]:
        """Return cells that are as wanted, and cells in conflict."""
        step, fine, conflicts = {}, set(), set()
        for cell, version in wanted.items():
            if kind == "seen":
                self.seen[cell] = True
                fine.add(cell)
            elif version != self.version[cell]:
                conflicts.add(cell)
            else:
                after = self.label[cell] if kind == "accept" else label
                fine.add(cell)
                if not self.seen[cell] or after != self.label[cell]:
                    step[cell] = self.write(user, cell, after, True)
        if step:
            self.done[user].append(step)
            self.undone[user].clear()
        return fine, conflicts

    def back(self, user: str, kind: str) -> tuple[set[int], set[int]] | None:
        """Undo or redo; none if there is nothing."""
        from_, to = (self.done, self.undone) if kind == "undo" else (self.undone, self.done)
        if not from_[user]:
            return None
        inverse, conflicts = {}, set()
        for cell, (label, seen, number) in from_[user].pop().items():
            if any(c == cell and u != user for c, u in self.writes[number:]):
                conflicts.add(cell)
            else:
                inverse[cell] = self.write(user, cell, label, seen)
        to[user].append(inverse)
        return set(inverse), conflicts


CELLS = st.sets(st.integers(1, 4), min_size=1)
USERS = st.sampled_from([ADA, BEN])
STEPS = st.lists(
    st.one_of(
        st.tuples(
            st.just("change"),
            USERS,
            CELLS,
            st.sampled_from([*BINS, None]),
            st.sampled_from(["label", "label", "accept", "seen"]),
        ),
        st.tuples(st.sampled_from(["undo", "undo", "redo"]), USERS),
        st.tuples(st.just("look"), USERS),
        st.tuples(st.just("restart"), USERS),
    ),
    max_size=25,
)


def from_trail(file: Path) -> dict[int, tuple[str | None, int, int]]:
    """Work out label, seen and version of each cell from the cells and the trail, in plain SQL."""
    with closing(sqlite3.connect(file)) as link:
        found = {
            cell: (label, 0, 0) for cell, label in link.execute("SELECT id, model_label FROM cell")
        }
        lines = link.execute(
            "SELECT cell, before, after, is_seen, version FROM event "
            "WHERE reading = 1 AND cell IS NOT NULL ORDER BY id"
        )
        for cell, before, after, seen, version in lines:
            assert found[cell][0] == before
            found[cell] = (after, seen, version)
    return found


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(steps=STEPS)
def test_random_sequences_of_two_users_are_as_worked_out(
    steps: list[Any], make_review: Callable[..., Path], tmp_path: Path
) -> None:
    folder = make_review(4, name=f"review {len(list(tmp_path.iterdir()))}")
    review, model = Review.open(folder), Model()
    known = {user: dict(model.version) for user in (ADA, BEN)}
    for what, user, *more in steps:
        if what == "restart":
            review.close()
            review = Review.open(folder)
            continue
        if what == "look":
            known[user] = dict(model.version)
            continue
        if what == "change":
            cells, label, kind = more
            wanted = {cell: known[user][cell] for cell in sorted(cells)}
            expected = model.change(user.name, wanted, label, kind)
            found = review.change(user, 1, list(wanted), list(wanted.values()), label, kind)
        else:
            answer = model.back(user.name, what)
            found = getattr(review, what)(user, 1)
            if answer is None:
                assert found.action is None
                expected = (set(), set())
            else:
                expected = answer
        assert ({c[0] for c in found.cells}, {c[0] for c in found.conflicts}) == expected
        for cell, label, seen, version in found.cells:
            assert (label, seen) == (model.label[cell], model.seen[cell])
            assert version == model.version[cell]
            known[user][cell] = version
        assert found.counts == dict(Counter(model.label.values()))
    states = {
        cell: (model.label[cell], int(model.seen[cell]), model.version[cell])
        for cell in model.label
    }
    columns, progress = review.columns(1, ADA), review.progress(1)
    place = {code: i for i, code in enumerate(BINS)} | {None: -1}
    assert columns.label.tolist() == [place[state[0]] for state in states.values()]
    assert columns.seen.tolist() == [state[1] for state in states.values()]
    assert columns.version.tolist() == [state[2] for state in states.values()]
    assert progress.unidentified == list(model.label.values()).count(None)
    assert progress.seen == sum(model.seen.values())
    review.close()
    assert from_trail(folder / "review.db") == states
