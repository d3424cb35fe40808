"""Many articles: reading files, the run, stopping and going on, the downloads."""

import csv
import io
import json
from pathlib import Path
from typing import Any

from playwright.sync_api import Page, Route, expect

from .test_one import refusal


def lines(count: int) -> str:
    return "".join(f'{{"id": "a{n}", "text": "Oil prices rose {n} times."}}\n' for n in range(count))


def many(page: Page, content: str) -> None:
    page.click("#tab-many")
    page.fill("#bulk", content)


def downloaded(page: Page, button: str, path: Path) -> str:
    with page.expect_download() as download:
        page.click(button)
    download.value.save_as(path)
    return path.read_text(encoding="utf-8")


def test_reading_texts_and_files(page: Page) -> None:
    one = [{"text": "One."}]
    cases: list[tuple[str, str, list[Any], int]] = [
        ("", "One.\n---\n\nTwo\nlines.\n-----\n", [{"text": "One."}, {"text": "Two\nlines."}], 0),
        ("a.txt", '{"text": "One."}\n{"text": "One."}', one * 2, 0),
        ("a.txt", "{sic} text", [{"text": "{sic} text"}], 0),
        ("", '{"id": 7, "text": "One.", "lang": "en"}\n\n{"text"\n{"x": 1}\n7\n', [{"id": "7", "text": "One."}], 3),
        ("a.jsonl", "\ufeff" + '{"text": "One."}\r\n', one, 0),
        ("a.json", '[{"text": "One."}]', one, 0),
        ("a.json", '{"articles": [{"text": "One.", "targets": ["x"]}]}', [{"text": "One.", "targets": ["x"]}], 0),
        ("", 'id,Text\n1,"One, ""quoted"",\nand more"\n', [{"id": "1", "text": 'One, "quoted",\nand more'}], 0),
        ("a.csv", "text;title\r\nOne.;T\r\n\r\nTwo.;\r\n", [{"text": "One.", "title": "T"}, {"text": "Two."}], 0),
        ("a.tsv", "text\tlanguage\nواحد\tar", [{"text": "واحد", "language": "ar"}], 0),
        ("a.csv", "title,body\nT,B\n", [], 1),
        ("a.csv", "", [], 1),
        (
            "",
            "an article, with a comma\nand no header",
            [{"text": "an article, with a comma\nand no header"}],
            0,
        ),
    ]
    script = "async ([name, content]) => (await import('/page/files.js')).read(name, content)"
    for name, content, articles, problems in cases:
        found = page.evaluate(script, [name, content])
        assert (found["articles"], len(found["problems"])) == (articles, problems), (name, content, found)


def test_results_come_in_order_with_errors_in_their_place(page: Page, tmp_path: Path) -> None:
    content = (
        lines(40) + '{"id": "bad", "text": " "}\n{"id": "=1+1", "title": "=cmd, \\"x\\"", "text": "Gas."}\nnot json\n'
    )
    many(page, content)
    expect(page.locator("#bulk-found")).to_contain_text("Articles found: 42.")
    expect(page.locator("#bulk-error")).to_contain_text("line 43: not JSON")
    page.fill("#target", "oil")
    page.click("#start")
    page.locator("#download-csv").wait_for()
    expect(page.locator("#progress-words")).to_have_text("42 of 42 read · 1 with an error")
    expect(page.locator("#announce")).to_have_text("Done: 42 articles read.")
    ids = [*(f"a{n}" for n in range(40)), "bad", "=1+1"]
    assert page.locator("#rows .id").all_text_contents() == ids
    expect(page.locator("#rows tr").nth(40)).to_contain_text("There is no text yet")

    jsonl = [json.loads(line) for line in downloaded(page, "#download-jsonl", tmp_path / "r.jsonl").splitlines()]
    assert [result["id"] for result in jsonl] == ids
    assert jsonl[40]["error"]["code"] == "text_empty"
    table = downloaded(page, "#download-csv", tmp_path / "r.csv")
    assert table.startswith("\ufeff")
    rows = list(csv.DictReader(io.StringIO(table.removeprefix("\ufeff"))))
    assert [row["id"] for row in rows] == [*ids[:-1], "'=1+1"]
    assert rows[41]["title"] == '\'=cmd, "x"'
    assert rows[0]["stance: oil"] == jsonl[0]["stance"][0]["label"]
    assert float(rows[0]["score: oil"]) == round(jsonl[0]["stance"][0]["score"], 4)
    assert rows[0]["topics"] == "; ".join(topic["label"] for topic in jsonl[0]["topics"] if topic["assigned"])
    assert rows[40]["error"]

    # A row leads to its article, read again with its evidence.
    page.click("#rows tr:nth-child(3) button")
    expect(page.locator("#text")).to_have_value("Oil prices rose 2 times.")
    page.locator("mark").first.wait_for()


def test_stopping_keeps_what_was_read_and_going_on_asks_for_the_rest_only(page: Page) -> None:
    asked: list[str] = []
    held: list[Route] = []

    def hold(route: Route) -> None:
        ids = [article["id"] for article in route.request.post_data_json["articles"]]
        asked.extend(ids)
        # The third request hangs until the reader stops.
        if len(held) == 0 and len(asked) > 32:
            held.append(route)
        else:
            route.continue_()

    page.route("**/v1/classify", hold)
    many(page, lines(120))
    page.click("#start")
    expect(page.locator("#start")).to_be_hidden()
    expect(page.locator("#rows tr")).to_have_count(104)
    page.click("#cancel")
    expect(page.locator("#start")).to_have_text("Continue")
    kept = set(page.locator("#rows .id").all_text_contents())
    assert len(kept) == 104
    expect(page.locator("#download-csv")).to_be_visible()
    asked.clear()
    page.click("#start")
    expect(page.locator("#progress-words")).to_have_text("120 of 120 read")
    assert set(asked) == {f"a{n}" for n in range(120)} - kept
    assert page.locator("#rows .id").all_text_contents() == [f"a{n}" for n in range(120)]


def test_a_busy_service_is_waited_for(page: Page) -> None:
    page.route("**/v1/classify", refusal(429, "overloaded", **{"Retry-After": "1"}), times=2)
    many(page, lines(20))
    page.click("#start")
    expect(page.locator("#notice")).to_have_text("The service is busy; going on in 1 s.")
    expect(page.locator("#progress-words")).to_have_text("20 of 20 read")
    expect(page.locator("#notice")).to_be_hidden()


def test_what_is_too_large_together_is_asked_apart(page: Page) -> None:
    def small(route: Route) -> None:
        articles = route.request.post_data_json["articles"]
        big = len(articles) > 4 or any(article["id"] == "a5" for article in articles)
        refusal(413, "body_too_large")(route) if big else route.continue_()

    page.route("**/v1/classify", small)
    many(page, lines(10))
    page.click("#start")
    expect(page.locator("#progress-words")).to_have_text("10 of 10 read · 1 with an error")
    expect(page.locator("#rows tr").nth(5)).to_contain_text("more than the service takes")


def test_a_lost_service_ends_the_run_and_says_so(page: Page) -> None:
    page.clock.install()
    page.route("**/v1/classify", lambda route: route.abort())
    many(page, lines(3))
    page.click("#start")
    # The waits between its tries (1, 2, 4 and 8 s) pass as fast as the tries do.
    for _ in range(100):
        page.clock.run_for(1_000)
        if page.locator("#form-error").text_content():
            break
        page.wait_for_timeout(50)
    expect(page.locator("#form-error")).to_contain_text("can’t be reached")
    expect(page.locator("#start")).to_have_text("Continue")


def test_nothing_to_read(page: Page) -> None:
    page.click("#tab-many")
    page.click("#start")
    expect(page.locator("#bulk-error")).to_contain_text("No articles yet")
    page.set_input_files(
        "#file-many",
        [
            {"name": "a.csv", "mimeType": "text/csv", "buffer": b"text\nOne.\n"},
            {"name": "b.txt", "mimeType": "text/plain", "buffer": "خبر".encode()},
        ],
    )
    expect(page.locator("#bulk-found")).to_contain_text("Articles found: 2 (a.csv, b.txt).")
    page.click("#bulk-found button")
    expect(page.locator("#bulk-found")).to_be_empty()
