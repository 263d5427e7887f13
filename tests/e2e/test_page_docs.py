"""The page /docs in a real browser: its examples run as they stand, and its forms send requests."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.support.browser import screenshot, why_no_browser
from tests.support.page_stand import Stand
from tests.support.session_process import wait_for
from tests.support.stored_masks import write_mask
from tests.support.vector_ads import built_index, renew_all

_why_not = why_no_browser()
pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(_why_not is not None, reason=str(_why_not)),
]


@pytest.fixture
def scored(standing: Stand, photo: Path) -> str:
    """An ad that the examples name, beside another one; the last example deletes it."""
    for ad_id in ("two", "one"):  # a duplicate is of two ads
        form = {"data": {"ad": json.dumps({"catalog": "docs", "ad_id": ad_id})}}
        with standing.client() as client, photo.open("rb") as file:
            answer = client.post("/v1/ads", params={"wait": 10}, files={"photo": file}, **form)
            assert answer.status_code == 200, answer.text
    return "one"


@pytest.fixture
def indexed(standing: Stand, scored: str) -> Iterator[int]:
    """The epoch of an indexer that knows the ad: it has similar ones, though none is there."""
    with built_index(standing.database) as epoch:
        yield epoch


def examples(stand: Stand, language: str) -> dict[str, str]:
    """The example of every route in a language, by method and path."""
    with stand.page("/docs") as page:
        page.wait_for_selector(".route .request pre")
        page.get_by_role("button", name=language).first.click()
        page.wait_for_selector(f"button[data-name={language}][aria-pressed=true]")
        found = {}
        for card in page.locator(".route").all():
            found[card.get_attribute("id")] = card.locator(".request > pre").inner_text()
        return found


def write_masks(stand: Stand, file: Path) -> None:
    """The masks of the photos, as a session writes them; and one as a file."""
    with stand.database.cursor() as cursor:
        cursor.execute("SELECT sha256, height, width FROM lalafo.photos")
        for sha256, height, width in cursor.fetchall():
            mask = np.zeros((height, width), np.bool_)
            mask[height // 4 : -height // 4, width // 4 : -width // 4] = True
            Image.fromarray(mask).save(file)
            write_mask(cursor.connection, sha256, mask)


def is_scored(stand: Stand, ad_id: str) -> bool:
    """Whether no revision of the ad waits."""
    with stand.client() as client:
        ad = client.get(f"/v1/ads/docs/{ad_id}").json()
    return ad["status"] == "scored" and ad["waiting"] is None


@pytest.mark.parametrize("language", ["curl", "Python"])
def test_every_example_runs_as_it_stands(
    stand: Stand, scored: str, indexed: int, photo: Path, tmp_path: Path, language: str
) -> None:
    """With the key in the environment and a photo beside it; each answer is a success."""
    (tmp_path / "chair.jpg").write_bytes(photo.read_bytes())
    write_masks(stand, tmp_path / "mask.png")
    environment = {**os.environ, "LALAFO_GATEWAY_KEY": stand.key}
    found = examples(stand, language)
    assert {"get-v1-ads", "post-v1-ads", "get-v1-history", "post-classify"} <= set(found)
    # The ad is deleted last: other examples read it.
    for name, text in sorted(found.items(), key=lambda item: item[0].startswith("delete")):
        assert stand.key not in text and stand.url in text
        if "similar" in name or "search" in name:  # an example before it has sent the ad again
            wait_for(lambda: is_scored(stand, scored), lambda: "not scored", 20)
            renew_all(stand.database, indexed)
        command = (
            ["bash", "-c", text.replace("curl -sS", "curl -sS --fail-with-body")]
            if language == "curl"
            else [sys.executable, "-c", text]
        )
        done = subprocess.run(
            command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, (name, text, done.stdout, done.stderr)
    assert (tmp_path / "photo.jpg").read_bytes()[:3] == b"\xff\xd8\xff"


def test_a_request_is_sent_from_the_page(stand: Stand, scored: str) -> None:
    """Its status, headers and body are shown; the example follows the form."""
    with stand.page("/docs", key="") as page:
        card = page.locator("#get-v1-ads")
        card.wait_for()
        card.locator(".try summary").click()
        card.get_by_label("catalog").fill("docs")
        assert "catalog=docs" in card.locator(".request > pre").inner_text()
        card.get_by_role("button", name="Send").click()
        card.locator(".chip.bad", has_text="401").wait_for()
        assert "no_key" in card.get_by_label("Body").inner_text()
        page.fill("#docs-key", stand.key)
        card.get_by_role("button", name="Send").click()
        card.locator(".chip.good", has_text="200").wait_for()
        body = json.loads(card.get_by_label("Body").inner_text())
        assert [ad["ad_id"] for ad in body["ads"]] == [scored, "two"]
        card.get_by_text("Headers").click()
        assert "application/json" in card.locator(".answer-out table").inner_text()
        assert re.search(r"\d+ ms", card.locator(".answer-out").inner_text())
        screenshot(page, "page-docs", stand.folder)
    stand.console_errors[:] = [one for one in stand.console_errors if "401" not in one]
