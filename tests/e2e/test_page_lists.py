"""The tabs Ads and Live in a real browser: filters, the queue, and what changed."""

import json
import re
from collections.abc import Callable
from typing import Any

import pytest

from lalafo_assets.synthetic.photos import render
from tests.support.axe import violations, why_no_axe
from tests.support.browser import screenshot, why_no_browser
from tests.support.page_stand import Stand
from tests.support.session_process import wait_for

_why_not = why_no_browser()
pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(_why_not is not None, reason=str(_why_not)),
]

ADS = 5
NAME = "#queue-by"


@pytest.fixture(scope="module")
def predicted(standing: Stand) -> dict[str, str]:
    """Five scored ads of the catalog `queue`: q0 is filed as predicted, the others as sofas."""
    found: dict[str, str] = {}
    with standing.client() as client:
        for number in range(ADS):
            ad = {"catalog": "queue", "ad_id": f"q{number}", "title": f"No. {number}"}
            photo = ("1.jpg", render("chair", number).data, "image/jpeg")
            found[ad["ad_id"]] = post(client, {**ad, "category": "sofa"}, photo)
        same = {"catalog": "queue", "ad_id": "q0", "category": found["q0"]}
        post(client, same, ("1.jpg", render("chair", 0).data, "image/jpeg"))
    return found


def post(client: Any, ad: dict[str, str], photo: tuple) -> str:
    """Post an ad; return its predicted category."""
    form = {"data": {"ad": json.dumps(ad)}, "files": {"photo": photo}}
    answer = client.post("/v1/ads", params={"wait": 10}, **form)
    assert answer.status_code == 200, answer.text
    return str(answer.json()["predictions"]["category"]["label"])


def labels(stand: Stand) -> dict[str, tuple[str, str]]:
    rows = stand.rows("SELECT ad_id, label, given_by FROM lalafo.labels WHERE catalog = 'queue'")
    return {ad_id: (label, by) for ad_id, label, by in rows}


def ids(page: Any) -> list[str]:
    return [text.split("/")[1] for text in page.locator(".list.ads .id").all_inner_texts()]


def settled(page: Any, expected: list[str]) -> None:
    wait_for(lambda: ids(page) == expected, lambda: (ids(page), expected), 20)


def test_filters_are_in_the_address(stand: Stand, predicted: dict[str, str]) -> None:
    """They can be shared, and the back button undoes them."""
    newest = ["q0", "q4", "q3", "q2", "q1"]
    with stand.page("/#/ads?catalog=queue") as page:
        settled(page, newest)
        marked = page.locator(".list.ads .predicted.differs")
        assert marked.count() == 4 and "filed as sofa" in marked.first.inner_text()
        title = page.locator(".list.ads time").first.get_attribute("title")
        assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d \(.+\), \d{4}-.+ UTC", title)
        page.get_by_role("link", name="Filed ≠ predicted").click()
        settled(page, newest[1:])
        address = page.url
        assert "agrees=false" in address and "catalog=queue" in address
        page.select_option("#by-label", predicted["q4"])
        shown = [ad for ad in newest[1:] if predicted[ad] == predicted["q4"]]
        settled(page, shown)
        page.go_back()
        settled(page, newest[1:])
        page.go_back()
        settled(page, newest)
    with stand.page(address.removeprefix(stand.url)) as page:
        settled(page, newest[1:])
        page.get_by_role("link", name="Clear filters").click()
        page.wait_for_url("**#/ads")


def test_a_queue_is_labelled_by_the_keyboard(stand: Stand, predicted: dict[str, str]) -> None:
    """Accept, take the seller's category, type another, skip, undo; the labels are then stored."""
    with stand.page("/#/ads?list=queue&catalog=queue&labelled=false") as page:
        where = page.locator(".queue-head strong")
        wait_for(lambda: where.count() and where.inner_text() == f"1 of {ADS}", lambda: "none", 20)
        page.wait_for_selector(".queue-photos img.loaded")
        page.keyboard.press("a")
        assert "Enter your name" in page.locator(".queue-message").inner_text()
        page.keyboard.type("moderator-a")  # letters in a field are no shortcuts
        page.focus(".queue-stage")
        page.keyboard.press("a")  # q0
        page.keyboard.press("f")  # q4
        page.keyboard.press("s")  # q3
        page.keyboard.press("c")  # q2
        page.keyboard.type("armchair")
        page.keyboard.press("Enter")
        page.keyboard.press("a")  # q1
        page.wait_for_selector("text=All looked at")
        page.keyboard.press("z")
        page.wait_for_selector(".queue-message:has-text('Undone')")
        assert where.inner_text() == f"{ADS} of {ADS}"
        screenshot(page, "page-queue", stand.folder)
        assert "2 accepted" not in page.locator(".queue-head").inner_text()
        page.click("#tab-live")  # leaving sends what is held
        wait_for(lambda: len(labels(stand)) == 3, lambda: labels(stand), 20)
    assert labels(stand) == {
        "q0": (predicted["q0"], "moderator-a"),
        "q4": ("sofa", "moderator-a"),
        "q2": ("armchair", "moderator-a"),
    }
    with stand.page("/#/ads?catalog=queue&labelled=false") as page:
        settled(page, ["q3", "q1"])


def test_shortcuts_are_listed_and_can_be_turned_off(stand: Stand, predicted: dict) -> None:
    with stand.page("/#/ads?list=queue&catalog=queue") as page:
        page.wait_for_selector(".queue-photos img.loaded")
        page.keyboard.press("?")
        dialog = page.locator("dialog[open]")
        for key in ("A", "F", "C", "S", "Z", "?"):
            assert dialog.locator("kbd", has_text=re.compile(f"^{re.escape(key)}$")).count() >= 1
        dialog.get_by_label("Single keys act in this tab").uncheck()
        page.keyboard.press("Escape")
        page.keyboard.press("s")
        assert page.locator(".queue-head strong").inner_text().startswith("1 of")


def test_a_label_that_is_not_stored_is_kept_and_sent_again(
    stand: Stand, predicted: dict[str, str]
) -> None:
    with stand.page("/#/ads?list=queue&catalog=queue&filed=sofa") as page:
        page.wait_for_selector(".queue-photos img.loaded")
        page.fill(NAME, "moderator-b")
        page.route("**/feedback", lambda route: route.abort())
        page.get_by_role("button", name=re.compile("Accept")).click()
        page.evaluate(
            "Object.defineProperty(document, 'hidden', { get: () => true, configurable: true });"
            "document.dispatchEvent(new Event('visibilitychange'))"
        )
        page.wait_for_selector(".queue .notice.bad")
        page.unroute("**/feedback")
        page.get_by_role("button", name="Try again").click()
        wait_for(
            lambda: "moderator-b" in {by for _, by in labels(stand).values()},
            lambda: labels(stand),
            20,
        )
    stand.console_errors[:] = [one for one in stand.console_errors if "ERR_FAILED" not in one]


def test_what_changed_is_shown(stand: Stand, predicted: dict[str, str]) -> None:
    """As a list, and on the plots; sessions with their partitions."""
    with stand.database.cursor() as cursor:
        cursor.execute(
            "INSERT INTO lalafo.release_changes (kind, release, instead_of, changed_at) "
            "VALUES ('promoted', 'better-1', 'worse-1', now() - interval '5 minutes')"
        )
    with stand.page("/#/live") as page:
        page.wait_for_selector(".history li:has-text('Release promoted')")
        row = page.locator(".history li", has_text="Release promoted").inner_text()
        assert "better-1" in row and "instead of worse-1" in row
        assert page.locator(".plot").first.locator(".mark-line.release").count() == 1
        sessions = page.locator("section[aria-label=Sessions]").inner_text()
        assert "run-page" in sessions and re.search(r"\b0\W\d\b", sessions), sessions
        screenshot(page, "page-live-events", stand.folder)


def test_without_ads_the_page_says_what_to_do(stand: Stand) -> None:
    with stand.client() as client:
        now = client.get("/v1/statistics", params={"minutes": 30}).json()
    nothing = {
        **now,
        **{"totals": {"events": 0, "ads": 0, "photos": 0, "failures": 0}},
        **{"labels": {}, "latencies": {}, "failures": {}, "sessions": [], "releases": []},
    }
    with stand.page("/#/ads?catalog=nothing") as page:
        page.wait_for_selector(".empty a:has-text('Clear the filters')")
        page.route("**/v1/statistics*", lambda route: route.fulfill(json=nothing))
        page.click("#tab-live")
        page.wait_for_selector(".empty a:has-text('Score a photo')")
        body = page.locator("#panel-live").inner_text()
        assert "lalafo releases install starter" in body and "new_ads" in body


def as_it_is(page: Any) -> None:
    """Change nothing."""


VIEWS: dict[str, tuple[str, str, Callable[[Any], None]]] = {
    "ads": ("/#/ads?catalog=queue", ".list.ads li", as_it_is),
    "filtered": ("/#/ads?catalog=queue&agrees=false", ".list.ads li", as_it_is),
    "queue": ("/#/ads?list=queue&catalog=queue", ".candidates li", as_it_is),
    "failures": ("/#/ads?list=failures", ".list.failures li, .empty", as_it_is),
    "live": ("/#/live", ".history li", as_it_is),
    "docs": ("/docs", ".route", lambda page: page.locator(".try summary").nth(1).click()),
}


@pytest.mark.skipif(why_no_axe() is not None, reason=str(why_no_axe()))
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_the_views_are_accessible(
    stand: Stand, predicted: dict[str, str], width: int, scheme: str
) -> None:
    """By axe-core, WCAG 2.2 AA; nothing scrolls sideways."""
    found = {}
    size = {"width": width, "height": 844}
    for name, (path, ready, arrange) in VIEWS.items():
        with stand.page(path, viewport=size, color_scheme=scheme) as page:
            page.wait_for_selector(ready)
            arrange(page)
            if wrong := violations(page):
                found[name] = wrong
            assert page.evaluate("document.documentElement.scrollWidth") <= width, name
    assert found == {}
