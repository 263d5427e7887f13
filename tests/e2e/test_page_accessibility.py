"""Every view of the page by axe-core: WCAG 2.2 AA, in both colour schemes, wide and narrow."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lalafo_assets.synthetic.photos import render
from tests.support.axe import violations, why_no_axe
from tests.support.browser import why_no_browser
from tests.support.judged_ads import put_judged_ad
from tests.support.page_stand import Stand

_why_not = why_no_browser() or why_no_axe()
pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(_why_not is not None, reason=str(_why_not)),
]

SIZES = {"wide": {"width": 1280, "height": 900}, "narrow": {"width": 390, "height": 844}}
NOTICES = {
    "notices": [
        {"code": code, "severity": severity, "message": "What is wrong.", "action": action}
        for code, severity, action in (
            ("no_release", "error", "lalafo releases install starter"),
            ("synthetic_release", "warning", "lalafo train"),
            ("other_sessions", "info", "Stop them."),
        )
    ]
}


def open_label_list(page: Any) -> None:
    page.wait_for_selector(".result .chip.good")
    page.focus("#label")
    page.keyboard.press("ArrowDown")
    page.wait_for_selector("[role=option][aria-selected=true]")


def waits_for(selector: str) -> Callable[[Any], None]:
    def wait(page: Any) -> None:
        page.wait_for_selector(selector)

    return wait


def show_banners(page: Any) -> None:
    page.route("**/v1/notices", lambda route: route.fulfill(json=NOTICES))
    page.reload()
    page.wait_for_selector(".banner.info")


def drag(page: Any) -> None:
    page.wait_for_selector(".known li")
    page.locator(".cover").evaluate("cover => { cover.hidden = false; }")


def open_key_dialog(page: Any) -> None:
    page.click("#key-button")
    page.wait_for_selector("dialog[open]")


VIEWS: dict[str, tuple[str, Callable[[Any], None]]] = {
    "start": ("/", waits_for(".known li")),
    "start with banners": ("/", show_banners),
    "start while photos are dragged": ("/", drag),
    "an ad": ("/#/look/axe/scored", waits_for(".times tr:nth-child(7)")),
    "an ad with its labels": ("/#/look/axe/scored", open_label_list),
    "an ad with every answer": ("/#/look/judged/1", waits_for(".photos .curtain")),
    "an ad with failed photos": ("/#/look/axe/failed", waits_for("figure.failed")),
    "no such ad": ("/#/look/axe/none", waits_for(".notice.bad")),
    "live": ("/#/live", waits_for(".plot .line-0")),
    "ads": ("/#/ads", waits_for(".list li")),
    "no ads": ("/#/ads?catalog=nothing", waits_for("#panel-ads .empty")),
    "failures": ("/#/ads?list=failures", waits_for(".list.failures li")),
    "key": ("/", open_key_dialog),
    "documentation": ("/docs", waits_for(".route")),
}


@pytest.fixture(scope="module")
def ads(standing: Stand) -> None:
    """An ad that is scored, and one whose photos fail."""
    urls = ["http://10.0.0.1/1.jpg", "ftp://photos.example/2.jpg"]
    failed = {"catalog": "axe", "ad_id": "failed", "photos": [{"url": url} for url in urls]}
    with standing.client() as client:
        for form in (
            {
                "data": {"ad": '{"catalog": "axe", "ad_id": "scored", "category": "sofa"}'},
                "files": {"photo": ("1.jpg", render("chair", 3).data, "image/jpeg")},
            },
            {"json": failed},
        ):
            answer = client.post("/v1/ads", params={"wait": 10}, **form)
            assert answer.status_code == 200, answer.text
    put_judged_ad(standing)


@pytest.mark.usefixtures("ads")
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", SIZES)
def test_no_view_violates_wcag(stand: Stand, size: str, scheme: str) -> None:
    found: dict[str, dict[str, list[str]]] = {}
    for name, (path, arrange) in VIEWS.items():
        with stand.page(path, viewport=SIZES[size], color_scheme=scheme) as page:
            arrange(page)
            wrong = violations(page)
            if wrong:
                found[name] = wrong
    stand.console_errors[:] = [one for one in stand.console_errors if "status of 404" not in one]
    assert found == {}


def test_axe_finds_what_is_wrong(stand: Stand, tmp_path: Path) -> None:
    """The check itself: a picture without a text, a label that can't be read, a small target."""
    with stand.page() as page:
        page.wait_for_selector(".known li")
        page.evaluate(
            "() => { const main = document.querySelector('main');"
            " main.append(Object.assign(new Image(), { src: '/page/icon.svg' }));"
            " const near = document.createElement('p'); near.textContent = 'faint';"
            " near.style.color = '#eee'; near.style.background = '#fff'; main.append(near);"
            " for (let i = 0; i < 2; i++) { const button = document.createElement('button');"
            " button.textContent = '.'; button.style.cssText ="
            " 'min-height:0;padding:0;width:8px;height:8px'; main.append(button); } }"
        )
        assert {"image-alt", "color-contrast", "target-size"} <= set(violations(page))
