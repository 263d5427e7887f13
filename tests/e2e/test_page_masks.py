"""Masks on the page in a real browser: switches, keys, cut-outs, the cover."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.support.browser import screenshot, why_no_browser
from tests.support.judged_ads import CATALOG, put_judged_ad, write_answer
from tests.support.page_stand import Stand
from tests.support.session_process import wait_for
from tests.support.stored_masks import write_mask

_why_not = why_no_browser()
pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(_why_not is not None, reason=str(_why_not)),
]

SIZES = {"wide": {"width": 1280, "height": 900}, "narrow": {"width": 390, "height": 844}}


def ellipse(height: int, width: int) -> np.ndarray:
    """A mask in the middle, half as wide and as high as the photo."""
    y, x = np.mgrid[0:height, 0:width]
    return ((x / width - 0.5) ** 2 + (y / height - 0.5) ** 2) < 0.25**2


@pytest.fixture(scope="module")
def photos(standing: Stand) -> list[str]:
    """The photos of the ad 1, with masks of all; moderation blocks the second."""
    found = put_judged_ad(standing)
    rows = standing.rows(
        "SELECT encode(sha256, 'hex'), height, width FROM lalafo.photos "
        "WHERE encode(sha256, 'hex') = ANY(%s)",
        found,
    )
    sizes = {sha: (height, width) for sha, height, width in rows}
    segmented = []
    for position, sha in enumerate(found):
        with standing.database.cursor() as cursor:
            area = write_mask(cursor.connection, bytes.fromhex(sha), ellipse(*sizes[sha]))
        segmented.append(
            {"sha256": sha, "position": position, "score": 0.9, "area": area, "things": 1}
        )
    answer = {"area": segmented[0]["area"], "cover": segmented[1], "photos": segmented}
    write_answer(standing, "1", "segments", "goods", 0.9, answer)
    return found


def opacities(page: Any, *places: tuple[float, float]) -> list[int]:
    """The opacity of the first mask, 0 to 255, at places that are shares of its size."""
    return page.evaluate(
        "places => { const c = document.querySelector('canvas.mask'); "
        "const { data } = c.getContext('2d').getImageData(0, 0, c.width, c.height); "
        "return places.map(([x, y]) => "
        "data[4 * (Math.floor(y * c.height) * c.width + Math.floor(x * c.width)) + 3]); }",
        [list(place) for place in places],
    )


def test_the_mask_is_drawn_by_a_key_and_by_the_button(
    stand: Stand, photos: list[str], tmp_path: Path
) -> None:
    """What is outside is dark, what is inside is the photo; the blocked photo gets no mask."""
    with stand.page(f"/#/look/{CATALOG}/1", viewport=SIZES["wide"]) as page:
        button = page.get_by_role("button", name="Mask")
        button.wait_for()
        assert button.get_attribute("aria-pressed") == "false"
        page.locator("body").press("m")
        page.wait_for_selector("canvas.mask >> nth=1")
        assert button.get_attribute("aria-pressed") == "true"
        assert page.locator("canvas.mask").count() == 2
        assert opacities(page, (0.5, 0.5), (0.02, 0.02), (0.98, 0.5)) == [0, 176, 176]
        screenshot(page, "masks-wide", tmp_path)
        button.click()
        assert not page.locator("canvas.mask").first.is_visible()


def test_the_cut_outs_take_the_masks_place(stand: Stand, photos: list[str], tmp_path: Path) -> None:
    """One switch at a time; a cut-out is saved as a PNG with transparency."""
    with stand.page(f"/#/look/{CATALOG}/1", viewport=SIZES["wide"]) as page:
        page.get_by_role("button", name="Mask").click()
        page.wait_for_selector("canvas.mask")
        page.locator("body").press("c")
        page.wait_for_selector(".cutout img.loaded >> nth=1")
        assert not page.locator("canvas.mask").first.is_visible()
        assert page.locator(".cutout").count() == 2
        with page.expect_download() as saving:
            page.get_by_role("button", name="Save PNG").first.click()
        data = Path(saving.value.path()).read_bytes()
        assert data.startswith(b"\x89PNG")
        screenshot(page, "cutouts-wide", tmp_path)


def test_the_cover_is_the_best_photo_that_is_not_blocked(
    stand: Stand, photos: list[str], tmp_path: Path
) -> None:
    """Quality's best photo; the most certain mask is of a blocked one."""
    asked: list[str] = []
    with stand.page("/#/live", viewport=SIZES["narrow"]) as page:
        page.on("request", lambda one: "/cutout" in one.url and asked.append(one.url))
        page.goto(f"{stand.url}/#/look/{CATALOG}/1")
        page.wait_for_selector("img.ad-cover.loaded")
        natural = "document.querySelector('img.ad-cover').naturalWidth"
        wait_for(lambda: page.evaluate(natural) > 0, lambda: "the cover was never loaded", 20)
        assert [url.split("/photos/")[1][:64] for url in asked] == [photos[2]]
        screenshot(page, "cover-narrow", tmp_path)


def test_the_card_lists_the_share_of_each_photo(stand: Stand, photos: list[str]) -> None:
    with stand.page(f"/#/look/{CATALOG}/1", viewport=SIZES["wide"]) as page:
        card = page.locator(".card.segments")
        card.wait_for()
        assert "Share of goods of each photo" in card.inner_text()
        assert card.locator(".judged li").count() == 3
        captions = page.locator(".photos figcaption").all_inner_texts()
        assert sum("show first" in text for text in captions) == 1
