"""Every page: in both themes, on a phone, with hostile names, and for those who cannot see it."""

import sqlite3

import pytest

PAGES = [
    "/gallery", "/upload", "/atlas", "/differential", "/sign-off", "/agreement", "/trail",
    "/report",
]  # fmt: skip
PHONE = {"width": 390, "height": 844, "has_touch": True, "is_mobile": True}
HOSTILE = "<img src=x onerror=alert(1)><b>bold</b> & a very long name of a review of one laboratory"


def violations(page):
    """What axe finds in the light theme, and of what depends on colours in the dark one."""
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    only = {"resultTypes": ["violations"]}
    found = axe.run(page, options=only).response["violations"]
    page.emulate_media(color_scheme="dark")
    only["runOnly"] = ["color-contrast"]
    found += axe.run(page, options=only).response["violations"]
    page.emulate_media(color_scheme="light")
    return [
        (one["id"], [node["target"] for node in one["nodes"]][:3])
        for one in found
        if one["impact"] in ("serious", "critical")
    ]


def test_axe_finds_nothing_serious_on_any_page(room):
    page = room.page("/gallery?cells=" + ",".join(map(str, range(1, 25))))  # each takes its time
    page.select_option("#order", "similarity")
    assert violations(page) == []
    page.locator(".cell").first.dblclick()
    page.wait_for_selector(".side h3")
    assert violations(page) == []
    page.keyboard.press("Escape")
    page.keyboard.press("?")
    assert violations(page) == []
    for path in PAGES[1:]:
        page.goto(room.url + path)
        assert violations(page) == [], path


def test_axe_finds_nothing_serious_on_the_login_page(shared_room):
    assert violations(shared_room.page("/login")) == []


def hold(page, cell):
    """Press a cell with a finger until it is selected."""
    box = cell.bounding_box()
    at = {"x": box["x"] + box["width"] / 2, "y": box["y"] + box["height"] / 2}
    touch = page.context.new_cdp_session(page)
    touch.send("Input.dispatchTouchEvent", {"type": "touchStart", "touchPoints": [at]})
    page.wait_for_selector(".cell[aria-selected=true]")
    touch.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})


def test_fingers_open_select_and_put_away_on_a_phone_and_on_a_tablet(room):
    page = room.page("/gallery", **PHONE)
    for path in [*PAGES[1:], PAGES[0]]:
        page.goto(room.url + path)
        wide, room_for = page.evaluate(
            "[document.documentElement.scrollWidth, document.documentElement.clientWidth]"
        )
        assert wide <= room_for, path
    page.wait_for_selector(".cell.is-loaded")
    before = int(page.locator("#bar-bins [data-bin='2'] .tab-count").inner_text())
    assert "long press selects" in page.locator("#bar-text").inner_text()
    page.locator(".cell").nth(1).tap()
    page.wait_for_selector("dialog#large[open]")
    page.keyboard.press("Escape")
    for n, width in enumerate((390, 820), start=1):
        page.set_viewport_size({"width": width, "height": 844})
        cells = page.locator(".cell:not(.is-gone)")
        hold(page, cells.nth(1))
        cells.nth(2).tap()
        page.wait_for_selector("#bar-text:has-text('Put 2 cells into')")
        page.locator("#bar-bins [data-bin='2']").tap()
        page.wait_for_selector(".toast:has-text('2 cells →')")
        count = f"#bar-bins [data-bin='2'] .tab-count:text-is('{before + 2 * n}')"
        page.wait_for_selector(count, state="attached")


def test_the_theme_follows_the_system_until_one_is_chosen(room):
    page = room.page("/atlas", color_scheme="dark")
    ground = "getComputedStyle(document.body).backgroundColor"
    assert page.evaluate(ground) == "rgb(21, 19, 26)"
    page.locator("#theme").click()  # light
    assert page.evaluate(ground) == "rgb(251, 250, 248)"
    page.reload()
    assert page.evaluate(ground) == "rgb(251, 250, 248)"
    page.locator("#theme").click()  # dark
    page.locator("#theme").click()  # as the system
    page.emulate_media(color_scheme="light")
    assert page.evaluate(ground) == "rgb(251, 250, 248)"


def test_html_in_names_is_shown_as_text_and_a_missing_image_says_so(copied, start):
    with sqlite3.connect(copied / "review.db") as link:
        link.execute("UPDATE setting SET value = json_quote(?) WHERE key = 'name'", [HOSTILE])
        link.execute("UPDATE cell SET path = ?", [f"{HOSTILE}.jpg"])
    page = start(copied).page("/gallery", width=1300)  # a window that has no pictures yet
    page.wait_for_selector(".cell.is-missing")
    assert page.locator(".top-review").inner_text() == HOSTILE
    page.locator(".cell").first.dblclick()
    page.wait_for_selector(".side h3")
    page.wait_for_selector(".stage-note:has-text('missing')")
    assert HOSTILE in page.locator(".large-head .path").inner_text()
    assert page.locator("b:has-text('bold')").count() == 0
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
