"""The page in a real browser, with a live gateway, PostgreSQL, a broker and a session."""

import base64
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest

from gateway.edge import keys
from lalafo_assets.synthetic.photos import render
from resources.embedded.broker import EmbeddedBroker
from resources.embedded.postgres import EmbeddedPostgres
from resources.inference.loading import install
from resources.kafka.topics import AdStream
from resources.postgres.database import Database
from resources.releases.promotion import make_live
from resources.storage.releases import ReleaseStore
from tests.conftest import BrokerUnderTest
from tests.support.browser import ARGUMENTS, screenshot, why_no_browser
from tests.support.gateway_live import live_gateway
from tests.support.random_release import LABELS, random_release
from tests.support.session_process import SessionProcess, wait_for

_why_not = why_no_browser()
pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(_why_not is not None, reason=str(_why_not)),
]

WITHIN_MS = 20_000
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


@dataclass
class Stand:
    """A gateway with its database and key, and a browser."""

    url: str
    key: str
    database: Database
    browser: Any
    folder: Path
    console_errors: list[str] = field(default_factory=list)

    @contextmanager
    def page(self, path: str = "/", *, key: str | None = None, **context: Any) -> Iterator[Any]:
        """A page of a fresh browser context with a key (None: the stand's own key, "": none)."""
        page_key = self.key if key is None else key
        fresh = self.browser.new_context(**context)
        fresh.set_default_timeout(WITHIN_MS)
        if page_key:
            fresh.add_init_script(f"sessionStorage['lalafo-key'] ??= '{page_key}'")
        page = fresh.new_page()
        page.on("console", lambda message: self._console(message.type, message.text))
        page.on("pageerror", lambda error: self.console_errors.append(f"error: {error}"))
        # Registered before any key is pressed: Playwright starts intercepting file choosers without
        # waiting for it, and a key pressed right after opened the browser's own (9 of 30 times).
        page.on("filechooser", lambda _: None)
        try:
            page.goto(f"{self.url}{path}")
            yield page
        finally:
            fresh.close()

    def _console(self, kind: str, text: str) -> None:
        if kind in ("error", "warning"):
            self.console_errors.append(f"{kind}: {text}")

    def client(self) -> httpx.Client:
        return httpx.Client(base_url=self.url, headers={"Authorization": f"Bearer {self.key}"})

    def rows(self, query: str, *values: object) -> list[tuple]:
        with self.database.cursor() as cursor:
            cursor.execute(query, values)
            return cursor.fetchall()


@pytest.fixture(scope="module")
def standing(
    postgres: EmbeddedPostgres,
    make_database: Callable[..., str],
    embedded_broker: EmbeddedBroker,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Stand]:
    """One gateway, one session and one browser for all of this file."""
    from playwright.sync_api import sync_playwright

    folder = tmp_path_factory.mktemp("page")
    database = Database(postgres.url(make_database()))
    database.migrate()
    settings = BrokerUnderTest("embedded", embedded_broker.exports()).settings(
        home=folder,
        database_url=database.url.render_as_string(),
        dagster_url="http://127.0.0.1:3000",
        model_mode="eager",
        torch_threads=2,
    )
    with AdStream.from_settings(settings) as stream:
        stream.ensure_topics(partitions=2)
    name = install(database, ReleaseStore(settings.resolved_store_url), random_release()).name
    make_live(database, name)
    key = keys.make(database, "the page").text
    with ExitStack() as opened:
        opened.callback(database.close)
        session = SessionProcess(settings, "run-page")
        opened.callback(session.stop)
        gateway = opened.enter_context(live_gateway(settings))
        playwright = opened.enter_context(sync_playwright())
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=ARGUMENTS
        )
        opened.callback(browser.close)
        stand = Stand(gateway.url, key, database, browser, folder)
        ready = "SELECT 1 FROM lalafo.sessions WHERE state = 'ready'"
        wait_for(lambda: bool(stand.rows(ready)), lambda: "no session became ready", 120)
        yield stand


@pytest.fixture
def stand(standing: Stand) -> Iterator[Stand]:
    """The stand; a test fails if the browser's console has errors or warnings."""
    standing.console_errors.clear()
    yield standing
    assert standing.console_errors == []


@pytest.fixture(scope="module")
def photo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("photos") / "chair.jpg"
    path.write_bytes(render("chair", 3).data)
    return path


def ad_shown(page: Any) -> tuple[str, str]:
    """The catalog and id of the ad in the page's hash."""
    catalog, ad_id = re.fullmatch(r".*#/look/([^/]+)/([^/?]+)", page.url).groups()
    return catalog, ad_id


def wait_for_photo(page: Any) -> None:
    """Wait until the first photo is loaded. `wait_for_function` can't be used: it needs eval, which
    the content security policy forbids."""
    width = "document.querySelector('.photo img').naturalWidth"
    wait_for(lambda: page.evaluate(width) > 0, lambda: "the photo was never loaded", 20)


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
        suggested = page.locator("#labels option").evaluate_all("all => all.map((o) => o.value)")
        assert set(LABELS) <= set(suggested)


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
