"""A reading is signed once all of it is seen and named; a second person reads blind."""

#: Names every unidentified cell SNE and accepts the rest, as the pages would.
SETTLE = """
async () => {
  const { post, call } = await import(document.querySelector("script[src$='shell.js']").src.replace("shell.js", "api.js"));
  const { ids, label, version } = await call("cells?reading=1");
  const some = (keep) => {
    const chosen = ids.map((_, i) => i).filter((i) => keep(label[i]));
    return { reading: 1, cells: chosen.map((i) => ids[i]), versions: chosen.map((i) => version[i]) };
  };
  await post("changes", { ...some((l) => l < 0), label: "SNE", kind: "label" });
  await post("changes", { ...some((l) => l >= 0), label: null, kind: "accept" });
}
"""  # noqa: E501


def sign(page):
    page.get_by_role("button", name="Sign", exact=True).click()
    page.locator("#sign-dialog button[value=yes]").click()
    page.wait_for_selector("#lead:has-text('is signed by')")


def test_signing_waits_until_every_cell_is_named_and_seen(room):
    page = room.page("/sign-off")
    page.wait_for_selector("#lead:has-text('cannot be signed')")
    assert page.get_by_role("button", name="Sign", exact=True).is_disabled()
    assert "unidentified" in page.locator("#blocks").inner_text()
    page.evaluate(SETTLE)
    page.reload()
    page.wait_for_selector("#lead:has-text('can be signed')")
    sign(page)
    page.goto(f"{room.url}/gallery")
    page.wait_for_selector(".cell.is-loaded")
    page.locator(".cell").first.hover()
    page.keyboard.press(page.locator("#bins [data-bin='2'] kbd").inner_text())
    page.wait_for_selector(".toast-error:has-text('signed')")
    assert page.locator(".cell.is-gone").count() == 0


def test_the_second_reader_sees_what_the_model_said_and_not_what_the_first_did(shared_room):
    anna = shared_room.page("/sign-off", user="anna")
    anna.evaluate(SETTLE)
    anna.reload()
    sign(anna)
    bert = shared_room.page("/sign-off", user="bert")
    bert.get_by_role("button", name="Begin a second").click()
    bert.wait_for_selector("#reading:has-text('Second reading, blind')")
    bert.goto(f"{shared_room.url}/gallery")
    bert.wait_for_selector(".cell.is-loaded")
    [[unidentified]] = shared_room.sql("SELECT count(*) FROM cell WHERE model_label IS NULL")
    assert unidentified
    assert bert.locator("#bins [data-bin='0'] .tab-count").inner_text() == str(unidentified)
    bert.locator(".cell").first.dblclick()
    bert.wait_for_selector(".side h3")
    # all that stands there, if anything, is that bert has seen it
    assert "anna" not in " ".join(bert.locator(".history").all_inner_texts())
    # who leaves is replaced by an administrator
    anna.goto(f"{shared_room.url}/sign-off")
    anna.get_by_role("button", name="Replace the second reader").click()
    assert anna.locator("#replaced").inner_text() == "bert"
    for name, error in (("carl", "no user 'carl'"), ("anna", "part in the first reading")):
        if not anna.locator("#replace-dialog").is_visible():
            anna.get_by_role("button", name="Replace the second reader").click()
        anna.fill("#reader", name)
        anna.fill("#replace-reason", "bert left")
        anna.locator("#replace-dialog button[value=yes]").click()
        anna.wait_for_selector(f".toast-error:has-text({error!r})")


def test_a_mistyped_password_is_refused_and_the_right_one_opens_the_gallery(shared_room):
    page = shared_room.page("/login")
    page.fill("[name=name]", "anna")
    page.fill("[name=password]", "wrong")
    page.keyboard.press("Enter")
    page.wait_for_selector("#refused:visible")
    page.fill("[name=password]", "anna anna anna")
    page.keyboard.press("Enter")
    page.wait_for_selector("html[data-ready]", state="attached")
    page.wait_for_selector(".cell.is-loaded")
