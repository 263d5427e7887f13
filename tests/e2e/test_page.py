"""The page in a real browser, with a live gateway, PostgreSQL, a broker and a session."""

import base64
import re
from pathlib import Path
from typing import Any

import pytest

from tests.support.browser import screenshot, why_no_browser
from tests.support.page_stand import Stand, ad_shown, wait_for_photo
from tests.support.session_process import wait_for

_why_not = why_no_browser()
pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(_why_not is not None, reason=str(_why_not)),
]

TABS = ("look", "live", "ads")
DROP = """([name, type, data]) => {
  const bytes = Uint8Array.from(atob(data), (c) => c.charCodeAt(0));
  const dataTransfer = new DataTransfer();
  dataTransfer.items.add(new File([bytes], name, { type }));
  const options = { dataTransfer, bubbles: true, cancelable: true };
  document.querySelector("main").dispatchEvent(new DragEvent("drop", options));
}"""
LEAST_CONTRAST = """() => {
  const parts = (text) => text.match(/[\\d.]+/g).map(Number);
  const light = ([r, g, b]) => [r, g, b].map((c) => c / 255)
    .map((c) => (c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4))
    .reduce((sum, c, i) => sum + c * [0.2126, 0.7152, 0.0722][i], 0);
  const ground = (node) => {
    for (let at = node; at; at = at.parentElement) {
      const [r, g, b, a = 1] = parts(getComputedStyle(at).backgroundColor);
      if (a > 0) return [r, g, b];
    }
    return [255, 255, 255];
  };
  const worst = { contrast: 99, text: "" };
  const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walk.nextNode()) {
    const node = walk.currentNode.parentElement;
    if (!walk.currentNode.data.trim() || !node.getClientRects().length) continue;
    const style = getComputedStyle(node);
    if (style.fontSize === "0px") continue;
    const on = light(ground(node));
    const of = light(parts(node.ownerSVGElement ? style.fill : style.color));
    const contrast = (Math.max(on, of) + 0.05) / (Math.min(on, of) + 0.05);
    if (contrast < worst.contrast) Object.assign(worst, { contrast, text: walk.currentNode.data });
  }
  return worst;
}"""


def labels_of(stand: Stand, ad_id: str) -> list[tuple]:
    query = "SELECT label, given_by FROM lalafo.labels WHERE ad_id = %s AND task = 'category'"
    return stand.rows(query, ad_id)


def post_ads(stand: Stand, catalog: str, many: int) -> None:
    """Post ads without photos, and wait until they are committed."""
    with stand.client() as client:
        for number in range(many):
            ad = {
                "catalog": catalog,
                "ad_id": f"n/{number}",
                "revision": 1,
                "title": f"No. {number}",
            }
            client.post("/v1/ads", json=ad).raise_for_status()
    query = "SELECT count(*) FROM lalafo.ads WHERE catalog = %s"
    wait_for(lambda: stand.rows(query, catalog)[0][0] == many, lambda: "not committed", 20)


def test_a_dropped_photo_is_scored(stand: Stand, photo: Path) -> None:
    """The page shows the category as bars, the photo, the timings, and each value's run."""
    with stand.page() as page:
        page.wait_for_selector(".drop")
        dropped = base64.b64encode(photo.read_bytes()).decode()
        page.evaluate(DROP, ["chair.jpg", "image/jpeg", dropped])
        page.wait_for_selector(".result .chip.good")
        catalog, ad_id = ad_shown(page)
        query = (
            "SELECT label, score, details FROM lalafo.predictions WHERE catalog = %s AND ad_id = %s"
        )
        [(label, score, details)] = stand.rows(query, catalog, ad_id)
        answer = page.locator(".answer")
        bars = answer.locator(".bars li")
        assert catalog == "page"
        assert answer.locator(".verdict").inner_text() == label
        assert bars.locator(".name").all_inner_texts() == [name for name, _ in details["top"]]
        assert bars.locator(".value").all_inner_texts()[0] == f"{score * 100:.1f} %"
        widths = bars.locator(".fill").evaluate_all("all => all.map((e) => e.style.width)")
        shares = [share for _, share in details["top"]]
        assert [float(w[:-1]) / 100 for w in widths] == pytest.approx(shares, abs=1e-3)
        wait_for_photo(page)
        page.wait_for_selector(".times tr:nth-child(7)")
        stages = page.locator(".times th").all_inner_texts()
        assert [stage.split()[0] for stage in stages] == [
            *("Waiting", "Fetch", "Photos", "Queued", "Embed", "Predict", "Commit")
        ]
        assert re.fullmatch(r"[\d.]+ (ms|s)", page.locator(".total strong").inner_text())
        run = answer.get_by_role("link", name="run-page")
        assert "/runs/run-page" in run.get_attribute("href")
        screenshot(page, "page-look", stand.folder)


def test_feedback_becomes_a_label(stand: Stand, photo: Path) -> None:
    with stand.page() as page:
        page.set_input_files("#choose", photo)
        page.get_by_label("Correct category").fill("armchair")
        page.get_by_label("Given by").fill("a moderator")
        page.get_by_role("button", name="Send").click()
        page.wait_for_selector("text=Label saved: armchair")
        assert labels_of(stand, ad_shown(page)[1]) == [("armchair", "a moderator")]


def test_the_keyboard_is_enough(stand: Stand, photo: Path) -> None:
    """Choose a photo, see its prediction, give feedback, go to another tab and back."""
    with stand.page() as page:
        page.wait_for_selector(".drop")
        tab_to(page, "Choose photos")
        with page.expect_file_chooser() as chooser:
            page.keyboard.press("Enter")
        chooser.value.set_files(photo)
        page.wait_for_selector(".result .chip.good")
        ad_id = ad_shown(page)[1]
        tab_to(page, "label")
        page.keyboard.type("lamp")
        tab_to(page, "given-by")
        page.keyboard.type("by keys")
        page.keyboard.press("Enter")
        page.wait_for_selector("text=Label saved: lamp")
        assert labels_of(stand, ad_id) == [("lamp", "by keys")]
        page.focus("#tab-look")
        page.keyboard.press("ArrowRight")
        page.wait_for_selector("#panel-live:not([hidden])")
        assert page.evaluate("document.activeElement.id") == "tab-live"
        page.keyboard.press("ArrowLeft")
        page.wait_for_selector(f".result >> text={ad_id}")


def tab_to(page: Any, name: str) -> None:
    """Press Tab until the element with this id or text has the focus, and its focus is visible."""
    for _ in range(60):
        page.keyboard.press("Tab")
        id_, text, outline = page.evaluate(
            "(() => { const e = document.activeElement;"
            " return [e.id, e.textContent.trim(), getComputedStyle(e).outlineStyle]; })()"
        )
        if name in (id_, text):
            assert outline != "none"
            return
    raise AssertionError(f"{name!r} can't be reached with Tab")


def test_a_failed_photo_shows_the_reason_and_what_to_do(stand: Stand) -> None:
    ad = {
        "catalog": "kg",
        "ad_id": "odd/1",
        "photos": [{"url": "http://127.0.0.1:8000/1.jpg"}],
        "title": "<img src=x onerror=alert(1)>",
    }
    with stand.client() as client:
        answer = client.post("/v1/ads", params={"wait": 10}, json=ad)
        assert answer.status_code == 200, answer.text
    with stand.page("/#/look/kg/odd%2F1") as page:
        failed = page.locator("figure.failed")
        failed.wait_for()
        assert "fetch_address_refused" in failed.inner_text()
        assert "Use a public address" in failed.inner_text()
        assert page.locator(".facts dd").first.inner_text() == ad["title"]
        assert page.locator(".result img").count() == 0


def test_a_file_that_is_not_a_photo_is_refused_with_a_message(stand: Stand, tmp_path: Path) -> None:
    text = tmp_path / "letter.jpg"
    text.write_bytes(b"Dear sir or madam, " * 100)
    with stand.page() as page:
        page.set_input_files("#choose", text)
        page.wait_for_selector(".notice.bad")
        assert page.get_by_role("alert").count() == 1
        assert page.get_by_role("button", name="Try again").count() == 0  # it would not help
    stand.console_errors[:] = [one for one in stand.console_errors if "status of 4" not in one]


def test_the_live_tab_draws(stand: Stand, photo: Path) -> None:
    """Lines by minute, bars by stage and category; the arrow keys select a minute."""
    with stand.page() as page:
        page.set_input_files("#choose", photo)
        page.wait_for_selector(".result .chip.good")
        page.click("#tab-live")
        page.wait_for_selector(".plot .line-0")
        page.wait_for_selector("ul[aria-label='Latency by stage'] li")
        page.wait_for_selector("ul[aria-label='Categories'] li")
        assert "run-page" in page.locator("section[aria-label=Sessions]").inner_text()
        assert "live" in page.locator("section[aria-label=Releases]").inner_text()
        plot = page.locator(".plot").first
        chart = plot.locator(".chart")
        chart.focus()
        latest = chart.get_attribute("aria-valuetext")
        assert re.match(r"\d\d:\d\d: ads \d+, photos \d+", latest)
        page.keyboard.press("ArrowLeft")
        assert chart.get_attribute("aria-valuetext") != latest
        assert plot.locator(".cross").count() == 1
        screenshot(page, "page-live", stand.folder)
        page.evaluate(
            "Object.defineProperty(document, 'hidden', { get: () => true });"
            "document.dispatchEvent(new Event('visibilitychange'))"
        )
        page.wait_for_selector(".state >> text=Paused")


def test_the_ads_tab_pages_filters_and_opens(stand: Stand) -> None:
    post_ads(stand, "many", 30)
    with stand.page("/#/ads?catalog=many") as page:
        rows = page.locator(".list.ads li")
        page.wait_for_selector("a[rel=next]")
        assert rows.count() == 25
        page.click("a[rel=next]")
        page.wait_for_selector("text=This is the last page.")
        assert rows.count() == 5
        page.go_back()
        page.wait_for_selector("a[rel=next]")
        page.select_option("#by-status", "no_photos")
        page.wait_for_url("**status=no_photos**")
        page.wait_for_selector(".list.ads:not([aria-busy]) li")
        shown = rows.first.locator(".id").inner_text()
        rows.first.locator("a").click()
        page.wait_for_selector(f".result >> text={shown}")
        screenshot(page, "page-ads", stand.folder)


def test_failures_are_listed(stand: Stand) -> None:
    ad = {"catalog": "kg", "ad_id": "odd-2", "photos": [{"url": "http://10.0.0.1/1.jpg"}]}
    with stand.client() as client:
        client.post("/v1/ads", params={"wait": 10}, json=ad).raise_for_status()
    with stand.page("/#/ads?list=failures&catalog=kg") as page:
        row = page.locator(".list.failures li", has_text="kg/odd-2")
        row.wait_for()
        assert "fetch_address_refused" in row.inner_text()
        row.locator("a.inside").click()
        page.wait_for_selector(".result >> text=kg/odd-2")


def test_a_wrong_key_asks_for_another(stand: Stand) -> None:
    """The key is stored only in sessionStorage, and the request is sent again with the new one."""
    with stand.page("/#/ads", key="lv_nobody_nothing") as page:
        page.wait_for_selector("dialog[open]")
        assert "lalafo keys make" in page.locator("dialog").inner_text()
        page.get_by_label("Key", exact=True).fill(stand.key)
        page.keyboard.press("Enter")
        page.wait_for_selector("dialog:not([open])", state="attached")
        page.wait_for_selector("#panel-ads :is(.list li, .empty)")
        assert page.evaluate("sessionStorage['lalafo-key']") == stand.key
        assert page.evaluate("localStorage.length") == 0
        assert "lv_" not in page.url
    stand.console_errors[:] = [one for one in stand.console_errors if "401" not in one]


def test_a_request_can_be_tried_again_after_a_network_error(stand: Stand) -> None:
    with stand.page() as page:
        page.wait_for_selector(".drop")
        page.route("**/v1/ads**", lambda route: route.abort())
        page.click("#tab-ads")
        page.wait_for_selector("text=No response")
        page.unroute("**/v1/ads**")
        page.get_by_role("button", name="Try again").click()
        page.wait_for_selector("#panel-ads :is(.list li, .empty)")
    stand.console_errors[:] = [one for one in stand.console_errors if "ERR_FAILED" not in one]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_fits_a_phone_and_can_be_read(stand: Stand, photo: Path, scheme: str) -> None:
    """At 360 px nothing scrolls sideways; every text has a contrast of 4.5 or more."""
    size = {"width": 360, "height": 740}
    with stand.page(viewport=size, color_scheme=scheme, has_touch=True, is_mobile=True) as page:
        page.set_input_files("#choose", photo)
        page.wait_for_selector(".result .chip.good")
        wait_for_photo(page)
        for tab in TABS:
            page.click(f"#tab-{tab}")
            page.wait_for_selector(f"#panel-{tab} :is(.result, .plot .line-0, .list li)")
            assert page.evaluate("document.documentElement.scrollWidth") <= 360, tab
            worst = page.evaluate(LEAST_CONTRAST)
            assert worst["contrast"] >= 4.5, worst
            screenshot(page, f"page-phone-{tab}-{scheme}", stand.folder)
        ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
        levels = [int(part) for part in re.findall(r"\d+", ground)]
        assert max(levels) < 64 if scheme == "dark" else min(levels) > 200


def test_the_api_is_documented_without_a_network(stand: Stand) -> None:
    with stand.page("/docs") as page:
        page.wait_for_selector(".route:has-text('/v1/ads/{catalog}/{ad_id}')")
        loaded = page.evaluate("performance.getEntriesByType('resource').map((one) => one.name)")
        assert all(url.startswith(stand.url) for url in loaded)


def test_files_are_looked_up_by_name_and_revalidated(stand: Stand) -> None:
    with stand.client() as client:
        first = client.get("/")
        again = client.get("/", headers={"If-None-Match": first.headers["etag"]})
        assert first.headers["cache-control"] == "no-cache"
        assert (again.status_code, again.content) == (304, b"")
        assert "default-src 'self'" in first.headers["content-security-policy"]
        for name in ("..%2fapp.py", "%2e%2e/app.py", "none.js", "index.html%00"):
            assert client.get(f"/page/{name}").status_code == 404, name
