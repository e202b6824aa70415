"""Readings: signed, closed, opened again, read a second time without the first, adjudicated."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sklearn.metrics import cohen_kappa_score

from naturalize.review.service import users
from naturalize.review.service.answers import Progress
from naturalize.review.service.errors import (
    BlockedError,
    ClosedError,
    NoSuchError,
    NotAllowedError,
    ReviewError,
)
from naturalize.review.service.review import Review
from naturalize.review.service.roles import Actor
from naturalize.review.store.cells import CellRow

ADA, BEN, CAT = (Actor(name, "reviewer") for name in ("ada", "ben", "cat"))
CHIEF, LEO = Actor("chief", "admin"), Actor("leo", "reader")

Opened = Callable[..., Review]


def label(review: Review, actor: Actor, reading: int, labels: dict[int, str]) -> None:
    """Give cells labels, whatever their version is."""
    versions = review.columns(reading, actor).version.tolist()
    for code in sorted(set(labels.values())):
        cells = [cell for cell, wanted in labels.items() if wanted == code]
        known = [versions[cell - 1] for cell in cells]
        assert not review.change(actor, reading, cells, known, code).conflicts


def read(review: Review, actor: Actor, reading: int, labels: list[str]) -> None:
    """Label all cells and sign."""
    label(review, actor, reading, dict(enumerate(labels, start=1)))
    review.sign(actor, reading)


@pytest.fixture
def twice(opened: Opened) -> Iterator[Review]:
    """Four cells, read by ada and blind by ben; they disagree on cell 2."""
    review = opened(4)
    read(review, ADA, 1, ["EO", "LY", "SNE", "BA"])
    review.second(BEN)
    read(review, BEN, 2, ["EO", "SNE", "SNE", "BA"])
    return review


# ---- sign-off --------------------------------------------------------------------------------


def test_signing_waits_until_all_is_settled_and_says_how_much_is_not(opened: Opened) -> None:
    review = opened(8)  # cells 4 and 8 are unidentified
    with pytest.raises(BlockedError, match=r"2 cells.*8 "):
        review.sign(ADA, 1)
    review.change(ADA, 1, list(range(1, 8)), [0] * 7, None, kind="seen")
    with pytest.raises(BlockedError, match=r"2 cells.*1 "):
        review.sign(ADA, 1)
    review.change(ADA, 1, [4], [0], "BA")
    with pytest.raises(BlockedError, match="1 "):
        review.sign(ADA, 1)
    review.change(ADA, 1, [8], [0], None, kind="accept")  # seen, and still unidentified
    with pytest.raises(BlockedError, match="unidentified"):
        review.sign(ADA, 1)
    assert review.reading(1).signed_at is None
    review.change(ADA, 1, [8], [1], "LY")
    review.sign(ADA, 1)
    signed = review.reading(1)
    assert signed.signed_by == "ada"
    assert signed.signed_at is not None
    assert signed.signed_at.startswith("20")
    assert [(e.user, e.kind) for e in review.trail(1, ADA)][-1] == ("ada", "sign")


def test_a_signed_reading_is_closed(opened: Opened) -> None:
    review = opened(2)
    read(review, ADA, 1, ["EO", "LY"])
    before = review.trail(1, ADA)
    attempts: list[Callable[[], Any]] = [
        lambda: review.change(ADA, 1, [1], [1], "BA"),
        lambda: review.change(ADA, 1, [1], [1], None, kind="accept"),
        lambda: review.change(ADA, 1, [1], [1], None, kind="seen"),
        lambda: review.undo(ADA, 1),
        lambda: review.redo(ADA, 1),
        lambda: review.sign(ADA, 1),
        lambda: review.add([CellRow("uploads/1/a.png")]),
    ]
    for attempt in attempts:
        with pytest.raises(ClosedError, match="ada"):
            attempt()
    assert review.trail(1, ADA) == before
    assert review.cell(1, 1, ADA).label == "EO"


def test_cells_do_not_join_what_is_signed(opened: Opened) -> None:
    review = opened(2)
    review.second(BEN)
    read(review, BEN, 2, ["EO", "LY"])
    with pytest.raises(ClosedError, match="reading 2"):
        review.add([CellRow("uploads/1/a.png")])
    assert review.progress(1).total == review.progress(2).total == 2


def test_opening_again_needs_a_reason_and_an_administrator(opened: Opened) -> None:
    review = opened(2)
    with pytest.raises(ReviewError, match="open"):
        review.reopen(CHIEF, 1, "why not")  # it is not signed
    read(review, ADA, 1, ["EO", "LY"])
    with pytest.raises(NotAllowedError, match="ada"):
        review.reopen(ADA, 1, "I was wrong")
    for empty in ("", "   "):
        with pytest.raises(ReviewError, match="reason"):
            review.reopen(CHIEF, 1, empty)
    review.reopen(CHIEF, 1, "cell 2 is a blast")
    assert review.reading(1).signed_at is None
    assert review.reading(1).signed_by is None
    last = review.trail(1, ADA)[-1]
    assert (last.user, last.kind, last.reason) == ("chief", "reopen", "cell 2 is a blast")
    assert review.undo(ADA, 1).cells[0][0] == 2  # what was done before is still there to undo
    label(review, ADA, 1, {2: "BA"})
    review.sign(ADA, 1)
    assert [e.kind for e in review.trail(1, ADA)].count("sign") == 2


def test_who_may_only_look_signs_nothing(opened: Opened) -> None:
    review = opened(1)
    for attempt in (
        lambda: review.sign(LEO, 1),
        lambda: review.second(LEO),
        lambda: review.adjudicate(LEO),
        lambda: review.reopen(LEO, 1, "for fun"),
    ):
        with pytest.raises(NotAllowedError, match="leo"):
            attempt()


# ---- the second reader -----------------------------------------------------------------------


def test_the_second_reader_begins_with_the_model_and_not_with_the_first(opened: Opened) -> None:
    review = opened(4)
    label(review, ADA, 1, {1: "BA", 4: "BA"})
    review.second(BEN)
    columns = review.columns(2, BEN)
    assert columns.label.tolist() == columns.model.tolist() == [1, 3, 0, -1]
    assert not columns.seen.any()
    assert not columns.version.any()
    assert review.cell(2, 1, BEN).history == []
    assert review.reading(2).blind


def test_the_second_reader_sees_nothing_of_the_first(opened: Opened) -> None:
    review = opened(4)
    label(review, ADA, 1, {1: "BA", 4: "BA"})
    review.second(BEN)
    attempts: list[Callable[[int, Actor], Any]] = [
        review.columns,
        lambda reading, actor: review.cell(reading, 1, actor),
        lambda reading, actor: review.events(0, reading, 10, actor),
        review.trail,
        review.counts,
        lambda reading, actor: list(review.answers(reading, actor)),
        lambda reading, actor: review.change(actor, reading, [2], [0], "BA"),
        lambda reading, actor: review.undo(actor, reading),
        lambda reading, actor: review.sign(actor, reading),
    ]
    for attempt in attempts:
        with pytest.raises(NotAllowedError):
            attempt(1, BEN)
        with pytest.raises(NotAllowedError):
            attempt(2, ADA)  # nor the first reader of the second
    assert [r.number for r in review.readings(BEN)] == [2]
    assert [r.number for r in review.readings(ADA)] == [1]
    assert all(e.reading != 1 for e in review.trail(2, BEN))
    # one signature is not enough
    review.change(ADA, 1, [2, 3], [0, 0], None, kind="accept")
    review.sign(ADA, 1)
    with pytest.raises(NotAllowedError):
        review.columns(1, BEN)
    with pytest.raises(ReviewError):
        review.agreement(BEN)
    read(review, BEN, 2, ["EO", "LY", "SNE", "BA"])
    assert review.columns(1, BEN).label.tolist() == [2, 3, 0, 2]
    assert [r.number for r in review.readings(BEN)] == [1, 2]
    assert review.columns(2, ADA).ids.size == 4


def test_who_has_a_part_in_the_first_reading_is_no_second_reader(opened: Opened) -> None:
    review = opened(2)
    label(review, ADA, 1, {1: "BA"})
    review.undo(ADA, 1)  # undoing does not make anybody blind
    with pytest.raises(NotAllowedError, match="ada"):
        review.second(ADA)
    review.change(BEN, 1, [1], [2], None, kind="seen")
    review.second(BEN)  # a page that was open marks cells as seen: that is no part yet
    with pytest.raises(ReviewError, match="already"):
        review.second(Actor("dan", "reviewer"))


def test_a_third_person_does_not_change_the_second_reading(opened: Opened) -> None:
    review = opened(2)
    label(review, ADA, 1, {1: "BA"})
    review.second(BEN)
    for actor in (CAT, CHIEF):
        with pytest.raises(NotAllowedError):
            review.change(actor, 2, [1], [0], "BA")


def test_the_first_reader_does_not_see_the_second_who_is_ready_before(opened: Opened) -> None:
    review = opened(2)
    label(review, ADA, 1, {1: "BA"})
    review.second(BEN)
    read(review, BEN, 2, ["EO", "LY"])
    for actor in (ADA, CAT, CHIEF):
        with pytest.raises(NotAllowedError):
            review.columns(2, actor)
    review.reopen(CHIEF, 2, "cell 1 once more")  # without seeing it
    assert review.reading(2).signed_at is None


def test_the_second_reading_stays_blind_when_the_first_is_opened_again(opened: Opened) -> None:
    review = opened(2)
    read(review, ADA, 1, ["EO", "LY"])
    review.second(BEN)
    review.reopen(CHIEF, 1, "one more look")
    with pytest.raises(NotAllowedError):
        review.columns(1, BEN)
    with pytest.raises(NotAllowedError):
        review.columns(2, ADA)


DAN = Actor("dan", "reviewer")


def test_a_second_reader_who_leaves_is_replaced_and_counts_no_more(opened: Opened) -> None:
    review = opened(4)
    read(review, ADA, 1, ["EO", "LY", "SNE", "BA"])
    review.second(BEN)
    label(review, BEN, 2, {1: "SNE", 4: "LY"})
    left = review.columns(2, BEN).event
    review.replace_second(CHIEF, "dan", "ben is ill")
    # the new reader begins with the model, and sees nothing of the first reading or the old reader
    columns = review.columns(2, DAN)
    assert columns.label.tolist() == columns.model.tolist()
    assert not columns.seen.any()
    assert not columns.version.any()
    assert review.progress(2).seen == 0
    assert review.cell(2, 1, DAN).history == []
    assert [(e.user, e.kind) for e in review.trail(2, DAN) if e.reading == 2] == [("chief", "open")]
    assert review.events(0, 2, 100, DAN).cells == review.events(left, 2, 100, DAN).cells == []
    assert review.undo(DAN, 2).action is None
    assert [r.number for r in review.readings(DAN)] == [2]
    for attempt in (review.columns, review.trail, review.counts):
        with pytest.raises(NotAllowedError):
            attempt(1, DAN)
        with pytest.raises(NotAllowedError):
            attempt(2, BEN)
    with pytest.raises(NotAllowedError):
        review.change(BEN, 2, [1], [0], "BA")
    # everybody sees that it was done; what the old reader said is seen when both have signed
    line = next(e for e in review.trail(1, ADA) if e.kind == "replace")
    assert (line.user, line.before, line.after) == ("chief", "ben", "dan")
    assert line.reason == "2 of 4 cells seen; ben is ill"
    read(review, DAN, 2, ["EO", "LY", "SNE", "LY"])
    found = review.agreement(CAT)
    assert found.disagreements == [(4, "BA", "LY")]
    expected = cohen_kappa_score(["EO", "LY", "SNE", "BA"], ["EO", "LY", "SNE", "LY"])
    assert found.kappa == pytest.approx(expected)
    assert {e.user for e in review.trail(2, CAT) if e.cell == 1} == {"ben", "dan"}
    assert {e.user for e in review.cell(2, 1, CAT).history} == {"ben", "dan"}


def test_who_may_replace_whom(opened: Opened) -> None:
    review = opened(2)
    label(review, ADA, 1, {1: "BA"})
    with pytest.raises(NoSuchError, match="not opened"):
        review.replace_second(CHIEF, "dan", "a reason")
    review.second(BEN)
    for actor in (ADA, BEN, LEO):
        with pytest.raises(NotAllowedError, match="may not replace"):
            review.replace_second(actor, "dan", "a reason")
    for reader, reason, why in (
        ("dan", " ", "reason"),
        ("ben", "a reason", "is the second reader"),
        ("ada", "a reason", "part in the first"),
    ):
        with pytest.raises(ReviewError, match=why):
            review.replace_second(CHIEF, reader, reason)
    review.replace_second(CHIEF, "dan", "ben left")
    review.replace_second(CHIEF, "eva", "dan left, too")
    for gone in ("ben", "dan"):  # who could look at the first reading since
        with pytest.raises(NotAllowedError, match="was replaced"):
            review.replace_second(CHIEF, gone, "back again")
    read(review, Actor("eva", "reviewer"), 2, ["EO", "LY"])
    before = review.trail(1, ADA)
    with pytest.raises(BlockedError, match=r"signed by eva.*opened again"):
        review.replace_second(CHIEF, "cat", "a reason")
    review.reopen(CHIEF, 2, "cell 1 once more")
    review.replace_second(CHIEF, "cat", "eva left")
    assert review.columns(2, CAT).label.tolist() == [1, 3]
    assert [e.kind for e in review.trail(1, ADA)[len(before) :]] == ["replace"]


def test_nobody_reads_blind_what_was_shown_to_all(twice: Review) -> None:
    assert twice.columns(2, CAT).label.tolist() == [1, 0, 0, 2]
    twice.reopen(CHIEF, 2, "cell 2 once more")
    with pytest.raises(BlockedError, match="shown to all"):
        twice.replace_second(CHIEF, "cat", "ben left")
    twice.reopen(CHIEF, 1, "and cell 1")
    with pytest.raises(BlockedError, match="shown to all"):
        twice.replace_second(CHIEF, "cat", "ben left")
    assert twice.second_reader() == "ben"


def test_a_new_second_reader_is_a_user_who_may_change_cells(opened: Opened) -> None:
    review = opened(2)
    roles = {"chief": "admin", "dan": "reviewer", "gone": "reviewer", "leo": "reader"}
    for name, role in roles.items():
        users.add(review, name, f"password of {name}", role)
    users.update(review, "gone", active=False)
    review.second(BEN)
    with pytest.raises(NoSuchError, match="nobody"):
        review.replace_second(CHIEF, "nobody", "a reason")
    for name in ("leo", "gone"):
        with pytest.raises(BlockedError, match=name):
            review.replace_second(CHIEF, name, "a reason")
    review.replace_second(CHIEF, "dan", "a reason")
    assert review.second_reader() == "dan"


@settings(
    max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_whatever_was_done_nobody_learns_of_it_before_both_have_signed(
    data: st.DataObject, make_review: Callable[..., Any], tmp_path: Any
) -> None:
    """The tally is that of the states, and the new reader gets what a first second reader gets."""
    folder = make_review(6, name=f"review {len(list(tmp_path.iterdir()))}")
    review = Review.open(folder)
    review.second(BEN)
    reader = BEN
    for name in ("dan", "eva"):
        for _ in range(data.draw(st.integers(0, 4))):
            if data.draw(st.booleans()):
                cells = data.draw(st.sets(st.integers(1, 6), min_size=1))
                label(
                    review,
                    reader,
                    2,
                    dict.fromkeys(cells, data.draw(st.sampled_from(["BA", "EO"]))),
                )
            else:
                review.undo(reader, 2)
        review.replace_second(CHIEF, name, "left")
        reader = Actor(name, "reviewer")
        columns = review.columns(2, reader)
        assert columns.label.tolist() == columns.model.tolist()
        assert review.undo(reader, 2).action is review.redo(reader, 2).action is None
        assert review.progress(2) == Progress(6, 1, 6)
        assert {e.user for e in review.trail(2, reader) if e.reading == 2} == {"chief"}
        label(review, reader, 2, {4: "LY"})
        assert review.progress(2) == Progress(6, 0, 5)
        assert len(review.cell(2, 4, reader).history) == 1
    review.close()


# ---- agreement and adjudication --------------------------------------------------------------


def test_where_two_readers_disagree(twice: Review) -> None:
    found = twice.agreement(CAT)
    assert (found.n, found.same) == (4, 3)
    assert found.disagreements == [(2, "LY", "SNE")]
    expected = cohen_kappa_score(["EO", "LY", "SNE", "BA"], ["EO", "SNE", "SNE", "BA"])
    assert found.kappa == pytest.approx(expected)
    assert found.interval is not None
    assert found.interval[0] <= found.kappa <= found.interval[1]


@settings(
    max_examples=6, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    pairs=st.lists(
        st.tuples(*[st.sampled_from(["EO", "LY", "SNE", "BA"])] * 2), min_size=2, max_size=12
    )
)
def test_kappa_is_that_of_scikit_learn(
    pairs: list[tuple[str, str]], make_review: Callable[..., Any], tmp_path: Any
) -> None:
    folder = make_review(len(pairs), name=f"review {len(list(tmp_path.iterdir()))}")
    review = Review.open(folder)
    first, second = ([pair[i] for pair in pairs] for i in (0, 1))
    read(review, ADA, 1, first)
    review.second(BEN)
    read(review, BEN, 2, second)
    found = review.agreement(ADA)
    review.close()
    assert found.same == sum(a == b for a, b in pairs)
    if len({*first, *second}) == 1:
        assert found.kappa is None
        assert found.interval is None
    else:
        assert found.kappa == pytest.approx(cohen_kappa_score(first, second))


def test_resamples_in_which_chance_agrees_on_all_do_not_count(opened: Opened) -> None:
    review = opened(2)  # each fourth resample is of two cells of one class
    read(review, ADA, 1, ["EO", "LY"])
    review.second(BEN)
    read(review, BEN, 2, ["EO", "LY"])
    assert (review.agreement(CAT).kappa, review.agreement(CAT).interval) == (1, (1, 1))


def test_no_agreement_before_both_are_signed(opened: Opened) -> None:
    review = opened(2)
    with pytest.raises(ReviewError, match="signed"):
        review.agreement(ADA)
    read(review, ADA, 1, ["EO", "LY"])
    with pytest.raises(ReviewError, match="signed"):
        review.agreement(ADA)
    with pytest.raises(ReviewError, match="signed"):
        review.adjudicate(ADA)


def test_adjudication_settles_what_the_two_disagree_on(twice: Review) -> None:
    twice.adjudicate(CAT)
    columns = twice.columns(3, CAT)
    assert columns.label.tolist() == [1, -1, 0, 2]
    assert columns.seen.tolist() == [1, 0, 1, 1]
    with pytest.raises(BlockedError, match="1 "):
        twice.sign(CAT, 3)
    label(twice, CAT, 3, {2: "LY"})
    twice.sign(CAT, 3)
    assert twice.reading(3).signed_by == "cat"
    assert [r.number for r in twice.readings(ADA)] == [1, 2, 3]
    # the two readings stay as they were signed
    assert twice.columns(1, CAT).label.tolist() == [1, 3, 0, 2]
    assert twice.columns(2, CAT).label.tolist() == [1, 0, 0, 2]
    with pytest.raises(ReviewError, match="already"):
        twice.adjudicate(CAT)


def test_what_was_adjudicated_is_not_opened_beneath(twice: Review) -> None:
    twice.adjudicate(CAT)
    with pytest.raises(ReviewError, match="adjudicated"):
        twice.reopen(CHIEF, 1, "one more look")


@pytest.mark.parametrize("number", [0, 2, 3, 4, -1])
def test_a_reading_that_was_not_opened(opened: Opened, number: int) -> None:
    review = opened(1)
    attempts: list[Callable[[], Any]] = [
        lambda: review.reading(number),
        lambda: review.progress(number),
        lambda: review.sign(ADA, number),
        lambda: review.reopen(CHIEF, number, "a reason"),
        lambda: review.trail(number, ADA),
        lambda: list(review.answers(number, ADA)),
    ]
    for attempt in attempts:
        with pytest.raises(NoSuchError, match=str(number)):
            attempt()
