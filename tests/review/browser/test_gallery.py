"""What a person does in the gallery: keys, selection, drag and drop, undo, places that stay."""

import re

#: Looks, 30 ms apart, before what is waited for counts as lost.
PATIENCE = 500


def until(page, arrived, lost="it never came"):
    """Wait until `arrived()` is true; the page goes on meanwhile."""
    for _ in range(PATIENCE):
        if arrived():
            return
        page.wait_for_timeout(30)
    raise AssertionError(lost() if callable(lost) else lost)


def live(page, bin=None):
    """Cells in sight that are where they belong, in the order of their places."""
    inside = "" if bin is None else f"[id$='-{bin}']"
    return page.locator(f".cell:not(.is-gone){inside}")


def number(page, bin):
    return int(page.locator(f"#bins [data-bin='{bin}'] .tab-count").inner_text().replace(",", ""))


def expect_number(page, bin, n):
    until(page, lambda: number(page, bin) == n, lambda: f"{number(page, bin)} in {bin}, not {n}")


def jump(page, bin):
    page.locator(f"#bins [data-bin='{bin}']").click()
    live(page, bin).first.wait_for()


def next_frame(page):
    """Wait until the page was painted with all that has happened."""
    page.evaluate("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")


def scrolled(page):
    return page.evaluate("document.querySelector('#surface').scrollTop")


def name_of(cell):
    return re.match(r"Cell \d+", cell.get_attribute("aria-label"))[0]


def named(page, name):
    return page.locator(f".cell:not(.is-gone)[aria-label^='{name},']")


def places(page):
    return page.evaluate(
        "Object.fromEntries([...document.querySelectorAll('.cell')].map(c => "
        "[c.id, [c.getBoundingClientRect().x, c.getBoundingClientRect().y].join()]))"
    )


def saved(room, name):
    """The label that the server holds for a cell."""
    [[label]] = room.sql("SELECT label FROM state WHERE reading=1 AND cell=?", int(name.split()[1]))
    return label


def wait_saved(page, room, name, label):
    until(
        page,
        lambda: saved(room, name) == label,
        lambda: f"{name} is {saved(room, name)}, not {label}",
    )


def test_a_key_puts_the_cell_under_the_mouse_into_its_class_and_nothing_else_moves(room):
    page = room.page()
    jump(page, 1)
    cell = live(page, 1).nth(3)
    name = name_of(cell)
    before, one, five = places(page), number(page, 1), number(page, 5)
    cell.hover()
    page.keyboard.press(page.locator("#bins [data-bin='5'] kbd").inner_text())
    page.wait_for_selector(".cell.is-gone")
    expect_number(page, 1, one - 1)
    expect_number(page, 5, five + 1)
    wait_saved(page, room, name, room.page_code(page, 5))
    page.wait_for_timeout(300)  # when nobody scrolls, empty slots go: those out of sight
    after = places(page)
    assert {key: after[key] for key in before} == before
    assert page.locator(".cell.is-gone .cell-text").inner_text().startswith("→ ")


def test_a_bin_that_is_jumped_to_has_its_heading_at_the_top_and_its_cells_below(room):
    page = room.page()
    top = page.locator("#surface").bounding_box()["y"]
    for order in ("doubt", "similarity"):
        page.select_option("#order", order)
        jump(page, 5)
        next_frame(page)
        head = page.locator(".bin[data-bin='5'] .bin-head").bounding_box()
        assert abs(head["y"] - top) < 2
        below = live(page, 5).evaluate_all("cells => cells.map(c => c.getBoundingClientRect().y)")
        assert min(below) >= head["y"] + head["height"]
        page.mouse.move(*middle(page.locator("#surface")))
        before = scrolled(page)
        page.mouse.wheel(0, 120)  # the heading stays while the cells of its bin are in sight
        until(page, lambda before=before: scrolled(page) >= before + 120)
        next_frame(page)
        assert abs(page.locator(".bin[data-bin='5'] .bin-head").bounding_box()["y"] - top) < 2


def test_click_shift_and_control_select(room):
    page = room.page()
    chosen = page.locator(".cell[aria-selected=true]")
    jump(page, 1)
    cells = live(page, 1)
    cells.nth(0).click()
    assert chosen.count() == 1
    cells.nth(4).click(modifiers=["Shift"])
    assert chosen.count() == 5
    cells.nth(2).click(modifiers=["Control"])
    assert chosen.count() == 4
    assert page.locator("#selected").inner_text() == "4 selected"
    page.get_by_role("button", name="Compare").click()
    pictures = page.locator("#compare img")
    wide = "images => images.map(i => i.naturalWidth && Math.round(i.width))"
    until(page, lambda: 0 not in (widths := pictures.evaluate_all(wide)) and len(set(widths)) == 1)
    assert pictures.count() == 4
    page.keyboard.press("Escape")
    page.keyboard.press("Escape")
    assert chosen.count() == 0
    page.keyboard.press("Control+a")
    assert page.locator("#selected").inner_text() == f"{number(page, 1)} selected"


def test_a_rubber_band_selects_what_it_touches(room):
    page = room.page()
    jump(page, 1)
    first, last = (live(page, 1).nth(i).bounding_box() for i in (0, 2))
    page.mouse.move(first["x"] - 6, first["y"] + 40)
    page.mouse.down()
    page.mouse.move(last["x"] + 20, last["y"] + 60, steps=4)
    assert page.locator(".band").count() == 1
    page.mouse.up()
    assert page.locator(".band").count() == 0
    assert page.locator("#selected").inner_text() == "3 selected"


def test_cells_are_dragged_onto_a_bin_of_the_list_together(room):
    page = room.page()
    jump(page, 1)
    before = number(page, 3)
    live(page, 1).nth(0).click()
    live(page, 1).nth(1).click(modifiers=["Control"])
    name = name_of(live(page, 1).nth(0))
    page.mouse.move(*middle(live(page, 1).nth(0)))
    page.mouse.down()
    page.mouse.move(*middle(page.locator("#bins [data-bin='3']")), steps=5)
    assert page.locator(".dragged b").inner_text() == "2"
    assert "is-target" in page.locator("#bins [data-bin='3']").get_attribute("class")
    page.mouse.up()
    expect_number(page, 3, before + 2)
    assert page.locator(".dragged").count() == 0
    wait_saved(page, room, name, room.page_code(page, 3))


def test_the_right_button_opens_a_menu_of_the_classes(room):
    page = room.page()
    cell = live(page, 0).first
    name = name_of(cell)
    cell.click(button="right")
    page.keyboard.press("Escape")
    page.wait_for_selector("#menu", state="hidden")
    assert page.evaluate("document.activeElement.id") == "cells"
    cell.click(button="right")
    page.get_by_role("menuitem", name=room.page_code(page, 3)).click()
    wait_saved(page, room, name, room.page_code(page, 3))
    page.keyboard.press("ContextMenu")  # at the cell where the keyboard is
    page.wait_for_selector("#menu:popover-open")
    page.keyboard.press("End")
    page.keyboard.press("Enter")
    last = page.locator("#bins [data-bin]").count() - 1
    until(page, lambda: room.sql("SELECT count(*) FROM event WHERE kind='label'") == [(2,)])
    page.wait_for_selector(f".toast:has-text('{page.locator('.tab-name').nth(last).inner_text()}')")


def middle(locator):
    box = locator.bounding_box()
    return box["x"] + box["width"] / 2, box["y"] + box["height"] / 2


def test_undo_and_redo_by_keys_and_buttons_also_after_a_reload(room):
    page = room.page()
    cell = live(page, 0).first
    name = name_of(cell)
    cell.hover()
    page.keyboard.press(page.locator("#bins [data-bin='2'] kbd").inner_text())
    wait_saved(page, room, name, room.page_code(page, 2))
    page.keyboard.press("u")
    wait_saved(page, room, name, None)
    page.keyboard.press("Control+y")
    wait_saved(page, room, name, room.page_code(page, 2))
    page.reload()
    page.wait_for_selector("html[data-ready]", state="attached")
    page.locator("#undo").click()
    wait_saved(page, room, name, None)
    named(page, name).wait_for()


def test_the_rest_of_a_cluster_is_accepted_at_once(room):
    page = room.page()
    page.select_option("#order", "similarity")
    page.locator("#bins [data-bin='1']").click()
    button = page.locator(".group-head button:visible").first
    rest = int(re.search(r"\d+", button.inner_text())[0])
    total = page.locator("#progress").inner_text()
    button.click()
    page.wait_for_selector(f"#progress:not(:has-text('{total}'))")
    page.wait_for_selector(".toast:has-text('Accepted')")
    accepted = "SELECT count(*) FROM event WHERE kind='accept'"
    until(page, lambda: room.sql(accepted) != [(0,)])
    assert room.sql(accepted) == [(rest,)]


def test_everything_can_be_done_by_the_keyboard(room):
    page = room.page()
    for _ in range(60):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.id") == "cells":
            break
    active = page.locator(".cell.is-active")
    first = name_of(active)
    page.keyboard.press("ArrowRight")
    second = name_of(active)
    assert second != first
    assert active.evaluate("c => getComputedStyle(c.querySelector('img')).outlineStyle") == "solid"
    code = room.page_code(page, 4)
    key = page.locator("#bins [data-bin='4'] kbd").inner_text()
    page.keyboard.press(key)
    wait_saved(page, room, second, code)
    third = name_of(active)  # the keyboard goes on to the next
    assert third not in (first, second)
    page.keyboard.press("Enter")
    page.wait_for_selector("dialog#large[open]")
    page.keyboard.press(key)  # class keys work there, and go on
    wait_saved(page, room, third, code)
    page.keyboard.press("Escape")
    page.wait_for_selector("dialog#large[open]", state="detached")
    assert page.evaluate("document.activeElement.id") == "cells"
    page.keyboard.press("Shift+ArrowRight")
    assert int(page.locator("#selected").inner_text().split()[0]) >= 2
    page.keyboard.press(key)
    assert page.locator("#selected").inner_text() == ""
    page.keyboard.press("?")
    page.wait_for_selector("dialog#help[open]")


def test_keys_that_move_begin_at_what_is_in_sight(room):
    page = room.page()
    jump(page, 5)
    top = scrolled(page)
    page.keyboard.press("ArrowRight")
    assert page.locator(".cell.is-active").get_attribute("id").endswith("-5")
    assert scrolled(page) == top
    page.evaluate("document.querySelector('#surface').scrollTop = 0")  # as a wheel does
    next_frame(page)
    page.keyboard.press("ArrowDown")
    assert page.locator(".cell.is-active").get_attribute("id").endswith("-0")
    top = 0
    page.keyboard.press("PageDown")
    until(page, lambda: scrolled(page) > top)


def test_an_answer_that_never_comes_puts_the_cell_back_and_says_so(room):
    page = room.page()
    before, held = number(page, 0), []

    def hold(route):  # marks of seen go through: their failure would be the first to be said
        label = route.request.post_data_json["kind"] == "label"
        held.append(route) if label else route.continue_()

    page.route("**/api/v1/changes", hold)
    live(page, 0).first.hover()
    page.keyboard.press(page.locator("#bins [data-bin='1'] kbd").inner_text())
    page.wait_for_selector(".cell.is-gone")
    until(page, lambda: held)
    expect_number(page, 0, before - 1)
    held[0].abort()
    page.wait_for_selector(".toast-error:has-text('Not saved')")
    expect_number(page, 0, before)
    page.wait_for_selector(".cell.is-gone", state="detached")


def test_cells_that_stand_in_sight_are_seen_and_others_are_not(room):
    page = room.page("/gallery?cells=5,6,7", height=1100)
    assert live(page).count() == 3
    page.wait_for_selector(".cell.is-unseen", state="detached")
    until(page, lambda: len(room.sql("SELECT cell FROM state WHERE seen")) >= 3)
    assert room.sql("SELECT cell FROM state WHERE seen ORDER BY 1") == [(5,), (6,), (7,)]


def test_the_later_of_two_who_change_one_cell_is_told_and_nothing_is_lost(shared_room):
    room = shared_room
    anna, bert = (room.page(user=name) for name in ("anna", "bert"))
    bert.route("**/api/v1/events*", lambda route: route.abort())  # bert's page knows nothing yet
    name = name_of(live(anna, 0).first)
    named(anna, name).hover()
    anna.keyboard.press(anna.locator("#bins [data-bin='2'] kbd").inner_text())
    wait_saved(anna, room, name, room.page_code(anna, 2))
    named(bert, name).hover()
    bert.keyboard.press(bert.locator("#bins [data-bin='3'] kbd").inner_text())
    said = bert.wait_for_selector(".toast-error").inner_text()
    assert "anna" in said
    assert re.search(r"\d\d:\d\d", said)
    assert saved(room, name) == room.page_code(anna, 2)
    expect_number(bert, 2, number(anna, 2))


def test_a_change_decided_before_anothers_came_along_with_a_mark_of_seen_is_refused(shared_room):
    anna, bert = (shared_room.page(user=name) for name in ("anna", "bert"))
    # of a late bin: nobody has had it in sight yet
    [[cell]] = shared_room.sql("SELECT min(id) FROM cell WHERE model_label IN ('ERB', 'PLT')")
    name, just = f"Cell {cell}", f"{shared_room.url}/gallery?cells={cell}"
    bert.route("**/api/v1/events*", lambda route: route.abort())
    held = []

    def hold(route):
        """The first mark of seen waits until it is let go."""
        if held or '"seen"' not in route.request.post_data:
            route.continue_()
        else:
            held.append(route)

    bert.route("**/api/v1/changes", hold)
    bert.goto(just)
    named(bert, name).hover()  # brings it into sight
    until(bert, lambda: held)
    anna.goto(just)
    named(anna, name).hover()
    anna.keyboard.press(anna.locator("#bins [data-bin='2'] kbd").inner_text())
    wait_saved(anna, shared_room, name, shared_room.page_code(anna, 2))
    named(bert, name).hover()
    bert.keyboard.press(bert.locator("#bins [data-bin='3'] kbd").inner_text())
    held[0].continue_()
    assert "anna" in bert.wait_for_selector(".toast-error").inner_text()
    assert saved(shared_room, name) == shared_room.page_code(anna, 2)


def test_changes_of_others_arrive(shared_room):
    anna, bert = (shared_room.page(user=name) for name in ("anna", "bert"))
    before = number(bert, 2)
    live(anna, 0).first.hover()
    anna.keyboard.press(anna.locator("#bins [data-bin='2'] kbd").inner_text())
    bert.wait_for_selector(".toast:has-text('anna changed 1 cell')")
    expect_number(bert, 2, before + 1)


def test_filters_show_only_what_they_name(room):
    room.sql("UPDATE state SET seen = 1 WHERE cell % 2 = 0")
    page = room.page()
    for name, where in {
        "unseen": "cell.id % 2 = 1",
        "flagged": "flag <> ''",
        "unidentified": "model_label IS NULL",
    }.items():
        ids = {i for [i] in room.sql(f"SELECT id FROM cell WHERE {where}")}
        page.select_option("#filter", name)
        shown = live(page).evaluate_all("cells => cells.map(c => c.getAttribute('aria-label'))")
        assert shown
        assert {int(re.search(r"\d+", label)[0]) for label in shown} <= ids


def test_the_order_by_size_is_that_of_the_areas_and_ends_with_cells_that_have_none(room):
    room.sql("UPDATE cell SET area = NULL WHERE id % 3 = 0")
    page = room.page()
    page.select_option("#order", "size")
    page.locator("#bins [data-bin='2']").click()
    columns = page.request.get(f"{room.url}/api/v1/cells?reading=1").json()
    area = dict(zip(columns["ids"], columns["area"], strict=True))
    rows = zip(columns["ids"], columns["label"], strict=True)
    wanted = sorted((i for i, label in rows if label == 1), key=lambda i: (-(area[i] or -1), i))
    until(page, lambda: live(page, 2).count() == len(wanted))
    cells = [
        (int(re.search(r"\d+", cell.get_attribute("aria-label"))[0]), cell.inner_text())
        for cell in live(page, 2).all()
    ]
    assert [i for i, _ in cells] == wanted
    texts = {i: text for i, text in cells if "⚑" not in text}
    assert texts
    assert texts == {i: f"{area[i]:,.0f} px" if area[i] else "size not known" for i in texts}


def test_an_administrator_sets_keys_and_adds_a_class(room):
    page = room.page()
    code = room.page_code(page, 1)
    page.keyboard.press("?")
    page.get_by_role("button", name="Change keys and classes").click()
    page.get_by_label(f"Key of {code}").fill("x")
    page.locator("#own-keys-save").click()
    page.wait_for_selector("#own-keys-said:has-text('cannot be the key')")
    page.get_by_label(f"Key of {code}").fill("z")
    page.locator("#further").fill("BLAST")
    page.locator("#own-keys-save").click()
    page.wait_for_selector("#bins :text-is('BLAST')")
    page.wait_for_selector(".cell.is-loaded")
    cell = live(page).first
    name = name_of(cell)
    cell.hover()
    page.keyboard.press("z")
    wait_saved(page, room, name, code)
