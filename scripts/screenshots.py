#!/usr/bin/env python3
"""Takes the pictures of the page that the documents show, from a running service with the shipped model."""

import argparse
import shutil
import subprocess
from pathlib import Path
from typing import Any

from playwright.sync_api import Page, sync_playwright

IMAGES = Path(__file__).resolve().parents[1] / "docs/images"
ARGUMENTS = ["--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--disable-background-networking"]
WIDE = {"width": 1280, "height": 900}
PHONE = {"width": 390, "height": 844}

ARTICLES = """\
{"id": "1", "title": "Central bank holds interest rates as inflation cools", "text": "The central bank left its key \
interest rate unchanged on Thursday, saying that inflation had slowed to 2.4 percent and that lending to companies was \
picking up again."}
{"id": "2", "title": "إخلاء قرى جبلية بعد فيضانات مفاجئة", "text": "أجلت فرق الإنقاذ مئات السكان من قرى جبلية بعد \
فيضانات مفاجئة دمرت جسرين وقطعت الكهرباء، ولم يبلغ عن ضحايا."}
{"id": "3", "title": "Выборы мэра пройдут в два тура", "text": "Избирательная комиссия объявила, что ни один из \
кандидатов на пост мэра не набрал половины голосов, и назначила второй тур на конец месяца."}
{"id": "4", "title": "Goalkeeper saves two penalties in cup final", "text": "The home side won the cup on Sunday after \
their goalkeeper saved two penalties in the shoot-out before a crowd of forty thousand."}
{"id": "5", "title": "Des milliers de soignants défilent pour leurs salaires", "text": "Des milliers d'infirmiers et \
d'aides-soignants ont manifesté mardi pour demander des hausses de salaire et davantage de personnel dans les hôpitaux \
publics."}
"""


def one(page: Page, example: str) -> None:
    page.click(f"#example-{example}")
    page.locator("mark").first.wait_for()
    page.mouse.move(0, 0)
    page.evaluate("scrollTo(0, 0)")


def many(page: Page) -> None:
    page.click("#tab-many")
    page.fill("#bulk", ARTICLES)
    page.click("#start")
    page.locator("#download-csv").wait_for()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--url", default="http://127.0.0.1:8080", help="the service [%(default)s]")
    url: str = parser.parse_args().url
    shots: list[tuple[str, dict[str, Any], str | None]] = [
        ("page-light", {"locale": "en", "color_scheme": "light", "viewport": WIDE}, "en"),
        ("page-dark", {"locale": "en", "color_scheme": "dark", "viewport": WIDE}, "en"),
        ("page-arabic", {"locale": "ar", "color_scheme": "light", "viewport": WIDE}, "ar"),
        ("page-phone", {"locale": "ar", "color_scheme": "light", "viewport": PHONE}, "ar"),
        ("page-many", {"locale": "en", "color_scheme": "light", "viewport": WIDE}, None),
    ]
    IMAGES.mkdir(exist_ok=True)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=ARGUMENTS)
        for name, settings, example in shots:
            page = browser.new_page(**settings)
            page.goto(url)
            page.locator("#model option").first.wait_for(state="attached")
            if example:
                one(page, example)
            else:
                many(page)
            file = IMAGES / f"{name}.png"
            page.screenshot(path=file, full_page=True)
            page.close()
            # A palette is enough for flat colours, and a third of the bytes.
            subprocess.run(["pngquant", "--force", "--ext", ".png", "--strip", "128", file], check=True)
            print(f"{file.relative_to(IMAGES.parents[1])}: {file.stat().st_size // 1024} kB")
        browser.close()


if __name__ == "__main__":
    main()
