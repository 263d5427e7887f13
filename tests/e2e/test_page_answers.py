"""How the page draws the answers of tasks in a real browser: its own, and an installed one."""

from pathlib import Path
from typing import Any

import pytest

from tests.support.browser import screenshot, why_no_browser
from tests.support.judged_ads import CATALOG, PATH, PRICE, put_judged_ad, write_answer
from tests.support.page_stand import Stand

_why_not = why_no_browser()
pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(_why_not is not None, reason=str(_why_not)),
]

SIZES = {"wide": {"width": 1280, "height": 900}, "narrow": {"width": 390, "height": 844}}


@pytest.fixture(scope="module")
def photos(standing: Stand) -> list[str]:
    """The photos of the ad 1: moderation blocks the second, the third is the best."""
    return put_judged_ad(standing)


def requested(page: Any) -> list[str]:
    """The photos whose bytes the page requests from here on, by their SHA-256."""
    found: list[str] = []
    page.on(
        "request",
        lambda one: "/v1/photos/" in one.url and found.append(one.url.split("/")[-1][:64]),
    )
    return found


def test_an_asked_price_stands_in_its_range(stand: Stand, photos: list[str]) -> None:
    """Right of the range, as it is above it, with a badge; the words are there without the bar."""
    with stand.page(f"/#/look/{CATALOG}/1", viewport=SIZES["wide"]) as page:
        card = page.locator(".card.price")
        card.wait_for()
        assert card.bounding_box()["width"] > 200
        assert card.locator(".chip").first.inner_text() == "above the usual prices"
        label = card.locator(".range").get_attribute("aria-label")
        assert label == "9,000 to 16,000 KGS, most likely 12,500; asking price 19,000"
        between, asked = (
            card.locator(f".track .{name}").bounding_box() for name in ("between", "asked")
        )
        assert asked["x"] > between["x"] + between["width"]
        text = card.inner_text()
        assert "80 % of prices lie in the range, judged by ads of furniture." in text
        for key in ("low", "position", "reason"):
            assert card.get_by_role("rowheader", name=key).count() == 0, "drawn, not in the table"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"position": "within", "asked": 12000.0}, "within the usual prices"),
        ({"position": "below", "asked": 8000.0}, "below the usual prices"),
        (
            {
                **dict.fromkeys(("low", "middle", "high", "position", "by")),
                "reason": "few_ads_in_category",
            },
            "Too few ads of this category",
        ),
        ({"reason": "price_implausible", "position": None}, "implausible"),
    ],
)
def test_a_price_says_where_it_lies_or_why_not(
    stand: Stand, photos: list[str], changes: dict[str, Any], words: str
) -> None:
    write_answer(stand, "1", "price", "x", 0.8, {**PRICE, **changes})
    with stand.page(f"/#/look/{CATALOG}/1") as page:
        card = page.locator(".card.price")
        card.wait_for()
        assert words in card.inner_text()
        assert card.locator(".range").count() == (changes.get("low", 1) is not None)
    write_answer(stand, "1", "price", "above", 0.8, PRICE)


def test_the_best_photo_is_first_and_defects_are_named(stand: Stand, photos: list[str]) -> None:
    """The others keep their order."""
    with stand.page(f"/#/look/{CATALOG}/1") as page:
        page.wait_for_selector(".photos figure")
        captions = page.locator(".photos figcaption").all_inner_texts()
        assert [text.split("\n")[0] for text in captions] == ["Photo 3", "Photo 1", "Photo 2"]
        assert "show first" in captions[0] and "show first" not in captions[1]
        assert "dark" in captions[1] and "blurred" in captions[2]
        rows = page.locator(".card.quality .judged li").all_inner_texts()
        assert [row.split("\n")[0] for row in rows] == ["Photo 1", "Photo 2", "Photo 3"]
        assert "41.0 %" in rows[0] and "dark" in rows[0]


def test_a_blocked_photo_is_loaded_by_a_click_alone(stand: Stand, photos: list[str]) -> None:
    """In the ad; its verdict and the network's probability are shown."""
    with stand.page("/#/live") as page:
        seen = requested(page)
        page.goto(f"{stand.url}/#/look/{CATALOG}/1")
        page.wait_for_selector(".photos img.loaded >> nth=1")
        assert page.locator(".photos .curtain").inner_text().startswith("Photo 2 is hidden")
        assert photos[1] not in seen and {photos[0], photos[2]} <= set(seen)
        row = page.locator(".card.moderation .judged li").nth(1).inner_text()
        assert "97.0 %" in row and "block" in row
        page.get_by_role("button", name="Show it").click()
        page.wait_for_selector(".photos .curtain", state="detached")
        page.wait_for_selector(".photos img.loaded >> nth=2")
        assert photos[1] in seen


@pytest.mark.parametrize("path", ["/#/ads", "/", f"/#/ads?catalog={CATALOG}"])
def test_no_list_shows_a_photo_of_a_blocked_ad(stand: Stand, photos: list[str], path: str) -> None:
    """The row says that it is hidden."""
    with stand.page("/#/live") as page:
        seen = requested(page)
        page.goto(f"{stand.url}{path}")
        page.wait_for_selector(".hidden-thumb")
        page.wait_for_load_state("networkidle")
        assert not set(photos) & set(seen)


def test_the_queue_shows_a_blocked_photo_after_a_click(stand: Stand, photos: list[str]) -> None:
    with stand.page(f"/#/ads?list=queue&catalog={CATALOG}") as page:
        seen = requested(page)
        page.wait_for_selector(".queue-photos .curtain")
        assert not set(photos) & set(seen)
        page.locator(".queue-photos .curtain button").first.click()
        page.wait_for_selector(".queue-photos img.loaded")
        assert set(photos) & set(seen)


def test_an_installed_task_is_drawn(stand: Stand, photos: list[str]) -> None:
    """The answer of docs/add-a-task.md's task: bars of its colours, its brightness in a table."""
    with stand.page(f"/#/look/{CATALOG}/1") as page:
        card = page.get_by_role("region", name="Prediction: colours")
        card.wait_for()
        assert card.locator("h2").inner_text() == "Colours"
        assert card.locator(".verdict").inner_text() == "red"
        assert card.locator(".bars li").all_inner_texts() == [
            "red\n62.5 %",
            "black\n37.5 %",
        ]
        assert card.get_by_role("rowheader", name="brightness").count() == 1


@pytest.mark.parametrize("size", SIZES)
def test_a_path_breaks_between_words(stand: Stand, photos: list[str], size: str) -> None:
    """Each word of the headline stands on one line, at any length of its parts."""
    details = {"top": [[PATH, 0.9]], "path": PATH.split("/")}
    write_answer(stand, "1", "category", PATH, 0.9, details)
    with stand.page(f"/#/look/{CATALOG}/1", viewport=SIZES[size]) as page:
        page.wait_for_selector(".card.category .verdict")
        broken = page.evaluate(
            "() => { const texts = []; const walk = document.createTreeWalker("
            "document.querySelector('.card.category .verdict'), NodeFilter.SHOW_TEXT);"
            " while (walk.nextNode()) { const text = walk.currentNode.data;"
            " for (const word of text.matchAll(/[\\p{L}\\p{N}]+/gu)) {"
            " const range = document.createRange();"
            " range.setStart(walk.currentNode, word.index);"
            " range.setEnd(walk.currentNode, word.index + word[0].length);"
            " const tops = new Set([...range.getClientRects()].map((r) => Math.round(r.top)));"
            " if (tops.size > 1) texts.push(word[0]); } } return texts; }"
        )
        assert broken == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", SIZES)
def test_every_answer_fits_its_card(
    stand: Stand, photos: list[str], size: str, scheme: str
) -> None:
    """Nothing is wider than the window; with LALAFO_SCREENSHOTS the pictures are kept."""
    path = f"/#/look/{CATALOG}/1"
    with stand.page(path, viewport=SIZES[size], color_scheme=scheme) as page:
        page.wait_for_selector(".photos img.loaded >> nth=1")
        width = page.evaluate("document.documentElement.scrollWidth")
        assert width <= SIZES[size]["width"]
        height = page.evaluate("document.documentElement.scrollHeight")
        page.set_viewport_size({"width": SIZES[size]["width"], "height": height})
        screenshot(page, f"answers-{size}-{scheme}", Path(stand.folder))
        page.goto(f"{stand.url}/#/ads?catalog={CATALOG}")
        page.wait_for_selector(".list .hidden-thumb")
        screenshot(page, f"list-{size}-{scheme}", Path(stand.folder))
