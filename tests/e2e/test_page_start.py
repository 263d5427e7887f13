"""The start of the tab Score in a real browser: every way to send photos."""

import base64
from pathlib import Path

import pytest

from lalafo_assets.synthetic.samples import SAMPLES
from tests.support.browser import why_no_browser
from tests.support.page_stand import Stand, stored
from tests.support.random_release import LABELS
from tests.support.session_process import wait_for

_why_not = why_no_browser()
pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(_why_not is not None, reason=str(_why_not)),
]

PHONE = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True}
DRAG = """(type) => {
  const dataTransfer = new DataTransfer();
  dataTransfer.items.add(new File(["x"], "a.jpg", { type: "image/jpeg" }));
  const options = { dataTransfer, bubbles: true, cancelable: true };
  document.querySelector("header").dispatchEvent(new DragEvent(type, options));
}"""
PASTE = """([name, type, data]) => {
  const clipboardData = new DataTransfer();
  if (type === "text/plain") clipboardData.setData(type, data);
  else {
    const bytes = Uint8Array.from(atob(data), (c) => c.charCodeAt(0));
    clipboardData.items.add(new File([bytes], name, { type }));
  }
  const options = { clipboardData, bubbles: true, cancelable: true };
  document.activeElement.dispatchEvent(new ClipboardEvent("paste", options));
}"""
DROP = PASTE.replace("clipboardData", "dataTransfer").replace("ClipboardEvent", "DragEvent")
DROP = DROP.replace('"paste"', '"drop"')


def encoded(path: Path) -> str:
    return base64.b64encode(path.read_bytes()).decode()


def test_a_sample_is_scored_by_one_click(stand: Stand) -> None:
    with stand.page() as page:
        samples = page.locator(".samples button")
        assert samples.count() == len(SAMPLES)
        for index in range(len(SAMPLES)):
            wait_for(
                lambda at=index: samples.nth(at).locator("img").evaluate("i => i.naturalWidth") > 0,
                lambda: "a sample is not shown",
                20,
            )
        page.get_by_role("button", name="Score the sample: guitar").click()
        page.wait_for_selector(".result .chip.good")
        title, photos, label = stored(stand, page)
        assert (title, photos) == ("Sample: guitar", 1)
        assert page.locator(".verdict").inner_text() == label
        assert page.evaluate("document.activeElement.id") == "ad-title"
        page.get_by_role("link", name="New photos").click()
        page.wait_for_selector(".look.start .known")
        assert page.locator(".result").count() == 0


def test_the_start_names_every_category_of_the_live_release(stand: Stand) -> None:
    with stand.page() as page:
        chips = page.locator(".known .labels li")
        chips.first.wait_for()
        assert chips.all_inner_texts() == sorted(LABELS)
        assert f"{len(LABELS)} categories" in page.locator(".known header").inner_text()
        assert chips.locator("a").first.get_attribute("href") == f"#/ads?label={min(LABELS)}"


def test_photos_are_dropped_anywhere_in_any_tab(stand: Stand, photo: Path) -> None:
    with stand.page("/#/ads") as page:
        page.wait_for_selector("#panel-ads :is(.list, .empty)")
        page.evaluate(DRAG, "dragover")
        page.wait_for_selector(".cover:not([hidden])")
        page.evaluate(DROP, ["chair.jpg", "image/jpeg", encoded(photo)])
        page.wait_for_selector("#panel-look:not([hidden]) .result .chip.good")
        page.wait_for_selector(".cover", state="hidden")
        assert stored(stand, page)[:2] == ("chair.jpg", 1)


def test_a_photo_and_an_address_are_pasted(stand: Stand, photo: Path) -> None:
    """An address only beside a field: in a field, it is text."""
    with stand.page() as page:
        page.wait_for_selector(".known li")
        page.evaluate(PASTE, ["pasted.jpg", "image/jpeg", encoded(photo)])
        page.wait_for_selector(".result .chip.good")
        assert stored(stand, page)[:2] == ("pasted.jpg", 1)
        first = page.url
        page.focus("#address")
        page.evaluate(PASTE, ["", "text/plain", "http://127.0.0.1:9/a%20chair.jpg"])
        assert page.url == first
        page.focus("#ad-title")
        page.evaluate(PASTE, ["", "text/plain", "http://127.0.0.1:9/a%20chair.jpg"])
        page.wait_for_selector(".result figure.failed")
        assert stored(stand, page)[:2] == ("a chair.jpg", 1)


def test_an_address_is_fetched_under_the_fetchers_rules(stand: Stand) -> None:
    """By the ad's event: the page and the gateway fetch nothing themselves."""
    with stand.page() as page:
        page.fill("#address", "ftp://photos.example/1.jpg")
        page.locator(".address-form button").click()
        assert "http" in page.locator("#address").evaluate("input => input.validationMessage")
        page.fill("#address", "http://10.0.0.1/1.jpg")
        page.keyboard.press("Enter")
        page.wait_for_selector(".answer.none")
        assert "fetch_address_refused" in page.locator("figure.failed").inner_text()
        assert stored(stand, page) == ("1.jpg", 1, None)
