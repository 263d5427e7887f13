"""Debian's headless Chromium, for tests of web pages."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

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


def why_no_browser() -> str | None:
    """Why no browser can be started; None if one can."""
    return None if shutil.which("chromium") else "no chromium: apt-get install chromium"


@contextmanager
def open_browser(profile: Path, *, width: int = 1600, height: int = 1000) -> Iterator[Any]:
    """A page of a browser with an empty profile in `profile`."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        context = playwright.chromium.launch_persistent_context(
            str(profile),
            executable_path=shutil.which("chromium"),
            args=ARGUMENTS,
            viewport={"width": width, "height": height},
        )
        try:
            yield context.new_page()
        finally:
            context.close()


def screenshot(page: Any, name: str, folder: Path) -> Path:
    """Save a screenshot in `folder`, or in the folder LALAFO_SCREENSHOTS if that is set."""
    target = Path(os.environ.get("LALAFO_SCREENSHOTS", folder))
    target.mkdir(parents=True, exist_ok=True)
    path = target / f"{name}.png"
    page.screenshot(path=str(path))
    return path
