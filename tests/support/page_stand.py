"""A live gateway with a session, and a browser that opens its page."""

import re
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from gateway.edge import keys
from ops.models.release import Release
from resources.embedded.broker import EmbeddedBroker
from resources.inference.loading import install
from resources.kafka.topics import AdStream
from resources.postgres.database import Database
from resources.releases.promotion import make_live
from resources.settings import Settings
from resources.storage.releases import ReleaseStore
from tests.conftest import BrokerUnderTest
from tests.support.browser import ARGUMENTS
from tests.support.gateway_live import live_gateway
from tests.support.session_process import SessionProcess, wait_for

WITHIN_MS = 20_000
NOTICES = "/v1/notices"  # a gateway without this route answers 404, and the page shows no banner


@dataclass
class Stand:
    """A gateway with its database and key, and a browser."""

    url: str
    key: str
    database: Database
    browser: Any
    folder: Path
    settings: Settings
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
        page.on("console", lambda message: self._console(message))
        page.on("pageerror", lambda error: self.console_errors.append(f"error: {error}"))
        # Registered before any key is pressed: Playwright starts intercepting file choosers without
        # waiting for it, and a key pressed right after opened the browser's own (9 of 30 times).
        page.on("filechooser", lambda _: None)
        try:
            page.goto(f"{self.url}{path}")
            yield page
        finally:
            fresh.close()

    def _console(self, message: Any) -> None:
        if message.type in ("error", "warning") and not message.location["url"].endswith(NOTICES):
            self.console_errors.append(f"{message.type}: {message.text}")

    def client(self) -> httpx.Client:
        return httpx.Client(base_url=self.url, headers={"Authorization": f"Bearer {self.key}"})

    def rows(self, query: str, *values: object) -> list[tuple]:
        with self.database.cursor() as cursor:
            cursor.execute(query, values)
            return cursor.fetchall()


@contextmanager
def open_stand(
    url: str, broker: EmbeddedBroker, folder: Path, *, release: Release
) -> Iterator[Stand]:
    """Migrate the database at `url`, and start a session, a gateway and a browser."""
    from playwright.sync_api import sync_playwright

    database = Database(url)
    database.migrate()
    settings = BrokerUnderTest("embedded", broker.exports()).settings(
        home=folder,
        database_url=database.url.render_as_string(),
        dagster_url="http://127.0.0.1:3000",
        model_mode="eager",
        torch_threads=2,
    )
    with AdStream.from_settings(settings) as stream:
        stream.ensure_topics(partitions=2)
    name = install(database, ReleaseStore(settings.resolved_store_url), release).name
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
        stand = Stand(gateway.url, key, database, browser, folder, settings)
        ready = "SELECT 1 FROM lalafo.sessions WHERE state = 'ready'"
        wait_for(lambda: bool(stand.rows(ready)), lambda: "no session became ready", 120)
        yield stand


def ad_shown(page: Any) -> tuple[str, str]:
    """The catalog and id of the ad in the page's hash."""
    catalog, ad_id = re.fullmatch(r".*#/look/([^/]+)/([^/?]+)", page.url).groups()
    return catalog, ad_id


def wait_for_photo(page: Any) -> None:
    """Wait until the first photo is loaded. `wait_for_function` can't be used: it needs eval, which
    the content security policy forbids."""
    width = "document.querySelector('.photo img').naturalWidth"
    wait_for(lambda: page.evaluate(width) > 0, lambda: "the photo was never loaded", 20)


def stored(stand: Stand, page: Any) -> tuple:
    """The title, number of photos and predicted category of the ad that the page shows."""
    query = (
        "SELECT a.title, (SELECT count(*) FROM lalafo.ad_photos AS p WHERE p.catalog = a.catalog"
        " AND p.ad_id = a.ad_id), (SELECT label FROM lalafo.predictions AS p"
        " WHERE p.catalog = a.catalog AND p.ad_id = a.ad_id AND task = 'category')"
        " FROM lalafo.ads AS a WHERE a.catalog = %s AND a.ad_id = %s"
    )
    [row] = stand.rows(query, *ad_shown(page))
    return row
