"""Users: passwords, sessions and how they end, limits on failed logins, and who may do what."""

from __future__ import annotations

import hashlib
import shutil
import sqlite3
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import event
from sqlalchemy.pool import Pool

from naturalize.base.errors import SettingsError
from naturalize.review.service import users
from naturalize.review.service.errors import (
    LoginError,
    NoSuchError,
    NotAllowedError,
    RateError,
    ReviewError,
)
from naturalize.review.service.review import Review
from naturalize.review.service.roles import ROLES, Actor, check
from naturalize.review.store.cells import CellRow

PASSWORD = "correct horse battery"
CHIEF = Actor("chief", "admin")


@pytest.fixture(scope="module")
def with_users(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file of a review with an administrator and a reviewer: hashing takes its time."""
    folder = tmp_path_factory.mktemp("users")
    cells = [CellRow("1.png", model_label="EO"), CellRow("2.png", model_label="LY")]
    Review.create(folder, {"name": "monday", "classes": ["EO", "LY"]}, cells)
    made = Review.open(folder)
    users.add(made, "chief", PASSWORD, "admin")
    users.add(made, "ada", PASSWORD, "reviewer", by=CHIEF)
    made.close()
    return folder / "review.db"


@pytest.fixture
def review(with_users: Path, tmp_path: Path) -> Iterator[Review]:
    """A review with an administrator and a reviewer."""
    shutil.copy(with_users, tmp_path)
    made = Review.open(tmp_path)
    yield made
    made.close()


def sql(review: Review, statement: str, *values: object) -> list[tuple[object, ...]]:
    """Run a statement beside the review, as another program would."""
    with closing(sqlite3.connect(review.folder / "review.db")) as link, link:
        return link.execute(statement, values).fetchall()


def fail(review: Review, name: str = "ada", address: str = "10.0.0.7") -> None:
    with pytest.raises(LoginError):
        users.login(review, name, "wrong password", address)


def notes(review: Review, kind: str) -> list[tuple[str, str | None]]:
    lines = sql(review, "SELECT user, reason FROM event WHERE kind = ? ORDER BY id", kind)
    return [(str(user), str(reason)) for user, reason in lines]


def test_a_session(review: Review) -> None:
    login = users.login(review, "ada", PASSWORD, "10.0.0.7")
    assert login.actor == Actor("ada", "reviewer")
    found = users.session(review, login.token)
    assert found is not None
    assert (found.actor, found.csrf) == (login.actor, login.csrf)
    other = users.login(review, "ada", PASSWORD, "10.0.0.7")
    assert len({login.token, login.csrf, other.token, other.csrf}) == 4
    users.logout(review, login.token)
    assert users.session(review, login.token) is None
    assert users.session(review, other.token) is not None
    users.logout(review, login.token)  # twice does no harm
    assert [user for user, _ in notes(review, "logout")] == ["ada"]


@pytest.mark.parametrize("token", ["", "x", "é" * 40, "a" * 10_000, "' OR 1=1 --"])
def test_a_token_that_nobody_gave(review: Review, token: str) -> None:
    users.login(review, "ada", PASSWORD, "10.0.0.7")
    assert users.session(review, token) is None


def test_no_secret_is_in_the_file(review: Review) -> None:
    login = users.login(review, "ada", PASSWORD, "10.0.0.7")
    fail(review)
    hashes = [str(row[0]) for row in sql(review, "SELECT password_hash FROM user")]
    assert all(value.startswith("$argon2id$") for value in hashes)
    assert len(set(hashes)) == 2  # one password, two salts
    ((kept,),) = sql(review, "SELECT token_hash FROM login")
    assert kept == hashlib.sha256(login.token.encode()).hexdigest()
    review.close()
    data = b"".join(path.read_bytes() for path in review.folder.iterdir())
    for secret in (PASSWORD, login.token, "wrong password"):
        assert secret.encode() not in data


def test_a_wrong_password_and_an_unknown_name_are_one_message(review: Review) -> None:
    said = []
    for name, password in (("ada", "wrong password"), ("nobody", PASSWORD), ("ADA", PASSWORD)):
        with pytest.raises(LoginError) as error:
            users.login(review, name, password, "10.0.0.7")
        said.append(str(error.value))
    assert len(set(said)) == 1
    assert len(notes(review, "login-failed")) == 3


def test_failed_logins_are_limited_after_a_restart_too(review: Review) -> None:
    for _ in range(5):
        fail(review)
    with pytest.raises(RateError, match="wait"):
        users.login(review, "ada", PASSWORD, "10.0.0.7")  # the right one
    again = Review.open(review.folder)
    with pytest.raises(RateError):
        users.login(again, "ada", PASSWORD, "10.0.0.7")
    again.close()
    # the limit shuts out an address, and not the person at another one
    assert users.login(review, "ada", PASSWORD, "10.0.0.8").actor.name == "ada"
    assert users.login(review, "chief", PASSWORD, "10.0.0.7").actor.name == "chief"


def test_many_tries_at_one_moment_are_no_way_around(review: Review) -> None:
    def attempt(number: int) -> str:
        try:
            users.login(review, "ada", f"wrong password {number}", "10.0.0.7")
        except ReviewError as error:
            return type(error).__name__
        return "in"

    with ThreadPoolExecutor(12) as pool:
        found = sorted(pool.map(attempt, range(12)))
    assert found == ["LoginError"] * 5 + ["RateError"] * 7


def test_an_address_that_tries_many_names_is_shut_out(review: Review) -> None:
    sql_rows = [(f"name {i}", "10.0.0.7", time.time() - i) for i in range(20)]
    for row in sql_rows:
        sql(review, "INSERT INTO failure (name, address, at) VALUES (?, ?, ?)", *row)
    with pytest.raises(RateError):
        users.login(review, "chief", PASSWORD, "10.0.0.7")


def test_the_limit_ends(review: Review) -> None:
    for _ in range(5):
        fail(review)
    sql(review, "UPDATE failure SET at = at - 901")
    assert users.login(review, "ada", PASSWORD, "10.0.0.7").actor.name == "ada"


@pytest.mark.parametrize(
    ("column", "seconds", "stays"),
    [
        ("created", 12 * 3600 - 60, True),
        ("created", 12 * 3600 + 1, False),
        ("last_used", 30 * 60 - 60, True),
        ("last_used", 30 * 60 + 1, False),
    ],
)
def test_sessions_expire(review: Review, column: str, seconds: int, stays: bool) -> None:
    token = users.login(review, "ada", PASSWORD, "10.0.0.7").token
    sql(review, f"UPDATE login SET {column} = {column} - ?", seconds)
    assert (users.session(review, token) is not None) == stays


def test_a_session_in_use_goes_on(review: Review) -> None:
    token = users.login(review, "ada", PASSWORD, "10.0.0.7").token
    for _ in range(3):  # 25 minutes each: more than half an hour in all
        sql(review, "UPDATE login SET last_used = last_used - 1500")
        assert users.session(review, token) is not None


def test_whoever_is_shut_out_has_no_session(review: Review) -> None:
    token = users.login(review, "ada", PASSWORD, "10.0.0.7").token
    users.update(review, "ada", active=False, by=CHIEF)
    assert users.session(review, token) is None
    with pytest.raises(LoginError):
        users.login(review, "ada", PASSWORD, "10.0.0.7")
    users.update(review, "ada", active=True, by=CHIEF)
    assert users.session(review, token) is None
    assert users.login(review, "ada", PASSWORD, "10.0.0.7").actor.name == "ada"


def test_a_new_password_ends_sessions_and_the_old_one(review: Review) -> None:
    token = users.login(review, "ada", PASSWORD, "10.0.0.7").token
    users.update(review, "ada", password="another long one", by=CHIEF)
    assert users.session(review, token) is None
    with pytest.raises(LoginError):
        users.login(review, "ada", PASSWORD, "10.0.0.7")
    assert users.login(review, "ada", "another long one", "10.0.0.7").actor.name == "ada"


def test_a_role_holds_from_the_next_request_on(review: Review) -> None:
    token = users.login(review, "ada", PASSWORD, "10.0.0.7").token
    users.update(review, "ada", role="reader", by=CHIEF)
    found = users.session(review, token)
    assert found is not None
    assert found.actor.role == "reader"
    assert users.listed(review) == [
        users.User("ada", "reader", True),
        users.User("chief", "admin", True),
    ]


@pytest.mark.parametrize(
    ("name", "password", "role", "what"),
    [
        ("ada", PASSWORD, "reader", "ada"),
        ("", PASSWORD, "reader", "name"),
        (" eve", PASSWORD, "reader", "name"),
        ("eve", "short", "reader", "password"),
        ("eve", "x" * 5000, "reader", "password"),
        ("eve", PASSWORD, "king", "king"),
    ],
)
def test_users_that_cannot_be(
    review: Review, name: str, password: str, role: str, what: str
) -> None:
    with pytest.raises(SettingsError, match=what):
        users.add(review, name, password, role)
    assert len(users.listed(review)) == 2


def test_only_administrators_manage_users(review: Review) -> None:
    ada = Actor("ada", "reviewer")
    with pytest.raises(NotAllowedError, match="ada"):
        users.add(review, "eve", PASSWORD, "admin", by=ada)
    with pytest.raises(NotAllowedError, match="ada"):
        users.update(review, "ada", role="admin", by=ada)
    with pytest.raises(NoSuchError, match="eve"):
        users.update(review, "eve", role="reader", by=CHIEF)
    assert [user.name for user in users.listed(review)] == ["ada", "chief"]


def test_the_last_administrator_stays(review: Review) -> None:
    for change in ({"role": "reader"}, {"active": False}):
        with pytest.raises(ReviewError, match="last"):
            users.update(review, "chief", by=CHIEF, **change)  # type: ignore[arg-type]
    users.update(review, "ada", role="admin", by=CHIEF)
    users.update(review, "chief", role="reader", by=CHIEF)
    assert [user.role for user in users.listed(review)] == ["admin", "reader"]


def test_the_trail_says_who_did_what_to_users(review: Review) -> None:
    users.update(review, "ada", password="another long one", role="admin", by=CHIEF)
    said = notes(review, "user")
    assert [user for user, _ in said] == ["command line", "chief", "chief"]
    assert "ada" in str(said[2][1])
    assert "admin" in str(said[2][1])
    assert all("another long one" not in str(reason) for _, reason in said)


def test_what_each_role_may_do() -> None:
    may = {role: {what for what in ROLES["admin"] if _may(role, what)} for role in ROLES}
    assert may["reader"] == {"export"}
    assert may["reviewer"] == {"export", "change", "sign"}
    assert may["admin"] == may["reviewer"] | {"reopen", "replace", "users", "rules", "upload"}


def _may(role: str, what: str) -> bool:
    try:
        check(Actor("x", role), what)
    except NotAllowedError:
        return False
    return True


def test_a_session_is_of_one_review(review: Review, opened: Callable[..., Review]) -> None:
    token = users.login(review, "ada", PASSWORD, "10.0.0.7").token
    assert users.session(opened(2, name="tuesday"), token) is None


def test_what_is_typed_as_a_name_is_not_kept_if_it_is_none(review: Review) -> None:
    with pytest.raises(LoginError):
        users.login(review, "my secret passphrase", "ada", "10.0.0.7")
    assert [user for user, _ in notes(review, "login-failed")] == ["-"]
    assert all("passphrase" not in str(line) for line in sql(review, "SELECT * FROM event"))


def test_a_name_and_a_password_are_one_however_a_keyboard_writes_them(review: Review) -> None:
    users.add(review, "Zoe\u0308", "A\u030angström 10²", "reviewer")
    assert users.listed(review)[0].name == "Zo\u00eb"
    login = users.login(review, "Zo\u00eb", "\u00c5ngström 102", "10.0.0.7")
    assert login.actor.name == "Zo\u00eb"
    with pytest.raises(SettingsError, match="exists"):
        users.add(review, "Zo\u00eb", PASSWORD, "reviewer")
    users.update(review, "Zoe\u0308", role="reader")
    assert users.session(review, login.token).actor.role == "reader"


@pytest.mark.parametrize(
    "name", ["a\0", "ada\u200b", "\u202eada", "a\nb", "\ud800", "<b>", "a" * 65]
)
def test_a_name_that_looks_like_another_is_refused(review: Review, name: str) -> None:
    with pytest.raises(SettingsError, match="control"):
        users.add(review, name, PASSWORD, "reviewer")


def test_on_a_full_disk_people_still_see_what_is_there(review: Review) -> None:
    token = users.login(review, "ada", PASSWORD, "10.0.0.7").token
    sql(review, "UPDATE login SET last_used = last_used - 600")

    def read_only(link: sqlite3.Connection, *_: object) -> None:
        link.execute("PRAGMA query_only = ON")

    event.listen(Pool, "checkout", read_only)
    try:
        found = users.session(review, token)
    finally:
        event.remove(Pool, "checkout", read_only)
    assert found is not None
    assert found.actor.name == "ada"


def test_what_is_set_last_is_what_is_shown(review: Review) -> None:
    with ThreadPoolExecutor(8) as pool:
        for each in [pool.submit(review.set, CHIEF, target=n) for n in range(1, 25)]:
            each.result()
    other = Review.open(review.folder)
    assert review.settings == other.settings
    other.close()
