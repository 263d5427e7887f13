"""How much a browser loads for the page: in bytes as sent, and in requests.

`make test ARGS='tests/e2e/test_page_weight.py -s'` prints the figures of docs/performance.md, with
the time to the first paint, which depends on the machine and is not asserted.
"""

import json
from typing import Any

import pytest

from tests.support.browser import why_no_browser
from tests.support.page_stand import Stand

_why_not = why_no_browser()
pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(_why_not is not None, reason=str(_why_not)),
]

KB = 1_000
MOST_CODE = 80 * KB  # HTML, CSS and JavaScript, compressed
MOST_SAMPLES = 75 * KB
LOADED = """() => {
  const [page] = performance.getEntriesByType("navigation");
  const [paint] = performance.getEntriesByName("first-contentful-paint");
  const files = performance.getEntriesByType("resource")
    .filter(({ name }) => !name.includes("/v1/"));
  return {
    files: [page, ...files].map((one) => [
      new URL(one.name).pathname, one.encodedBodySize, one.decodedBodySize,
    ]),
    first_paint_ms: paint ? Math.round(paint.startTime) : null,
  };
}"""


def measure(stand: Stand, path: str, ready: str) -> dict[str, Any]:
    """What a first visit loads, without the API's answers."""
    with stand.page(path) as page:
        page.wait_for_selector(ready)
        page.wait_for_load_state("load")
        return page.evaluate(LOADED)


@pytest.mark.parametrize(("path", "ready"), [("/", ".known li"), ("/docs", ".route")])
def test_the_page_is_light(stand: Stand, path: str, ready: str) -> None:
    found = measure(stand, path, ready)
    code = [row for row in found["files"] if not row[0].startswith("/page/samples/")]
    samples = [row for row in found["files"] if row[0].startswith("/page/samples/")]
    sent, whole = (sum(row[column] for row in code) for column in (1, 2))
    figures = {
        **{"path": path, "requests": len(found["files"]), "code_bytes": sent},
        **{"unpacked_bytes": whole, "sample_bytes": sum(row[1] for row in samples)},
        "first_paint_ms": found["first_paint_ms"],
    }
    print(json.dumps(figures))
    assert 5 * KB < sent <= MOST_CODE, figures
    assert sent < whole / 2, figures
    assert figures["sample_bytes"] <= MOST_SAMPLES, figures
