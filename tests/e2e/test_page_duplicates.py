"""Duplicates of an ad on its page, side by side, in a real browser."""

import io
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import psycopg
import pytest
from PIL import Image

from lalafo_assets.synthetic.photos import render
from resources.settings import Settings
from resources.storage.photos import PhotoStore
from tests.conftest import connect_args
from tests.support.axe import violations, why_no_axe
from tests.support.browser import screenshot, why_no_browser
from tests.support.duplicate_ads import cropped, find_all, finder_epoch, jpeg, mirrored
from tests.support.judged_ads import CATALOG, write_answer
from tests.support.page_stand import Stand, ad_shown

_why_not = why_no_browser()
pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(_why_not is not None, reason=str(_why_not)),
]

SIZES = {"wide": {"width": 1280, "height": 900}, "narrow": {"width": 390, "height": 844}}
FIRST, CROP, TURNED, BLOCKED = "900", "901", "902", "903"


def put(stand: Stand, ad_id: str, seller: str, *photos: bytes) -> None:
    """An ad that the session has scored."""
    form = {"catalog": CATALOG, "ad_id": ad_id, "title": f"Guitar {ad_id}", "seller": seller}
    form |= {"price": "900", "currency": "KGS"}
    files = [("photo", (f"{n}.jpg", data, "image/jpeg")) for n, data in enumerate(photos)]
    with stand.client() as client:
        answer = client.post(
            "/v1/ads", params={"wait": 20}, data={"ad": json.dumps(form)}, files=files
        )
        assert answer.status_code == 200, answer.text


@pytest.fixture(scope="module")
def found(standing: Stand) -> Iterator[None]:
    """An ad, and three with its photos altered; of the last one, moderation blocks the photo."""
    first, second = (render(name, 31).data for name in ("guitar", "lamp"))
    pixels, other = (np.asarray(Image.open(io.BytesIO(data))) for data in (first, second))
    put(standing, FIRST, "s-1", first, second)
    put(standing, CROP, "s-1", jpeg(cropped(pixels, 0.25)), jpeg(other, 40))
    put(standing, TURNED, "s-2", jpeg(mirrored(pixels)))
    put(standing, BLOCKED, "s-3", jpeg(pixels, 45))
    write_answer(standing, BLOCKED, "moderation", "block", 0.97, {"nudity": 0.97, "photos": []})
    url = connect_args(standing.database.url.render_as_string())
    with psycopg.connect(**url, autocommit=True) as connection:
        home = Settings.model_validate({"home": standing.folder})
        store = PhotoStore(home.resolved_store_url)
        find_all(standing.database, store, finder_epoch(connection))
        yield


def test_without_a_finder_there_is_no_card(stand: Stand) -> None:
    """Nor an error in the console."""
    put(stand, "899", "s-1", render("chair", 30).data)
    with stand.page(f"/#/look/{CATALOG}/899") as page:
        page.locator("article.result").wait_for()
        page.wait_for_load_state("networkidle")
        assert page.locator(".duplicate-ads .card").count() == 0


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_copies_are_side_by_side(
    stand: Stand, found: None, size: str, scheme: str, tmp_path: Path
) -> None:
    """Outlines over both photos, the change in words, a blocked photo hidden, no overflow."""
    with stand.page(
        f"/#/look/{CATALOG}/{FIRST}", viewport=SIZES[size], color_scheme=scheme
    ) as page:
        pairs = page.locator(".duplicate-ads .pair")
        pairs.nth(2).wait_for()
        assert pairs.count() == 3
        crop = pairs.filter(has_text=f"Guitar {CROP}")
        crop.scroll_into_view_if_needed()
        crop.locator("img.loaded").nth(1).wait_for()
        assert crop.locator(".outlined svg .over").count() == 2
        crop.get_by_text("1 more photo").click()
        crop.locator(".match").nth(1).wait_for()
        crop.locator(".match").nth(1).locator("img.loaded").nth(1).wait_for()
        assert "cropped" in crop.inner_text()
        turned = pairs.filter(has_text=f"Guitar {TURNED}")
        assert "mirrored" in turned.locator(".how").inner_text()
        blocked = pairs.filter(has_text=f"Guitar {BLOCKED}")
        assert blocked.locator(".curtain").count() == 1
        screenshot(page, f"duplicates-{size}-{scheme}", tmp_path)
        overflow = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
        assert page.evaluate(overflow) <= 0
        if why_no_axe() is None:
            assert violations(page) == {}
        turned.locator("header a").click()
        page.locator(f"article.result h1:has-text('Guitar {TURNED}')").wait_for()
        assert ad_shown(page) == (CATALOG, TURNED)


def test_a_person_judges_with_the_keyboard(stand: Stand, found: None) -> None:
    """The answer is announced, and stored; the other button takes it back."""
    with stand.page(f"/#/look/{CATALOG}/{FIRST}") as page:
        pair = page.locator(".duplicate-ads .pair").filter(has_text=f"Guitar {TURNED}")
        pair.wait_for()
        for name, words in (("Not the same: Guitar", "not the same"), ("Same: Guitar", "the same")):
            button = pair.get_by_role("button", name=f"{name} {TURNED}", exact=True)
            button.focus()
            page.keyboard.press("Enter")
            pair.get_by_role("status").get_by_text(f"Saved: {words}.").wait_for()
            stored = stand.rows(
                "SELECT same FROM lalafo.duplicate_labels WHERE catalog = %s AND ad_id = %s "
                "AND other_id = %s",
                *(CATALOG, FIRST, TURNED),
            )
            assert stored == [(words == "the same",)]
