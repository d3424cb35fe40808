"""What axe-core finds, and how the page fits a phone."""

from collections.abc import Callable

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page

from .test_many import lines


def fill(page: Page) -> None:
    """Both tabs with an answer; the one with a single article is shown."""
    page.click("#tab-many")
    page.fill("#bulk", lines(3) + '{"text": " "}\nnot json')
    page.click("#start")
    page.locator("#download-csv").wait_for()
    page.click("#tab-one")
    page.click("#example-ar")
    page.locator("mark").first.wait_for()
    page.click("#program summary")


@pytest.mark.parametrize(("locale", "scheme"), [("en-GB", "light"), ("ar-EG", "dark")])
def test_axe_finds_nothing(open_page: Callable[..., Page], locale: str, scheme: str) -> None:
    page = open_page(locale=locale, color_scheme=scheme)
    fill(page)
    for tab in ("one", "many"):
        page.click(f"#tab-{tab}")
        results = Axe().run(page)
        assert results.violations_count == 0, results.generate_report()


@pytest.mark.parametrize("locale", ["en-GB", "ar-EG"])
def test_nothing_is_wider_than_the_screen(open_page: Callable[..., Page], locale: str) -> None:
    page = open_page(locale=locale)
    fill(page)
    for tab in ("one", "many"):
        page.click(f"#tab-{tab}")
        for width in (320, 390, 768, 1024):
            page.set_viewport_size({"width": width, "height": 800})
            assert page.evaluate("document.documentElement.scrollWidth") <= width, (tab, width)
