"""The grid of similar ads below an ad, in a real browser."""

import io
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

from lalafo_assets.synthetic.photos import render
from tests.support.browser import screenshot, why_no_browser
from tests.support.judged_ads import CATALOG, put_judged_ad, write_answer
from tests.support.page_stand import Stand, ad_shown
from tests.support.photo_search_worker import photo_search_worker
from tests.support.vector_ads import built_index, renew_all

_why_not = why_no_browser()
pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(_why_not is not None, reason=str(_why_not)),
]

OTHERS = 14
SIZES = {"wide": {"width": 1280, "height": 900}, "narrow": {"width": 390, "height": 844}}


@pytest.fixture(scope="module")
def ads(standing: Stand) -> list[str]:
    """The ids of some ads with one photo each; of the last one, moderation blocks the photo."""
    ids = [str(number) for number in range(100, 100 + OTHERS)]
    with standing.client() as client:
        for number, ad_id in enumerate(ids):
            form = {"catalog": CATALOG, "ad_id": ad_id, "title": f"Chair {ad_id}", "price": "900"}
            form |= {"currency": "KGS"}
            photo = ("photo.jpg", render("chair", number).data, "image/jpeg")
            answer = client.post(
                "/v1/ads",
                params={"wait": 20},
                data={"ad": json.dumps(form)},
                files=[("photo", photo)],
            )
            assert answer.status_code == 200, answer.text
    write_answer(standing, ids[-1], "moderation", "block", 0.97, {"nudity": 0.97, "photos": []})
    return ids


@pytest.fixture(scope="module")
def indexed(standing: Stand, ads: list[str]) -> Iterator[int]:
    """The epoch of an indexer that has built the index of all ads so far."""
    with built_index(standing.database) as epoch:
        yield epoch


def test_without_an_index_nothing_is_asked_for(stand: Stand, ads: list[str]) -> None:
    """Nor is there a card; the console has no error."""
    with stand.page(f"/#/look/{CATALOG}/{ads[0]}") as page:
        page.locator("article.result").wait_for()
        page.wait_for_load_state("networkidle")
        assert page.locator(".similar-ads .card").count() == 0


@pytest.mark.parametrize("size", SIZES)
def test_one_goes_on_from_ad_to_similar_ad(
    stand: Stand, ads: list[str], indexed: int, size: str, tmp_path: Path
) -> None:
    """The grid has the other ads, by likeness; a blocked photo is hidden; more are loaded."""
    with stand.page(f"/#/look/{CATALOG}/{ads[0]}", viewport=SIZES[size]) as page:
        tiles = page.locator(".similar-ads .tiles li")
        tiles.nth(11).wait_for()
        assert tiles.count() == 12
        page.get_by_role("button", name="More like this").click()
        tiles.nth(12).wait_for()
        assert tiles.count() == OTHERS - 1
        shown = [tile.locator(".title").inner_text() for tile in tiles.all()]
        assert sorted(shown) == [f"Chair {ad_id}" for ad_id in ads[1:]]
        alike = [float(tile.inner_text().split("similarity ")[1]) for tile in tiles.all()]
        assert alike == sorted(alike, reverse=True)
        blocked = tiles.filter(has_text=f"Chair {ads[-1]}")
        assert blocked.locator(".hidden-thumb").count() == 1
        assert blocked.locator("img").count() == 0
        tiles.first.scroll_into_view_if_needed()
        tiles.first.locator("img.loaded").wait_for()
        screenshot(page, f"similar-{size}", tmp_path)
        first = shown[0].removeprefix("Chair ")
        tiles.first.locator("a").click()
        page.locator(f"article.result h1:has-text('Chair {first}')").wait_for()
        assert ad_shown(page) == (CATALOG, first)
        tiles.nth(11).wait_for()
        assert f"Chair {ads[0]}" in page.locator(".similar-ads .tiles").inner_text()


def test_a_photo_is_searched_by_without_an_ad(
    stand: Stand, ads: list[str], indexed: int, tmp_path: Path
) -> None:
    """The ad with a copy of the photo comes first; no ad is sent; one goes on from a tile."""
    copy = tmp_path / "copy.jpg"
    with Image.open(io.BytesIO(render("chair", 3).data)) as photo:
        photo.save(copy, quality=60)
    before = stand.rows("SELECT count(*) FROM lalafo.ads")
    with photo_search_worker(stand.database, stand.settings), stand.page() as page:
        page.get_by_label("Only find similar ads").check()
        page.set_input_files("#choose", copy)
        tiles = page.locator(".similar-ads .tiles li")
        tiles.nth(11).wait_for(timeout=60_000)
        assert tiles.first.locator(".title").inner_text() == f"Chair {ads[3]}"
        page.locator(".previews img.loaded, .previews img").first.wait_for()
        tiles.first.locator("img.loaded").wait_for()
        screenshot(page, "search-by-photo", tmp_path)
        page.set_viewport_size(SIZES["narrow"])
        wide = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
        assert page.evaluate(wide) == 0
        screenshot(page, "search-by-photo-narrow", tmp_path)
        page.get_by_label("Only find similar ads").scroll_into_view_if_needed()
        screenshot(page, "search-by-photo-choice", tmp_path)
        page.get_by_role("button", name="More like this").click()
        tiles.nth(12).wait_for()
        assert stand.rows("SELECT count(*) FROM lalafo.ads") == before
        tiles.first.locator("a").click()
        page.locator(f"article.result h1:has-text('Chair {ads[3]}')").wait_for()


def test_a_photo_of_one_colour_is_refused(stand: Stand, indexed: int, tmp_path: Path) -> None:
    """The page says why; the choice to search is kept."""
    Image.new("RGB", (200, 150)).save(tmp_path / "black.jpg")
    with photo_search_worker(stand.database, stand.settings), stand.page() as page:
        page.get_by_label("Only find similar ads").check()
        page.set_input_files("#choose", tmp_path / "black.jpg")
        page.get_by_text("it has one colour").wait_for(timeout=60_000)
    stand.console_errors[:] = [one for one in stand.console_errors if "status of 422" not in one]


def test_a_similar_ad_shows_its_best_photo(stand: Stand, ads: list[str], indexed: int) -> None:
    """As lists do."""
    photos = put_judged_ad(stand, "7", blocked=None)
    renew_all(stand.database, indexed)
    with stand.client() as client:
        found = client.get(f"/v1/ads/{CATALOG}/{ads[0]}/similar", params={"limit": 50}).json()
    (judged,) = [ad for ad in found["ads"] if ad["ad_id"] == "7"]
    assert judged["sha256"] == photos[2]
    assert judged["predictions"]["price"] == {"label": "above", "score": pytest.approx(0.8)}
    assert {ad["ad_id"] for ad in found["ads"]} == {*ads[1:], "7"}
