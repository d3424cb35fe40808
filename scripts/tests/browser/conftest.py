"""The real program with models/tiny before Debian's Chromium. Where TASNIF names no program, all is skipped."""

import os
import re
import shutil
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import expect, sync_playwright

ROOT = Path(__file__).resolve().parents[3]
CHROMIUM = shutil.which("chromium")
ARGUMENTS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


# Machines that check are busy.
expect.set_options(timeout=15_000)


@pytest.fixture(scope="session")
def service() -> Iterator[str]:
    """The address of a running service, without a slash at its end."""
    program = os.environ.get("TASNIF")
    if not program:
        pytest.skip("TASNIF names no tasnif program (target/debug/tasnif)")
    flags = ["serve", "--port", "0", "--models", str(ROOT / "models"), "--model", "tiny"]
    flags += ["--max-body-bytes", "32768"]
    process = subprocess.Popen([ROOT / program, *flags], stderr=subprocess.PIPE, text=True)
    assert process.stderr
    try:
        address = None
        for line in process.stderr:
            address = address or re.search(r"http://[\d.]+:\d+", line)
            if "ready: POST" in line:
                break
        assert address, "the log tells no address"
        # Somebody must read on, or the program would block on a full pipe.
        threading.Thread(target=process.stderr.read, daemon=True).start()
        yield address.group()
    finally:
        process.terminate()
        process.wait(timeout=20)


@pytest.fixture(scope="session")
def browser(service: str) -> Iterator[Any]:
    # The service comes first: without one all is skipped, whether or not there is a browser.
    assert CHROMIUM, "there is no chromium here: apt-get install chromium"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield browser
        browser.close()


class Watched:
    """Pages whose every complaint is kept: errors, violations of the policy, requests to other hosts."""

    def __init__(self, browser: Any, service: str) -> None:
        self.browser, self.service = browser, service
        self.complaints: list[str] = []
        self.contexts: list[Any] = []

    def open(self, **settings: Any) -> Any:
        settings = {"viewport": {"width": 1280, "height": 900}, "locale": "en-GB", "color_scheme": "light"} | settings
        context = self.browser.new_context(**settings)
        self.contexts.append(context)
        context.set_default_timeout(15_000)
        page = context.new_page()
        page.on("console", self.hear)
        page.on("pageerror", lambda error: self.complaints.append(f"error: {error}"))
        page.on("request", self.see)
        page.goto(f"{self.service}/")
        page.locator("#model option").first.wait_for(state="attached")
        return page

    def hear(self, message: Any) -> None:
        # Chromium logs every refused request; which are right to be refused is what the tests say.
        if message.type in ("error", "warning") and "Failed to load resource" not in message.text:
            self.complaints.append(f"console: {message.text}")

    def see(self, request: Any) -> None:
        if not request.url.startswith((self.service, "blob:")):
            self.complaints.append(f"another host: {request.url}")


@pytest.fixture
def open_page(browser: Any, service: str) -> Iterator[Callable[..., Any]]:
    watched = Watched(browser, service)
    yield watched.open
    for context in watched.contexts:
        context.close()
    assert watched.complaints == []


@pytest.fixture
def page(open_page: Callable[..., Any]) -> Any:
    return open_page()
