"""The page in a real browser, with keys alone: everything is reached, seen, done and said, and nothing leaves."""

import json

import pytest

from tests import browser, forked, model_folders, tiny
from tests.browser import CONTROL, SHIFT, Browser

pytestmark = pytest.mark.skipif(browser.PROGRAM is None, reason="chromium is not installed")

FOCUSED = "document.activeElement.id || document.activeElement.type || document.activeElement.localName"
STYLE = "getComputedStyle(document.activeElement)"
OUTLINE = f"(s => s.outlineStyle !== 'none' && parseFloat(s.outlineWidth))({STYLE})"
STATUS = "document.getElementById('status').textContent"


@pytest.fixture(scope="module")
def url(tmp_path_factory):
    folder = tmp_path_factory.mktemp("served")
    model_folders.make(folder)
    with forked.served(folder, "socrates", "serve", "--port", "0", "--json") as (_, told):
        yield json.loads(told.read_text())["url"]


@pytest.fixture(scope="module")
def opened(tmp_path_factory):
    with Browser(tmp_path_factory.mktemp("browser")) as started:
        yield started


@pytest.fixture
def page(url, opened):
    opened.open("about:blank")
    opened.resize(1280)
    opened.events.clear()
    opened.open(url)
    opened.wait("document.querySelectorAll('#example option').length > 1")
    yield opened
    told = opened.events
    faults = [event for event in told if event["method"] == "Runtime.exceptionThrown"]
    entries = [event["params"]["entry"] for event in told if event["method"] == "Log.entryAdded"]
    faults += [entry for entry in entries if entry["source"] != "network"]  # a refusal is a 422
    assert faults == []
    sent = [e["params"]["request"]["url"] for e in told if e["method"] == "Network.requestWillBeSent"]
    assert f"{url}/api/model" in sent
    assert [address for address in sent if not address.startswith((f"{url}/", "data:,"))] == []


def tab_to(page: Browser, wanted: str, modifiers: int = 0) -> None:
    for _ in range(12):
        if page.run(FOCUSED) == wanted:
            return
        page.press("Tab", modifiers)
    raise AssertionError(f"Tab never reaches {wanted}")


def test_tab_reaches_every_control_in_the_order_of_the_page(page):
    found = []
    while True:
        page.press("Tab")
        if (now := page.run(FOCUSED)) == "body" or now in found:
            break
        found.append(now)
        assert page.run(OUTLINE) >= 2, f"{now}: nobody sees that it has the focus"
    assert found == ["example", "demographics", "scale", "compare", "a", "submit"]
    names = {node["role"]["value"]: node["name"]["value"] for node in page.tree() if "name" in node}
    assert names["checkbox"] == "Compare with a second wording"
    assert names["button"] == "Predict"


def test_a_question_is_asked_with_keys_alone_and_its_answer_is_said(page):
    tab_to(page, "demographics")
    page.type("Age: 30; Gender: Female")
    tab_to(page, "a")
    page.type(tiny.SCENARIOS[1])
    tab_to(page, "submit")
    page.press(" ")
    page.wait(f"{STATUS}.startsWith('Answered on the scale 1..7')")
    assert page.run("document.querySelectorAll('#answer-a .bar').length") == 7
    said = next(node for node in page.tree() if node["role"]["value"] == "status")
    live = {entry["name"]: entry["value"]["value"] for entry in said["properties"]}
    assert live["live"] == "polite"
    assert "expected answer" in page.run(STATUS).lower()
    assert page.run(FOCUSED) == "submit"  # an answer does not take the focus away


def test_two_wordings_are_compared_with_keys_alone(page):
    tab_to(page, "a")
    page.type(tiny.SCENARIOS[1])
    tab_to(page, "compare", SHIFT)
    page.press(" ")
    page.press("Tab")
    page.press("Tab")
    assert page.run(FOCUSED) == "b"
    assert page.run("document.getElementById('b').value") == tiny.SCENARIOS[1]
    page.press("End", CONTROL)
    page.type(" Think of the town.")
    page.press("Enter", CONTROL)
    page.wait(f"{STATUS}.startsWith('The second wording moves')")
    page.press("Tab")
    page.press("Enter")
    page.wait(f"{STATUS}.startsWith('The second wording moves')")
    assert page.run("document.querySelectorAll('.bar').length") == 14


def test_an_example_is_chosen_with_the_arrow_keys(page):
    tab_to(page, "example")
    page.press("ArrowDown")
    page.wait(f"{STATUS}.startsWith('Answered on the scale 1..7')")
    assert page.run("document.getElementById('demographics').value").startswith("Age: 30")


def test_the_bars_of_an_earlier_question_fade_when_the_next_is_refused(page):
    faded = "getComputedStyle(document.getElementById('answer-a')).opacity < 0.5"
    tab_to(page, "a")
    page.type(tiny.SCENARIOS[1])
    page.press("Enter", CONTROL)
    page.wait(f"{STATUS}.startsWith('Answered')")
    page.wait(f"!({faded})")
    page.run("document.getElementById('a').value = 'Is it warm?'")
    page.press("Enter", CONTROL)
    page.wait(f"{STATUS}.includes('understood no answer scale')")
    page.wait(faded)
    assert page.run("document.getElementById('status').className") == "wrong"


@pytest.mark.parametrize("width", [1280, 500, 320])
def test_nothing_is_wider_than_the_window(page, width):
    page.resize(width)
    page.run("document.getElementById('compare').click()")
    page.run("const chosen = document.getElementById('example'); chosen.value = 2;")
    page.run("document.getElementById('example').dispatchEvent(new Event('change'))")
    page.wait(f"{STATUS} === 'The second wording moves the expected answer by 0.00.'")
    assert page.run("document.querySelectorAll('.bar').length") > 20
    assert page.run("document.documentElement.scrollWidth") <= width
