"""The pages in a real browser: nothing goes wrong, nothing leaves, keys work, states are more than a colour."""

import re
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect
from sqlalchemy import select

from serving.index.models import History, StackVersion
from tests.browser.conftest import Gateway, Watched, running, watch
from tests.serving import synthetic_index
from tests.serving.test_guard import TOKENS, write_tokens

LUMINANCE = """
(selector) => [...document.querySelectorAll(selector)].filter((e) => e.getClientRects().length).map((element) => {
  const rgb = (text) => text.match(/[\\d.]+/g).map(Number);
  const light = (c) => { c /= 255; return c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4; };
  const luminance = ([r, g, b]) => 0.2126 * light(r) + 0.7152 * light(g) + 0.0722 * light(b);
  let ground = element;
  while (ground && (rgb(getComputedStyle(ground).backgroundColor)[3] ?? 1) === 0) ground = ground.parentElement;
  const own = getComputedStyle(element);
  const behind = getComputedStyle(ground ?? document.body).backgroundColor;
  const [a, b] = [element instanceof SVGElement ? own.fill : own.color, behind]
    .map((color) => luminance(rgb(color)));
  return [element.textContent.trim().slice(0, 30), (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05)];
})
"""
TEXT = "a, p, b, td, th, h1, h2, h3, label, button, code, time, .mark, .quiet, summary, li, .none, b, pre, svg text"


def paths() -> list[str]:
    states = [*synthetic_index.STATES, "receiving"]
    return ["/", "/?needs=person", "/system", "/sign-in", *(f"/studies/{synthetic_index.study_uid(s)}" for s in states)]


def focused(page: Page) -> str:
    text: str = page.evaluate("document.activeElement.textContent")
    return text


@pytest.mark.parametrize("scheme", ["dark", "light"])
def test_every_page_is_clean_says_research_use_and_has_contrast(
    chromium: Browser, gateway: Gateway, scheme: str
) -> None:
    context = chromium.new_context(viewport={"width": 1280, "height": 800}, color_scheme=scheme)  # type: ignore[arg-type]
    watched = watch(context.new_page())
    for path in paths():
        watched.page.goto(gateway.url + path)
        expect(watched.page.get_by_text("Research use only").first).to_be_visible()
        weak = [found for found in watched.page.evaluate(LUMINANCE, TEXT) if found[1] < 4.5]
        assert weak == [], path
        unnamed = watched.page.evaluate(
            "[...document.querySelectorAll('input:not([type=hidden]), select, button')]"
            ".filter((e) => !(e.labels?.length || e.textContent.trim() || e.ariaLabel)).map((e) => e.outerHTML)"
        )
        assert unnamed == [], path
        assert watched.page.evaluate("[...document.images].filter((i) => !i.alt).length") == 0
    context.close()
    assert watched.console == []
    assert all(url.startswith(gateway.url) for url in watched.asked)


@pytest.mark.parametrize("width", [1280, 400])
def test_no_page_is_wider_than_the_window(chromium: Browser, gateway: Gateway, width: int) -> None:
    context = chromium.new_context(viewport={"width": width, "height": 800})
    page = context.new_page()
    for path in paths():
        page.goto(gateway.url + path)
        assert page.evaluate("document.documentElement.scrollWidth") <= width, path
    context.close()


def test_each_state_is_a_word_a_colour_and_a_shape(browser_page: Watched, gateway: Gateway) -> None:
    page = browser_page.page
    page.goto(gateway.url)
    words, shapes, colours = set(), set(), []
    for mark in page.locator(".row .state .mark").all():
        words.add(mark.inner_text().strip())
        shapes.add(mark.locator("svg").inner_html())
        colours.append(mark.evaluate("(e) => getComputedStyle(e).color"))
    assert words == {state.replace("_", " ") for state in (*synthetic_index.STATES, "receiving")}
    assert len(shapes) == len(words)
    assert len(set(colours)) >= 6


def test_keys_move_open_search_and_help(browser_page: Watched, gateway: Gateway) -> None:
    page = browser_page.page
    page.goto(gateway.url)
    for key, name in (("j", "Synthetic Müller 1"), ("j", "Synthetic Müller 2"), ("k", "Synthetic Müller 1")):
        page.keyboard.press(key)
        assert focused(page) == name
    page.keyboard.press("k")
    assert focused(page) == "Synthetic Müller 1"
    page.keyboard.press("/")
    page.keyboard.type("müller 4")
    assert page.input_value("#q") == "müller 4"
    page.keyboard.press("Enter")
    page.wait_for_url("**/?q=*")
    expect(page.locator(".row")).to_have_count(1)
    page.keyboard.press("?")
    expect(page.get_by_role("dialog")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_be_hidden()
    page.wait_for_function(
        "document.activeElement === document.body"
    )  # the browser gives the focus back a little later
    page.keyboard.press("j")
    page.keyboard.press("Enter")
    page.wait_for_url(f"**/studies/{synthetic_index.study_uid('failed')}")
    expect(page.get_by_role("heading", level=1)).to_have_text("Synthetic Müller 4")


def test_the_filter_shows_what_needs_a_person(browser_page: Watched, gateway: Gateway) -> None:
    page = browser_page.page
    page.goto(gateway.url)
    page.get_by_label("needs a person").check()
    page.get_by_role("button", name="Show").click()
    expect(page.locator(".row .state .mark")).to_have_text(["held", "refused", "failed"])


def test_sliders_buttons_and_toggles_choose_the_picture(browser_page: Watched, gateway: Gateway) -> None:
    page, stack = browser_page.page, gateway.stacks["done"]
    page.goto(f"{gateway.url}/studies/{synthetic_index.study_uid('done')}")
    image = page.locator(".viewer img")

    def shown(query: str) -> None:
        expect(image).to_have_attribute("src", f"/api/stacks/{stack}/tile.png?attempt=1&{query}")
        expect(image).to_have_js_property("complete", True)
        assert image.evaluate("(e) => e.naturalWidth") > 0

    shown("slice=5&phase=1")
    page.get_by_role("slider", name="Slice").focus()
    page.keyboard.press("ArrowRight")
    shown("slice=6&phase=1")
    page.get_by_role("button", name="ES", exact=True).click()
    shown("slice=6&phase=8")
    page.get_by_label("Left ventricular myocardium").uncheck()
    shown("slice=6&phase=8&labels=1%2C3")
    expect(page.get_by_text("8 of 20").first).to_be_visible()
    assert (stack, 7, 5, frozenset({1, 3})) in gateway.asked


def test_the_curve_follows_the_phase_and_marks_ed_and_es_by_shape_and_word(
    browser_page: Watched, gateway: Gateway
) -> None:
    page = browser_page.page
    page.goto(f"{gateway.url}/studies/{synthetic_index.study_uid('done')}")
    chart = page.locator(".curve")
    expect(chart.locator(".end-word")).to_have_text(["ED 142 mL", "ES 61 mL"])
    first, second = (path.get_attribute("d") for path in chart.locator(".end").all())
    assert re.sub(r"M[\d. -]+l", "", first or "") != re.sub(r"M[\d. -]+l", "", second or "")
    points = (chart.locator("polyline").get_attribute("points") or "").split()
    for button, phase in (("ES", 8), ("ED", 1)):
        page.get_by_role("button", name=button, exact=True).click()
        x = float(points[phase - 1].split(",")[0])
        assert float(chart.locator(".now").get_attribute("x1") or 0) == pytest.approx(x, abs=0.2)
    expect(page.get_by_role("img", name="ED 142 mL in phase 1, ES 61 mL in phase 8")).to_be_visible()


def test_search_is_a_key_away_on_every_page(browser_page: Watched, gateway: Gateway) -> None:
    page = browser_page.page
    page.goto(f"{gateway.url}/studies/{synthetic_index.study_uid('done')}")
    page.keyboard.press("/")
    page.wait_for_url("**/#q")
    expect(page.locator("#q")).to_be_focused()


def test_what_is_under_way_shows_a_running_clock(browser_page: Watched, gateway: Gateway) -> None:
    page = browser_page.page
    page.goto(gateway.url)
    clock = page.locator(".row", has_text="Müller 5").locator("time[data-clock]")
    expect(clock).to_have_text(re.compile(r"^\d+:\d\d$"))
    before = clock.inner_text()
    expect(clock).not_to_have_text(before, timeout=5000)


def test_figures_and_their_curve_share_a_line_where_there_is_room(browser_page: Watched, gateway: Gateway) -> None:
    page = browser_page.page
    page.goto(gateway.url)
    row = page.locator(".row", has_text="Müller 1").first
    figure, curve = row.locator(".figure").first.bounding_box(), row.locator(".spark").bounding_box()
    assert figure is not None
    assert curve is not None
    assert curve["x"] > figure["x"] + figure["width"]
    assert curve["y"] < figure["y"] + figure["height"]
    assert curve["x"] + curve["width"] > 1000


def test_reasons_are_read_on_a_narrow_screen_without_scrolling_aside(chromium: Browser, gateway: Gateway) -> None:
    page = chromium.new_page(viewport={"width": 400, "height": 800})
    page.goto(f"{gateway.url}/studies/{synthetic_index.study_uid('not_processed')}")
    box = page.locator("td[data-name=Why]").first.bounding_box()
    assert box is not None
    assert (box["x"] >= 0, box["x"] + box["width"] <= 400) == (True, True)
    page.close()


def test_a_uid_is_copied(browser_page: Watched, gateway: Gateway) -> None:
    page = browser_page.page
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.goto(f"{gateway.url}/studies/{synthetic_index.study_uid('done')}")
    page.get_by_role("button", name="Copy the study UID").click()
    expect(page.locator("#said")).to_have_text("Copied.")
    assert page.evaluate("navigator.clipboard.readText()") == synthetic_index.study_uid("done")


def test_times_are_relative_with_the_absolute_on_hover(browser_page: Watched, gateway: Gateway) -> None:
    page = browser_page.page
    page.goto(gateway.url)
    time = page.locator(".row time").first
    assert re.fullmatch(r"\d+ min ago", time.inner_text())
    assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC", time.get_attribute("title") or "")


def test_releasing_needs_a_reason_and_the_page_follows(browser_page: Watched, gateway: Gateway) -> None:
    page = browser_page.page
    with gateway.db.write() as session:
        uid = synthetic_index.study_uid("held")
        second = synthetic_index.add_stack(session, uid, "held", 1.0, version=2)
    page.goto(f"{gateway.url}/studies/{uid}")
    stack = page.locator(f"#stack-{second}")
    stack.get_by_role("button", name="Release").click()
    with gateway.db.read() as session:
        assert session.get_one(StackVersion, second).state == "held"
    stack.get_by_label("Why is it right?").fill("All slices are right.")
    stack.get_by_role("button", name="Release").click()
    expect(stack.locator("h2 .mark")).to_have_text("processing")
    with gateway.db.read() as session:
        last = session.scalars(
            select(History).where(History.stack_version_id == second).order_by(History.id.desc())
        ).first()
    assert last is not None
    assert (last.after, last.who, last.reason) == ("processing", "local", "All slices are right.")


def test_a_page_in_progress_follows_by_itself_and_keeps_the_focus(browser_page: Watched, gateway: Gateway) -> None:
    page = browser_page.page
    page.goto(gateway.url)
    row = page.locator(".row", has_text="Müller 7")
    expect(row.locator(".state .mark")).to_have_text("complete")
    for _ in range(7):
        page.keyboard.press("j")
    with gateway.db.write() as session:
        session.get_one(StackVersion, gateway.stacks["complete"]).state = "processing"
    expect(row.locator(".state .mark")).to_have_text("processing", timeout=8000)
    assert focused(page) == "Synthetic Müller 7"


def test_what_somebody_is_typing_is_not_replaced(browser_page: Watched, gateway: Gateway) -> None:
    page = browser_page.page
    uid = synthetic_index.study_uid("held")
    page.goto(f"{gateway.url}/studies/{uid}")
    field = page.get_by_label("Why is it wrong?").first
    field.fill("half a sen")
    with gateway.db.write() as session:
        session.get_one(StackVersion, gateway.stacks["held"]).reason = "Another reason."
    with page.expect_response(lambda answer: answer.url.endswith(uid)):
        page.evaluate("refresh()")
    assert field.input_value() == "half a sen"
    field.fill("")
    page.evaluate("refresh()")
    expect(page.get_by_text("Another reason.").first).to_be_visible()


def test_an_empty_list_says_how_to_fill_it(chromium: Browser, tmp_path: Path) -> None:
    with running(tmp_path, filled=False, ae_title="OURS", dicom_port=11999) as gateway:
        page = chromium.new_page()
        page.goto(gateway.url)
        expect(page.get_by_text("python -m client send FOLDER --to OURS@127.0.0.1:11999")).to_be_visible()
        expect(page.get_by_text(f"{gateway.url}/dicom-web/studies")).to_be_visible()
        page.close()


def test_signing_in_and_out_and_a_guarded_action(chromium: Browser, tmp_path: Path) -> None:
    # Chromium treats 127.0.0.1 as trustworthy, so that the cookie of a proxied gateway works without TLS here.
    guarded = {"tokens": write_tokens(tmp_path), "allowed_ae_titles": "A", "tls_terminated_by_proxy": True}
    with running(tmp_path, **guarded) as gateway:
        context = chromium.new_context()
        page = context.new_page()
        uid = synthetic_index.study_uid("held")
        page.goto(f"{gateway.url}/studies/{uid}")
        expect(page.get_by_role("heading", name="Sign in")).to_be_visible()
        page.get_by_label("Your token").fill("wrong")
        page.keyboard.press("Enter")
        expect(page.get_by_role("alert")).to_have_text("This token is not known here.")
        page.get_by_label("Your token").fill(TOKENS["reviewer"])
        page.keyboard.press("Enter")
        page.wait_for_url(f"**/studies/{uid}")
        page.get_by_label("Why is it wrong?").fill("The base was cut off.")
        page.get_by_role("button", name="Dismiss").click()
        expect(page.locator("article h2 .mark")).to_have_text("dismissed")
        expect(page.get_by_role("button", name="Retry")).to_be_visible()
        expect(page.get_by_text("Delete", exact=False)).to_have_count(0)
        page.get_by_role("button", name="Sign out").click()
        page.goto(gateway.url)
        expect(page.get_by_role("heading", name="Sign in")).to_be_visible()
        context.close()
