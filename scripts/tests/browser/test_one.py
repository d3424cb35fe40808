"""One article on the page: by mouse, by keyboard, in both languages, and with everything that can be refused."""

import json
import re
import subprocess
import sys
from collections.abc import Callable
from typing import Any
from urllib.request import Request, urlopen

import pytest
from playwright.sync_api import Page, Route, expect

TITLE = "خبر 🚀 title"
TEXT = "🚀 Oil prices rose on world markets.\n\nThe minister welcomed the law: it's “long overdue”.\nAnother sentence."


def ask(page: Page, text: str = TEXT, title: str = "", targets: tuple[str, ...] = ()) -> dict[str, Any]:
    """Fills the form and sends it; the answer is what the service said."""
    page.fill("#title", title)
    page.fill("#text", text)
    for target in targets:
        page.fill("#target", target)
        page.press("#target", "Enter")
    with page.expect_response("**/v1/classify") as response:
        page.click("#classify")
    verdict: dict[str, Any] = response.value.json()
    page.locator(".summary .lead").wait_for()
    return verdict


def percent(score: float) -> str:
    return "<1%" if score < 0.005 else f"{round(min(score, 0.99) * 100)}%"


def test_by_mouse_alone_from_an_example_to_an_understood_answer(page: Page) -> None:
    page.mouse.click(*centre(page, "#example-en"))
    page.locator("mark").first.wait_for()
    expect(page.locator(".summary .lead")).to_contain_text("This article is about")
    expect(page.locator(".stance")).to_have_count(3)
    topics = page.locator(".topic-button")
    second = topics.nth(1)
    name = second.locator(".topic-name").inner_text()
    page.mouse.click(*centre(page, ".topic-button >> nth=1"))
    expect(second).to_have_attribute("aria-pressed", "true")
    expect(topics.first).to_have_attribute("aria-pressed", "false")
    expect(page.locator("#answer h3", has_text=f"Evidence for {name}")).to_be_visible()
    expect(page.locator("#announce")).to_contain_text(f"Passages marked for {name}")
    page.mouse.click(*centre(page, ".chip button >> nth=0"))
    expect(page.locator(".chip")).to_have_count(2)


def centre(page: Page, selector: str) -> tuple[float, float]:
    element = page.locator(selector)
    element.scroll_into_view_if_needed()
    box = element.bounding_box()
    assert box
    return box["x"] + box["width"] / 2, box["y"] + box["height"] / 2


def test_by_keyboard_alone(page: Page) -> None:
    def tab_to(selector: str) -> None:
        for _ in range(40):
            page.keyboard.press("Tab")
            # Wherever the focus is, it can be seen.
            assert page.evaluate(FOCUS_SHOWS), page.evaluate("document.activeElement.outerHTML")
            if page.evaluate("selector => document.activeElement.matches(selector)", selector):
                return
        pytest.fail(f"Tab does not lead to {selector}")

    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    page.keyboard.press("Enter")
    tab_to("#example-en")
    tab_to("#text")
    page.keyboard.type("The minister welcomed the law.")
    tab_to("#target")
    page.keyboard.type("the law")
    page.keyboard.press("Enter")
    page.keyboard.type("taxes")
    page.keyboard.press("Enter")
    expect(page.locator(".chip")).to_have_count(2)
    page.keyboard.press("Backspace")
    expect(page.locator(".chip")).to_have_text(["the law×"])
    page.keyboard.type("not added, but meant")
    tab_to("#classify")
    page.keyboard.press("Enter")
    expect(page.locator("#announce")).to_contain_text("This article is about")
    expect(page.locator(".stance")).to_have_count(2)
    tab_to(".topic-button[aria-pressed=false]")
    page.keyboard.press("Space")
    expect(page.locator(".topic-button").nth(1)).to_have_attribute("aria-pressed", "true")
    tab_to("#reading")
    tab_to("summary")
    # The tabs, by their arrows; and the shortcut.
    page.focus("#tab-one")
    page.keyboard.press("ArrowRight")
    expect(page.locator("#tab-many")).to_be_focused()
    expect(page.locator("#panel-one")).to_be_hidden()
    page.keyboard.press("Home")
    page.focus("#text")
    with page.expect_response("**/v1/classify"):
        page.keyboard.press("Control+Enter")


# A hidden file input shows its focus on the button that it lies in.
FOCUS_SHOWS = """() => {
  const focused = document.activeElement;
  const shown = focused.type === "file" ? focused.parentElement : focused;
  return getComputedStyle(shown).outlineStyle !== "none";
}"""


def test_the_page_shows_what_the_service_said(page: Page) -> None:
    verdict = ask(page, title=TITLE, targets=("the law", "خبر"))
    assigned = [topic for topic in verdict["topics"] if topic["assigned"]]
    rest = [topic for topic in verdict["topics"] if not topic["assigned"]]
    assert len(assigned) == 2, "models/tiny answers otherwise than this test was written for"
    for list_, topics in ((".topics.assigned", assigned), (".rest .topics", rest)):
        rows = page.locator(f"{list_} .topic")
        expect(rows).to_have_count(len(topics))
        for row, topic in zip(rows.all(), topics, strict=True):
            assert row.locator(".topic-name").text_content() == topic["name"]["en"]
            assert row.locator("strong").text_content() == percent(topic["score"])
            assert f"threshold {percent(topic['threshold'])}" in (row.text_content() or "")
    fill, line, track = (page.locator(f".topics.assigned .{part}").first for part in ("fill", "threshold", "track"))
    width = box(track)["width"]
    assert box(fill)["width"] / width == pytest.approx(assigned[0]["score"], abs=0.01)
    assert (box(line)["x"] + 1.5 - box(track)["x"]) / width == pytest.approx(assigned[0]["threshold"], abs=0.01)
    link = page.locator(".codes a").first
    assert link.get_attribute("href") == f"https://cv.iptc.org/newscodes/mediatopic/{assigned[0]['iptc'][0][7:]}"

    for row, stance in zip(page.locator(".stance").all(), verdict["stance"], strict=True):
        assert row.locator(".stance-head strong").text_content() == stance["target"]
        assert row.locator(".stance-head .label").get_attribute("class") == f"label {stance['label']}"
        for name, score in stance["scores"].items():
            assert row.locator(f".score.{name} dd").text_content() == percent(score)
    facts = page.locator(".facts").inner_text()
    assert f"{verdict['usage']['tokens']} tokens" in facts
    assert "tiny 1.0.0" in facts
    # Marked is what the offsets say, in code points, in title and text.
    for topic in assigned:
        page.click(f".topic-button[data-label={topic['label']}]")
        expected = {
            (TITLE if passage.get("in") == "title" else TEXT)[passage["start"] : passage["end"]]
            for passage in topic["evidence"]
        }
        marked = page.evaluate("[...document.querySelectorAll('mark')].map(mark => mark.lastChild.data)")
        assert set(marked) == expected
        assert page.locator(".article-text").evaluate(TEXT_WITHOUT_HINTS) == TEXT


TEXT_WITHOUT_HINTS = """element => {
  const copy = element.cloneNode(true);
  for (const hint of copy.querySelectorAll(".visually-hidden")) hint.remove();
  return copy.textContent;
}"""


def box(locator: Any) -> dict[str, float]:
    found: dict[str, float] | None = locator.bounding_box()
    assert found
    return found


def test_on_a_phone_the_answer_comes_into_sight(open_page: Callable[..., Page]) -> None:
    page = open_page(viewport={"width": 390, "height": 844}, has_touch=True)
    page.tap("#example-en")
    expect(page.locator(".summary .lead")).to_be_in_viewport()


def test_pieces_of_a_text(page: Page) -> None:
    cases = [
        ("abc", [], [("abc", 0)]),
        ("a🚀b", [(1, 2, 1.0)], [("a", 0), ("🚀", 1), ("b", 0)]),
        ("abcdef", [(0, 4, 0.5), (2, 6, 2.0)], [("ab", 2), ("cd", 1), ("ef", 1)]),
        ("abc", [(1, 99, 1.0), (3, 3, 1.0), (7, 9, 1.0)], [("a", 0), ("bc", 1)]),
        ("", [], []),
    ]
    for text, passages, expected in cases:
        spans = [{"start": start, "end": end, "score": score} for start, end, score in passages]
        script = "async ([text, spans]) => (await import('/page/evidence.js')).pieces(text, spans)"
        found = page.evaluate(script, [text, spans])
        assert [(piece["text"], piece["rank"]) for piece in found] == expected, text


def test_arabic_interface_mirrors_and_is_remembered(page: Page) -> None:
    ask(page, targets=("the law",))
    against, favor = (page.locator(f".part.{side}") for side in ("against", "favor"))
    assert box(against)["x"] < box(favor)["x"]
    page.click("#language")
    expect(page.locator("html")).to_have_attribute("dir", "rtl")
    expect(page.locator(".summary .lead")).to_contain_text("يتحدث هذا المقال")
    expect(page.locator(".topics.assigned .topic-name").first).to_have_text("الأمن السيبراني")
    assert box(against)["x"] > box(favor)["x"]
    track, fill = box(page.locator(".topics.assigned .track").first), box(page.locator(".assigned .fill").first)
    assert fill["x"] + fill["width"] == pytest.approx(track["x"] + track["width"], abs=1)
    # An English text still runs from left to right, inside an interface that doesn't.
    assert page.locator(".article-text").evaluate("element => getComputedStyle(element).direction") == "ltr"
    page.reload()
    expect(page.locator("html")).to_have_attribute("lang", "ar")
    expect(page.locator("#classify")).to_have_text("اقرأ المقال")
    page.click("#language")
    expect(page.locator("#classify")).to_have_text("Read the article")


def test_language_of_the_browser_decides_at_first(open_page: Callable[..., Page]) -> None:
    expect(open_page(locale="ar-EG").locator("html")).to_have_attribute("dir", "rtl")
    expect(open_page(locale="fr-FR").locator("html")).to_have_attribute("lang", "en")


def test_every_text_exists_in_both_languages(page: Page) -> None:
    texts = page.evaluate("async () => (await import('/page/texts.js')).TEXTS")
    assert texts["en"].keys() == texts["ar"].keys()
    used = page.evaluate("""[...document.querySelectorAll("[data-i18n], [data-i18n-label]")]
        .map(element => element.dataset.i18n ?? element.dataset.i18nLabel)""")
    assert set(used) <= texts["en"].keys()
    for key, text in texts["en"].items():
        assert set(re.findall(r"{\w+}", text)) == set(re.findall(r"{\w+}", texts["ar"][key])), key


def test_theme(open_page: Callable[..., Page]) -> None:
    def ground(page: Page) -> str:
        colour: str = page.evaluate("getComputedStyle(document.documentElement).backgroundColor")
        return colour

    page = open_page(color_scheme="dark")
    dark = ground(page)
    assert dark != ground(open_page(color_scheme="light"))
    page.click("#theme")
    expect(page.locator("#theme")).to_have_text("Theme: light")
    assert ground(page) != dark
    page.reload()
    expect(page.locator("#theme")).to_have_text("Theme: light")
    page.click("#theme")
    assert ground(page) == dark


def test_what_is_refused_is_said_beside_its_field(page: Page) -> None:
    page.click("#classify")
    expect(page.locator("#text-error")).to_contain_text("There is no text yet")
    expect(page.locator("#text")).to_be_focused()
    expect(page.locator("#text")).to_have_attribute("aria-invalid", "true")
    # The service's own words for the same, and for a target.
    page.fill("#text", "Oil.")
    page.fill("#target", "oil " * 70)
    with page.expect_response("**/v1/classify") as response:
        page.click("#classify")
    assert response.value.status == 422
    expect(page.locator("#text-error")).to_be_empty()
    expect(page.locator("#targets-error")).to_contain_text("This target is too long")
    expect(page.locator(".chip.bad")).to_have_count(1)
    page.click(".chip button")
    page.fill("#text", "Oil. " * 7_000)
    page.click("#classify")
    expect(page.locator("#form-error")).to_contain_text("more than the service takes")
    for number in range(17):
        page.fill("#target", f"target {number}")
        page.press("#target", "Enter")
    expect(page.locator("#targets-error")).to_contain_text("16 targets are the most")
    expect(page.locator(".chip")).to_have_count(16)


def test_a_lost_connection_and_a_proxys_page_are_said_plainly(page: Page) -> None:
    page.fill("#text", "Oil.")
    page.route("**/v1/classify", lambda route: route.abort())
    page.click("#classify")
    expect(page.locator("#form-error")).to_contain_text("can’t be reached")
    page.unroute("**/v1/classify")
    page.route("**/v1/classify", lambda route: route.fulfill(status=502, body="<h1>Bad gateway</h1>"))
    page.click("#classify")
    expect(page.locator("#form-error")).to_contain_text("Something failed")
    expect(page.locator("#classify")).to_have_text("Read the article")


def refusal(status: int, code: str, **headers: str) -> Callable[[Route], None]:
    body = json.dumps({"error": {"code": code, "message": "…"}})
    return lambda route: route.fulfill(status=status, content_type="application/json", headers=headers, body=body)


def test_a_busy_service_is_asked_again_after_the_time_it_names(page: Page) -> None:
    page.route("**/v1/classify", refusal(429, "overloaded", **{"Retry-After": "1"}), times=1)
    page.fill("#text", TEXT)
    page.click("#classify")
    expect(page.locator("#notice")).to_have_text("The service is busy; trying again in 1 s.")
    page.locator(".summary .lead").wait_for()
    expect(page.locator("#notice")).to_be_hidden()


def test_a_service_that_still_loads_is_waited_for(page: Page) -> None:
    page.route("**/v1/models", refusal(503, "not_ready", **{"Retry-After": "1"}), times=1)
    page.reload()
    expect(page.locator("#notice")).to_contain_text("loading its models")
    expect(page.locator("#model option")).to_have_count(1)
    expect(page.locator("#notice")).to_be_hidden()


def test_a_key_is_asked_for_and_kept_in_this_tab_only(page: Page) -> None:
    def guarded(route: Route) -> None:
        given = route.request.headers.get("authorization")
        if given == "Bearer s3cret":
            route.continue_()
        else:
            refusal(401, "key_missing")(route)

    page.route("**/v1/*", guarded)
    page.reload()
    expect(page.locator("#key")).to_be_focused()
    page.fill("#text", TEXT)
    page.click("#classify")
    expect(page.locator("#form-error")).to_contain_text("asks for an API key")
    page.fill("#key", "wrong")
    page.press("#key", "Enter")
    expect(page.locator("#key-form")).to_be_visible()
    page.fill("#key", "s3cret")
    page.press("#key", "Enter")
    page.locator(".summary .lead").wait_for()
    expect(page.locator("#key-form")).to_be_hidden()
    expect(page.locator("#model option")).to_have_count(1)
    assert "s3cret" not in page.evaluate("JSON.stringify({...localStorage}) + document.cookie + location.href")
    assert "s3cret" not in (page.locator("#program").text_content() or "")
    assert "$TASNIF_KEY" in (page.locator("#request-curl").text_content() or "")


def test_the_shown_programs_give_the_shown_answer(page: Page, service: str) -> None:
    verdict = ask(page, title='It\'s "quoted" $HOME `ls` \\n', targets=("the law's effect",))
    shown = json.loads(page.locator("#request-json").text_content() or "")
    assert shown == verdict
    curl = page.locator("#request-curl").text_content() or ""
    assert service in curl
    said = subprocess.run(["bash", "-c", curl], capture_output=True, check=True, text=True).stdout
    assert json.loads(said) == verdict
    python = page.locator("#request-python").text_content() or ""
    said = subprocess.run([sys.executable, "-c", python], capture_output=True, check=True, text=True).stdout
    assert "the law's effect" in said
    assert f"{verdict['topics'][0]['score']:.0%}  {verdict['topics'][0]['label']}" in said


def test_copying(open_page: Callable[..., Page]) -> None:
    page = open_page(permissions=["clipboard-read", "clipboard-write"])
    ask(page)
    page.click("#program summary")
    button = page.locator("#program button").first
    button.click()
    expect(button).to_have_text("Copied")
    assert page.evaluate("navigator.clipboard.readText()") == page.locator("#request-curl").text_content()


def test_a_file_fills_the_form_and_one_with_several_articles_goes_to_many(page: Page) -> None:
    drop(page, "#drop-one", "article.txt", "خبر من ملف".encode())
    expect(page.locator("#text")).to_have_value("خبر من ملف")
    page.set_input_files(
        "#file-one", {"name": "a.json", "mimeType": "application/json", "buffer": b'{"title": "T", "text": "Body"}'}
    )
    expect(page.locator("#title")).to_have_value("T")
    drop(page, "#drop-one", "two.jsonl", b'{"text": "One."}\n{"text": "Two."}\n')
    expect(page.locator("#tab-many")).to_have_attribute("aria-selected", "true")
    expect(page.locator("#bulk-found")).to_contain_text("Articles found: 2 (two.jsonl).")
    drop(page, "#drop-many", "latin1.txt", "caf\xe9".encode("latin-1"))
    expect(page.locator("#bulk-error")).to_contain_text("latin1.txt can’t be read as text.")


def drop(page: Page, selector: str, name: str, content: bytes) -> None:
    script = """([name, bytes]) => {
      const data = new DataTransfer();
      data.items.add(new File([new Uint8Array(bytes)], name));
      return data;
    }"""
    data = page.evaluate_handle(script, [name, list(content)])
    page.dispatch_event(selector, "dragover", {"dataTransfer": data})
    page.dispatch_event(selector, "drop", {"dataTransfer": data})


def test_models_can_be_chosen(page: Page, service: str) -> None:
    served = json.load(urlopen(Request(f"{service}/v1/models")))["models"]
    expect(page.locator("#model option")).to_have_text([f"{served[0]['name']} {served[0]['version']} (default)"])
    expect(page.locator("#model-hint")).to_have_text(served[0]["description"])
