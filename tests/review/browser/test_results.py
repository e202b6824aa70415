"""What comes out, in the browser: signature, trail, two readers, differential, plots, users."""

from naturalize.review.service.review import Review
from naturalize.review.service.roles import Actor

ANNA, BERT = Actor("anna", "admin"), Actor("bert", "reviewer")


def settle(folder, actor, reading, renamed=()):
    """Name every cell of a reading, those in ``renamed`` otherwise than the rest, and sign it."""
    review = Review.open(folder)
    columns = review.columns(reading, actor)
    ids, versions = columns.ids.tolist(), columns.version.tolist()
    for wanted, label in ((False, "LY"), (True, "MO")):
        chosen = [i for i, cell in enumerate(ids) if (cell in renamed) is wanted]
        if chosen:
            review.change(
                actor, reading, [ids[i] for i in chosen], [versions[i] for i in chosen], label
            )
    review.sign(actor, reading)
    review.close()


def test_a_reading_is_signed_after_a_question_and_opened_again_with_a_reason(room):
    review = Review.open(room.folder)
    columns = review.columns(1, ANNA)
    review.change(ANNA, 1, columns.ids.tolist(), columns.version.tolist(), "LY")
    review.close()
    page = room.page("/sign-off")
    page.locator("#actions button", has_text="Sign").click()
    page.locator("#sign-dialog button", has_text="Cancel").click()
    assert room.sql("SELECT signed_by FROM reading") == [(None,)]
    page.locator("#actions button", has_text="Sign").click()
    page.locator("#sign-dialog button.primary").click()
    page.wait_for_selector("#lead:has-text('is signed by anna')")
    page.wait_for_selector("#progress:has-text('signed by anna')")
    page.locator("#actions button", has_text="Open again").click()
    page.locator("#reopen-dialog button.primary").click()  # without a reason
    assert page.locator("#reopen-dialog").is_visible()
    page.fill("#reason", "the slide was another one")
    page.locator("#reopen-dialog button.primary").click()
    page.wait_for_selector("#lead:has-text('It can be signed')")
    page.goto(room.url + "/trail")
    page.wait_for_selector("#rows tr:first-child:has-text('the slide was another one')")
    page.select_option("#kind", "sign")
    page.wait_for_selector("#said:has-text('1 line of')")


def test_what_two_readers_differ_on_is_settled_by_keys(copied, start):
    settle(copied, ANNA, 1)
    review = Review.open(copied)
    review.second(BERT)
    review.close()
    settle(copied, BERT, 2, renamed={3, 5})
    room = start(copied)
    page = room.page("/agreement")
    page.wait_for_selector("#readers-lead:has-text('238 of 240 cells alike')")
    page.locator("button", has_text="Adjudicate").click()
    page.wait_for_selector("#keys kbd")
    keys = {each.inner_text() for each in page.locator("#keys kbd").all()}
    assert {"1", "2"} <= keys
    page.locator("#differ button").first.focus()
    page.keyboard.press("1")
    page.locator(".settled").nth(0).wait_for()
    page.keyboard.press("1")  # the next one has the focus
    page.locator(".settled").nth(1).wait_for()
    (n,) = room.sql("SELECT count(*) FROM state WHERE reading = 3 AND seen = 0")[0]
    assert n == 0


def test_the_differential_follows_what_others_do_and_a_wrong_rule_is_refused(room):
    page = room.page("/differential")
    page.wait_for_selector("#lead:has-text('0 of 100')")
    review = Review.open(room.folder)
    cells = [1, 2, 3]
    versions = [review.cell(1, cell, ANNA).version for cell in cells]
    review.change(ANNA, 1, cells, versions, "LY")
    review.close()
    page.wait_for_selector("#lead:has-text('3 of 100')")
    page.fill("#rules", "LY% >> 5")
    page.locator("#settings button").click()
    page.wait_for_selector(".toast-error:has-text('column 6')")
    page.fill("#rules", "LY% >= 0")
    page.locator("#settings button").click()
    page.wait_for_selector("#flags .strong:has-text('yes')")


def test_model_and_person_are_drawn_in_the_colours_of_the_page(room):
    review = Review.open(room.folder)
    columns = review.columns(1, ANNA)
    known = [i for i, label in enumerate(columns.label.tolist()) if label >= 0]
    ids, versions = columns.ids.tolist(), columns.version.tolist()
    review.change(ANNA, 1, [ids[i] for i in known], [versions[i] for i in known], None, "accept")
    review.close()
    page = room.page("/agreement", color_scheme="dark")
    page.wait_for_selector("#model-lead:has-text('100.0')", timeout=60_000)
    assert page.locator("#classes tbody tr").count() > 1
    figure = page.locator("#plots svg").first
    figure.wait_for(timeout=60_000)
    stroke = figure.locator("text").first.evaluate("e => getComputedStyle(e).fill")
    assert stroke == "rgb(232, 229, 238)"  # --ink of the dark theme


def test_an_administrator_adds_a_user_and_takes_one_away(shared_room):
    page = shared_room.page("/users", user="anna")
    page.fill("#name", "carla")
    page.select_option("#role", "reader")
    page.fill("#password", "carla carla carla")
    page.locator("#add button").click()
    page.wait_for_selector("#users tr:has-text('carla')")
    page.locator("input[aria-label='bert may log in']").uncheck()
    page.wait_for_selector(".toast:has-text('may not log in any more')")
    found = dict(shared_room.sql("SELECT name, active FROM user"))
    assert found == {"anna": 1, "bert": 0, "carla": 1}


def test_a_person_enters_whom_a_fhir_file_names(room):
    page = room.page("/report")
    page.click("#fhir")
    page.fill("#patient", "26-0815")
    with page.expect_download() as got:
        page.keyboard.press("Enter")
    assert got.value.suggested_filename == "review-1-fhir.json"
    assert '"value": "26-0815"' in got.value.path().read_text()
    page.click("#fhir")
    page.fill("#patient", "Specimen/12")
    page.keyboard.press("Enter")
    page.wait_for_selector(".toast-error:has-text('expected Patient/ID')")


def test_a_page_hears_of_its_upload_from_a_server_that_was_started_anew(room):
    page = room.page("/upload")
    answers = [
        None,  # it is not there
        {"state": "working", "done": 1, "total": 2, "cells": 0, "refused": [], "message": None},
        None,
        {"state": "failed", "done": 0, "total": 2, "cells": 0, "refused": [], "message": "again"},
    ]

    def told(route):
        answer = answers.pop(0)
        if answer is None:
            route.abort()
        else:
            route.fulfill(json=answer)

    page.route("**/api/v1/uploads/*", told)
    started = {"upload": "0" * 16, "files": 2, "refused": []}
    page.route("**/api/v1/uploads", lambda route: route.fulfill(status=202, json=started))
    page.set_input_files("#files", {"name": "a.png", "mimeType": "image/png", "buffer": b"x"})
    page.wait_for_selector("#state:has-text('does not answer')")
    page.wait_for_selector("#state:has-text('Classified 1 of 2')")
    page.wait_for_selector(".toast-error:has-text('again')")
    assert answers == []
