"""What a review keeps, whatever happens to it: kills, raw SQL, strange files, many threads."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from naturalize.base.errors import ArtifactError, NaturalizeError, SettingsError
from naturalize.review.service.errors import BlockedError, NoSuchError
from naturalize.review.service.review import Review
from naturalize.review.service.roles import Actor
from naturalize.review.store.cells import CellRow
from naturalize.review.store.database import BusyError

ADA = Actor("ada", "admin")

MakeReview = Callable[..., Path]
Opened = Callable[..., Review]

#: Changes cells 1, 2, … of a review one by one; a line is printed once a change is acknowledged.
CHANGES = """
import sys
from naturalize.review.service.review import Review
from naturalize.review.service.roles import Actor
review = Review.open(sys.argv[1])
for cell in range(1, 1001):
    changed = review.change(Actor("ada", "reviewer"), 1, [cell], [0], "BA")
    assert changed.cells == [(cell, "BA", True, 1)]
    print(cell, flush=True)
"""


def test_what_was_acknowledged_survives_a_kill(make_review: MakeReview) -> None:
    folder = make_review(1000)
    child = subprocess.Popen(
        [sys.executable, "-c", CHANGES, str(folder)], stdout=subprocess.PIPE, text=True
    )
    assert child.stdout is not None
    acknowledged = [int(child.stdout.readline()) for _ in range(300)]
    child.send_signal(signal.SIGKILL)
    acknowledged += [int(line) for line in child.stdout.read().split()]
    child.stdout.close()
    assert child.wait() == -signal.SIGKILL
    assert len(acknowledged) < 1000
    with closing(sqlite3.connect(folder / "review.db")) as link:
        assert link.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert link.execute("PRAGMA foreign_key_check").fetchall() == []
        trail = link.execute("SELECT cell FROM event WHERE kind = 'label' ORDER BY id").fetchall()
    changed = [cell for (cell,) in trail]
    # one more may be on the disk whose acknowledgement did not get out
    assert changed == list(range(1, len(changed) + 1))
    assert len(acknowledged) <= len(changed) <= len(acknowledged) + 1
    review = Review.open(folder)
    columns = review.columns(1, ADA)
    assert columns.version.tolist() == [1] * len(changed) + [0] * (1000 - len(changed))
    assert review.progress(1).seen == len(changed)
    assert review.undo(Actor("ada", "reviewer"), 1).cells[0][0] == len(changed)
    review.close()


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE event SET user = 'ben'",
        "UPDATE event SET reason = 'x' WHERE id = (SELECT max(id) FROM event)",
        "DELETE FROM event",
        "DELETE FROM event WHERE cell = 1",
        "INSERT OR REPLACE INTO event SELECT * FROM event WHERE cell = 1",
        "REPLACE INTO event (id, at, user, kind) SELECT id, at, 'ben', kind FROM event",
    ],
)
def test_the_trail_cannot_be_changed_even_by_sql(make_review: MakeReview, statement: str) -> None:
    folder = make_review(4)
    review = Review.open(folder)
    review.change(ADA, 1, [1, 2], [0, 0], "BA")
    review.close()
    with closing(sqlite3.connect(folder / "review.db")) as link:
        before = link.execute("SELECT * FROM event").fetchall()
        with pytest.raises(sqlite3.IntegrityError):
            link.execute(statement)
        link.rollback()
        assert link.execute("SELECT * FROM event").fetchall() == before


def test_twenty_people_at_once(opened: Opened) -> None:
    review = opened(100)

    def work(number: int) -> list[tuple[int, str | None, bool, int]]:
        actor, done = Actor(f"user {number}", "reviewer"), []
        for cell in range(number + 1, 101, 20):
            done += review.change(actor, 1, [cell], [0], "BA").cells
        assert {cell for cell, *_ in done} <= {c[0] for c in review.events(0, 1, 500, actor).cells}
        return done

    with ThreadPoolExecutor(20) as pool:
        found = sorted(cell for cells in pool.map(work, range(20)) for cell in cells)
    assert found == [(cell, "BA", True, 1) for cell in range(1, 101)]
    assert review.progress(1).unseen == 0
    assert len({event.id for event in review.trail(1, ADA, 0, 1000) if event.cell}) == 100


def test_twenty_people_at_one_cell(opened: Opened) -> None:
    review = opened(4)

    def work(number: int) -> tuple[int, int]:
        changed = review.change(Actor(f"user {number}", "reviewer"), 1, [1], [0], "BA")
        return len(changed.cells), len(changed.conflicts)

    with ThreadPoolExecutor(20) as pool:
        found = list(pool.map(work, range(20)))
    assert sorted(found) == [(0, 1)] * 19 + [(1, 0)]


def test_two_servers_of_one_review(make_review: MakeReview) -> None:
    folder = make_review(4)
    one, two = Review.open(folder), Review.open(folder)
    one.change(ADA, 1, [1], [0], "BA")
    changed = two.change(Actor("ben", "reviewer"), 1, [1], [0], "LY")
    assert [conflict[:4] for conflict in changed.conflicts] == [(1, "BA", 1, "ada")]
    one.close()
    two.close()


# ---- files ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["a?b", "50 % #1", "Zählung Ä", "it's; DROP", "a&b=c"])
def test_a_folder_may_have_any_name(make_review: MakeReview, name: str) -> None:
    folder = make_review(4, name=name)
    assert sorted(path.name for path in folder.iterdir()) == ["review.db"]
    review = Review.open(folder)
    review.change(ADA, 1, [1], [0], "BA")
    review.close()
    assert {path.name for path in folder.parent.iterdir()} == {name}


def test_no_review_there(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="review"):
        Review.open(tmp_path / "absent")
    with pytest.raises(ArtifactError, match="review"):
        Review.open(tmp_path)
    assert list(tmp_path.iterdir()) == []  # looking makes no file


def test_another_version_is_named(make_review: MakeReview) -> None:
    folder = make_review(4)
    with closing(sqlite3.connect(folder / "review.db")) as link:
        link.execute("PRAGMA user_version = 99")
    with pytest.raises(ArtifactError, match="99"):
        Review.open(folder)


@pytest.mark.parametrize("content", [b"", b"no database at all\n" * 100, b"SQLite format 3\0" * 64])
def test_a_file_that_is_no_database(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "review.db").write_bytes(content)
    with pytest.raises(ArtifactError, match=r"review\.db"):
        Review.open(tmp_path)
    assert (tmp_path / "review.db").read_bytes() == content


def test_a_database_of_something_else(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "review.db")) as link:
        link.execute("CREATE TABLE recipe (name)")
        link.execute("PRAGMA user_version = 1")
        link.commit()
    with pytest.raises(ArtifactError, match=r"review\.db"):
        Review.open(tmp_path)


def test_a_review_that_another_program_holds(make_review: MakeReview) -> None:
    folder = make_review(4)
    review = Review.open(folder)
    with (
        closing(sqlite3.connect(folder / "review.db", isolation_level=None)) as link,
        ThreadPoolExecutor(2) as pool,
    ):
        link.execute("BEGIN EXCLUSIVE")
        found = [
            pool.submit(Review.open, folder),
            pool.submit(review.change, ADA, 1, [1], [0], "BA"),
        ]
        for each in found:
            with pytest.raises(BusyError, match="another program"):
                each.result()
        assert review.columns(1, ADA).ids.size == 4  # looking goes on
        link.execute("ROLLBACK")
    assert review.change(ADA, 1, [1], [0], "BA").cells == [(1, "BA", True, 1)]
    review.close()


@contextmanager
def as_somebody_who_may_not_write(folder: Path) -> Iterator[None]:
    """Take away the right to write below ``folder``, from root too."""
    for path in (folder, *folder.iterdir()):
        path.chmod(0o555 if path.is_dir() else 0o444)
    modes = {path: path.stat().st_mode for path in folder.parents}
    is_root = os.geteuid() == 0
    if is_root:
        for path, mode in modes.items():
            path.chmod(mode | 0o111)
        os.seteuid(65534)
    try:
        yield
    finally:
        if is_root:
            os.seteuid(0)
            for path, mode in modes.items():
                path.chmod(mode)
        folder.chmod(0o755)


@pytest.mark.skipif(not hasattr(os, "seteuid"), reason="no users of this kind here")
def test_a_folder_that_cannot_be_written_to(make_review: MakeReview) -> None:
    folder = make_review(4)
    with (
        as_somebody_who_may_not_write(folder),
        pytest.raises(ArtifactError, match="write"),
    ):
        Review.open(folder)


def test_a_review_is_not_written_over(make_review: MakeReview) -> None:
    folder = make_review(4)
    before = (folder / "review.db").read_bytes()
    with pytest.raises(ArtifactError, match="exists"):
        Review.create(folder, {"name": "x", "created": "2026", "classes": ["A"]}, [])
    assert (folder / "review.db").read_bytes() == before


# ---- what a review begins with ----------------------------------------------------------------


def test_a_review_of_no_cells(opened: Opened) -> None:
    review = opened(0)
    columns = review.columns(1, ADA)
    assert columns.ids.size == columns.label.size == 0
    assert list(review.answers(1, ADA)) == []
    assert review.counts(1, ADA) == []
    progress = review.progress(1)
    assert (progress.total, progress.unidentified, progress.unseen) == (0, 0, 0)
    assert review.change(ADA, 1, [], [], "BA").cells == []
    with pytest.raises(BlockedError, match="no cell"):
        review.sign(ADA, 1)


@pytest.mark.parametrize(
    ("settings", "what"),
    [
        ({"target": 0}, "target"),
        ({"colour": "red"}, "colour"),
        ({"bins": ["EO", "EO", "LY", "SNE"]}, "twice"),
        ({"keys": {"EO": "1", "LY": "1"}}, "same key"),
        ({"keys": {"XYZ": "1"}}, "XYZ"),
        ({"keys": {"EO": "long"}}, "key"),
    ],
)
def test_settings_that_cannot_be(
    make_review: MakeReview, settings: dict[str, object], what: str
) -> None:
    with pytest.raises(SettingsError, match=what):
        make_review(4, **settings)


def test_a_label_that_is_no_class_leaves_no_review(tmp_path: Path) -> None:
    settings = {"name": "x", "created": "2026", "classes": ["A", "B"]}
    cells = [CellRow("1.png", model_label="A"), CellRow("2.png", model_label="C")]
    with pytest.raises(SettingsError, match=r"2\.png"):
        Review.create(tmp_path, settings, cells)
    with pytest.raises(ArtifactError):
        Review.open(tmp_path)


def test_what_an_administrator_sets_is_kept(make_review: MakeReview) -> None:
    folder = make_review(4)
    review = Review.open(folder)
    bins = ["LY", "EO", "SNE", "BA", "blast"]
    review.set(ADA, target=200, rules=["blast > 0"], bins=bins)
    with pytest.raises(SettingsError, match="EO"):
        review.set(ADA, bins=["LY"])  # cells are in the others
    with pytest.raises(NaturalizeError, match="root"):
        review.set(ADA, root="/elsewhere")
    review.close()
    review = Review.open(folder)
    settings = review.settings
    assert (settings.target, settings.rules, settings.bins) == (200, ["blast > 0"], bins)
    assert settings.keys["EO"] == "2"
    assert len(set(settings.keys.values())) == 5
    assert [e.user for e in review.trail(1, ADA) if e.kind == "rules"] == ["ada"]
    review.change(ADA, 1, [1], [0], "blast")
    review.change(ADA, 1, [1], [1], "EO")
    with pytest.raises(SettingsError, match="blast"):
        review.set(ADA, bins=bins[:-1])  # an undo may bring it back
    review.close()


def test_cells_are_kept_as_they_came(tmp_path: Path) -> None:
    import numpy as np

    outline = np.array([[0, -3], [40, 2], [300, 700]], np.int16)
    probabilities = np.array([0.25, 0.75], np.float32)
    row = CellRow(
        path="été/1.png", field="f1", number=3, box=(1, 2, 30, 40), kind="platelet",
        model_label="B", confidence=0.75, probabilities=probabilities, candidates=("B", "large A"),
        flag="cut", doubt=0.5, cluster=7, rank=9, area=12.5, taken=1e9, outline=outline,
    )  # fmt: skip
    Review.create(tmp_path, {"name": "x", "created": "2026", "classes": ["A", "B"]}, [row])
    review = Review.open(tmp_path)
    found = review.row(1)
    for name, value in vars(row).items():
        assert np.array_equal(getattr(found, name), value), name
    assert [number for number, _ in review.rows_at("été/1.png")] == [1]
    assert review.cells_below("été/") == 1
    assert not review.cells_below("e")
    assert not review.cells_below("%")
    cell = review.cell(1, 1, ADA)
    assert cell.probabilities == [0.25, 0.75]
    assert cell.candidates == ["B", "large A"]
    with pytest.raises(NoSuchError, match="2"):
        review.row(2)
    review.close()


def test_uploaded_cells_join_open_readings(opened: Opened) -> None:
    review = opened(4)
    ids = review.add([CellRow("uploads/1/a.png", model_label="LY"), CellRow("uploads/1/b.png")])
    assert ids == [5, 6]
    columns = review.columns(1, ADA)
    assert columns.label[4:].tolist() == [3, -1]
    assert not columns.seen[4:].any()
    assert review.progress(1).total == 6
    assert review.cells_below("uploads/1/") == 2
    with pytest.raises(SettingsError):
        review.add([CellRow("uploads/2/a.png"), CellRow("uploads/2/b.png", model_label="XYZ")])
    assert review.progress(1).total == 6
    assert not review.cells_below("uploads/2/")
