"""Faults of PostgreSQL under a session: it waits, and no ad, photo or event gets a failure row."""

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

import pytest

from lalafo_assets.demo.photo_host import PhotoHost
from ops.models.release import Release
from resources.embedded.broker import EmbeddedBroker
from resources.embedded.postgres import EmbeddedPostgres
from resources.kafka.topics import AdStream
from resources.postgres.database import Database
from tests.conftest import BrokerUnderTest
from tests.support.database_faults import Faults, full, small_disk
from tests.support.live_session import Live, ad, live_parts
from tests.support.odd_photos import jpeg, noisy
from tests.support.working_sessions import Working, until

ADS = 40


@pytest.fixture
def faults(home: Path) -> Iterator[Faults]:
    """A migrated server of the test's own."""
    server = EmbeddedPostgres(home, overrides={"fsync": "off"})
    server.start()
    with closing(Database(server.url())) as database:
        database.migrate()
    yield Faults(server)
    server.stop()


NewLive = Callable[[str], Live]


@pytest.fixture
def new_live(
    embedded_broker: EmbeddedBroker, release: Release, tmp_path: Path
) -> Iterator[NewLive]:
    """A session's parts on a database by its connection string."""
    with ExitStack() as opened:

        def new(url: str) -> Live:
            (tmp_path / "photos").mkdir()
            settings = BrokerUnderTest("embedded", embedded_broker.exports()).settings(
                home=tmp_path, database_url=url, fetch_allow_private=True, model_mode="eager"
            )
            database = opened.enter_context(closing(Database.from_settings(settings)))
            host = opened.enter_context(PhotoHost(tmp_path / "photos"))
            stream = opened.enter_context(AdStream.from_settings(settings))
            return live_parts(database, settings, stream, host, release)

        yield new


def publish(live: Live, first: int, last: int) -> None:
    urls = [live.photo(f"{n}.jpg", jpeg(noisy(80, 60, n))) for n in range(first, last)]
    live.publish(*(ad(str(n), [url]) for n, url in zip(range(first, last), urls, strict=True)))


@contextmanager
def through_the_fault(live: Live) -> Iterator[Working]:
    """One session scores ads before, during and after the block, and all of them."""
    with Working(live) as worker:
        publish(live, 0, 10)
        worker.wait_for(10)
        yield worker
        publish(live, 30, ADS)
        worker.wait_for(ADS)
    assert worker.error is None, worker.error
    assert worker.total is not None and worker.total.unaccounted == 0
    assert live.rows("SELECT status, count(*) FROM lalafo.ads GROUP BY 1") == [("scored", ADS)]
    assert live.rows("SELECT count(*) FROM lalafo.failures") == [(0,)]
    assert live.rows("SELECT count(*) FROM lalafo.sessions") == [(1,)]


def waits(worker: Working) -> bool:
    return worker.session.session.snapshot().waiting_for_s != {}


def test_a_read_only_server(faults: Faults, new_live: NewLive) -> None:
    """It waits, and goes on once the server is writable, although its pooled connections would
    have stayed read-only."""
    live = new_live(faults.server.url())
    with through_the_fault(live) as worker:
        faults.make_read_only()
        publish(live, 10, 30)
        until(lambda: waits(worker))
        faults.make_writable()
        worker.wait_for(30)
        until(lambda: not waits(worker))


def test_a_session_that_starts_while_the_server_is_read_only(
    faults: Faults, new_live: NewLive
) -> None:
    """It waits before it joins the others, instead of a failed run."""
    live = new_live(faults.server.url())
    publish(live, 0, 10)
    faults.make_read_only()
    with Working(live) as worker:
        assert not threading.Event().wait(1.5)
        assert not worker.ended
        faults.make_writable()
        worker.wait_for(10)
    assert worker.error is None, worker.error


def test_terminated_backends(faults: Faults, new_live: NewLive) -> None:
    """Its connections are terminated again and again while it works."""
    live = new_live(faults.server.url())
    with through_the_fault(live) as worker:
        publish(live, 10, 30)
        for _ in range(10):
            faults.terminate()
            threading.Event().wait(0.1)
        worker.wait_for(30)


def test_no_free_connection(faults: Faults, new_live: NewLive) -> None:
    """The server refuses every new connection of the session's role."""
    live = new_live(faults.limited_url())
    with through_the_fault(live) as worker:
        with faults.no_free_connection():
            publish(live, 10, 30)
            until(lambda: waits(worker))
        worker.wait_for(30)


def test_a_full_disk(faults: Faults, new_live: NewLive) -> None:
    """No row can be stored until some space is free again."""
    with small_disk(faults.server) as disk:
        live = new_live(faults.server.url())
        with through_the_fault(live) as worker:
            with full(disk):
                publish(live, 10, 30)
                until(lambda: waits(worker))
            worker.wait_for(30)
        live.database.close()


def test_a_frozen_server(faults: Faults, new_live: NewLive) -> None:
    """The server stops answering, and answers again."""
    live = new_live(faults.server.url())
    with through_the_fault(live) as worker:
        with faults.frozen():
            publish(live, 10, 30)
            threading.Event().wait(3)
        worker.wait_for(30)
