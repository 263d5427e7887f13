"""An ad in the tab Score in a real browser: what comes first, labels, notices, odd texts."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from tests.support.browser import screenshot, why_no_browser
from tests.support.page_stand import Stand, ad_shown, stored
from tests.support.random_release import LABELS

_why_not = why_no_browser()
pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(_why_not is not None, reason=str(_why_not)),
]

PHONE = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True}
NOTICES = {
    "notices": [
        {
            **{"code": "other_sessions", "severity": "info", "message": "One session of another."},
            **{"action": None, "at": None},
        },
        {
            **{"code": "no_release", "severity": "error", "message": "No release is live."},
            **{"action": "lalafo releases install starter", "at": "2026-05-01T12:00:00Z"},
        },
    ]
}


def test_on_a_phone_the_answer_comes_first(stand: Stand, photo: Path) -> None:
    """Category, score, photos, stages, from the top; nothing is larger than the category."""
    with stand.page(**PHONE) as page:
        page.set_input_files("#choose", photo)
        page.wait_for_selector(".result .chip.good")
        tops = [
            page.locator(name).first.bounding_box()["y"]
            for name in (".verdict", ".score", ".photos", ".stack", ".feedback", ".drop")
        ]
        assert tops == sorted(tops)
        assert tops[0] < PHONE["viewport"]["height"] / 4
        largest = page.evaluate(
            "[...document.querySelectorAll('body *')].filter((e) => e.getClientRects().length)"
            ".map((e) => [parseFloat(getComputedStyle(e).fontSize), !!e.closest('.verdict')])"
            ".sort((a, b) => b[0] - a[0]).slice(0, 3)"
        )
        assert [inside for _, inside in largest] == [True, True, False], largest
        assert largest[1][0] > 1.5 * largest[2][0]
        page.wait_for_selector(".times tr:nth-child(7)")
        screenshot(page, "page-answer-first", stand.folder)


def test_known_labels_are_chosen_by_keys(stand: Stand, photo: Path) -> None:
    """The predicted ones first, with their scores; typing narrows; Escape closes; Enter takes."""
    with stand.page() as page:
        page.set_input_files("#choose", photo)
        page.wait_for_selector(".result .chip.good")
        field = page.get_by_role("combobox", name="Correct category")
        options = page.locator("[role=option]")
        [[details]] = stand.rows(
            "SELECT details FROM lalafo.predictions WHERE catalog = %s AND ad_id = %s",
            *ad_shown(page),
        )
        field.focus()
        page.keyboard.press("ArrowDown")
        first = [label for label, _ in details["top"]]
        shown = options.locator("span:first-child").all_inner_texts()
        assert shown == first + [label for label in sorted(LABELS) if label not in first]
        assert field.get_attribute("aria-expanded") == "true"
        assert selected(page) == shown[0]
        page.keyboard.press("ArrowUp")
        assert selected(page) == shown[-1]
        page.keyboard.press("Escape")
        assert field.get_attribute("aria-expanded") == "false"
        page.keyboard.type("AM")
        assert options.locator("span:first-child").all_inner_texts() == ["lamp"]
        page.keyboard.press("ArrowDown")
        page.keyboard.press("Enter")
        assert field.input_value() == "lamp"
        page.fill("#given-by", "a moderator")
        page.keyboard.press("Enter")
        page.wait_for_selector("text=Label saved: lamp")


def selected(page: Any) -> str:
    """The option that the input's aria-activedescendant names."""
    name = page.get_by_role("combobox").get_attribute("aria-activedescendant")
    option = page.locator(f"#{name}")
    assert option.get_attribute("aria-selected") == "true"
    return option.locator("span").first.inner_text()


def test_one_click_confirms_the_answer(stand: Stand, photo: Path) -> None:
    with stand.page() as page:
        page.set_input_files("#choose", photo)
        page.wait_for_selector(".result .chip.good")
        page.fill("#given-by", "a moderator")
        page.get_by_role("button", name="The answer is right").click()
        page.wait_for_selector("text=Label saved")
        label = stored(stand, page)[2]
        given = "SELECT label FROM lalafo.labels WHERE catalog = %s AND ad_id = %s"
        assert stand.rows(given, *ad_shown(page)) == [(label,)]
        page.get_by_role("button", name="Reload").click()
        page.wait_for_selector(".filed .chip.good")
        assert f"a moderator says {label}" in page.locator(".filed").inner_text()


def test_notices_are_shown_above_every_view(stand: Stand) -> None:
    """Errors first and always; a note is hidden until this browser tab is closed."""
    with stand.page() as page:
        page.route("**/v1/notices", lambda route: route.fulfill(json=NOTICES))
        page.reload()
        banners = page.locator(".banner")
        banners.first.wait_for()
        codes = "all => all.map((one) => one.dataset.code)"
        assert banners.evaluate_all(codes) == ["no_release", "other_sessions"]
        assert banners.first.locator("code").inner_text() == "lalafo releases install starter"
        page.click("#tab-live")
        page.get_by_role("button", name="Hide").click()
        assert banners.evaluate_all(codes) == ["no_release"]
        page.reload()
        banners.first.wait_for()
        assert banners.evaluate_all(codes) == ["no_release"]


@pytest.mark.parametrize("answer", [{"status": 404}, {"status": 200, "json": {"notices": []}}])
def test_without_notices_there_is_no_banner(stand: Stand, answer: dict[str, Any]) -> None:
    with stand.page() as page:
        page.route("**/v1/notices", lambda route: route.fulfill(**answer))
        with page.expect_response("**/v1/notices"):
            page.reload()
        page.wait_for_selector(".known li")
        assert page.locator("#banners").is_hidden()


def test_long_texts_and_other_scripts_fit(stand: Stand, photo: Path) -> None:
    """A title without a space, Cyrillic, right-to-left: nothing scrolls sideways at 360 px."""
    titles = ["Ж" * 300, "Диван угловой раскладной " * 12, "حقيبة جلدية بنية أصلية للبيع " * 10]
    with stand.client() as client:
        for index, title in enumerate(titles):
            ad = {"catalog": "texts", "ad_id": f"{'i' * 80}{index}", "category": "к" * 120}
            ad |= {"title": title.strip(), "description": "d" * 2_000}
            files = {"photo": ("1.jpg", photo.read_bytes(), "image/jpeg")}
            form = {"ad": json.dumps(ad)}
            answer = client.post("/v1/ads", params={"wait": 10}, data=form, files=files)
            assert answer.status_code == 200, answer.text
    for index, title in enumerate(titles):
        path = f"/#/look/texts/{'i' * 80}{index}"
        with stand.page(path, viewport={"width": 360, "height": 740}) as page:
            page.wait_for_selector(".result .chip.good")
            page.wait_for_selector(".recent a")
            assert page.evaluate("document.documentElement.scrollWidth") <= 360
            assert page.locator("h1").bounding_box()["height"] <= 48
            page.locator(".facts summary").first.click()
            assert title.strip() in page.locator(".facts dd").first.inner_text()


def test_the_top_bar_reaches_the_scroll_bar(stand: Stand) -> None:
    """No strip is reserved beside it: the bar is as wide as the window without its scroll bar."""
    with stand.page("/#/live") as page:
        page.wait_for_selector("#panel-live *")
        right, width = page.evaluate(
            "[document.querySelector('.top').getBoundingClientRect().right,"
            " document.documentElement.clientWidth]"
        )
        style = page.evaluate(
            "(({ scrollbarGutter, overflowY }) => [scrollbarGutter, overflowY])"
            "(getComputedStyle(document.documentElement))"
        )
        assert right == width
        assert style == ["auto", "scroll"]


def test_a_wrong_link_leads_back_to_the_start(stand: Stand) -> None:
    with stand.page("/#/look/kg/never-was") as page:
        page.wait_for_selector(".notice.bad")
        page.get_by_role("button", name="Back to the start").click()
        page.wait_for_selector(".look.start .known li")
        assert re.search(r"#/look$", page.url)
    stand.console_errors[:] = [one for one in stand.console_errors if "status of 404" not in one]
