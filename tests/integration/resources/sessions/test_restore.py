"""PostgreSQL and the store are lost under load, and restored to an earlier moment, while a session
and an indexer go on: nothing is lost that Kafka still has, and nothing is doubled."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from lalafo_assets.demo.photo_host import PhotoHost
from ops.models.release import Release
from resources.embedded.broker import EmbeddedBroker
from resources.kafka.topics import AdStream
from resources.postgres.database import Database
from tests.integration.resources.sessions.test_outages import settings_for
from tests.support.archived_postgres import ArchivedPostgres
from tests.support.live_session import Live, ad, live_parts
from tests.support.odd_photos import jpeg, noisy
from tests.support.working_sessions import Working, until

pytestmark = pytest.mark.timeout(300)

BEFORE, LOST, ALL = 15, 20, 30  # ads before the moment, before the loss, in all
RELEASES = (
    "SELECT r.* FROM lalafo.active_releases AS f JOIN lalafo.releases AS r ON r.name = f.live"
)
INDEXED = (
    "SELECT count(*), count(*) FILTER (WHERE v.revision = a.revision) FROM lalafo.ad_vectors AS v "
    "LEFT JOIN lalafo.ads AS a USING (catalog, ad_id)"
)


@pytest.fixture
def archived(home: Path) -> Iterator[ArchivedPostgres]:
    server = ArchivedPostgres(home)
    server.start()
    yield server
    server.stop()


def publish(live: Live, first: int, last: int) -> None:
    """Publish ads with a photo of their own each."""
    for number in range(first, last):
        url = live.photo(f"{number}.jpg", jpeg(noisy(80, 60, number)))
        live.publish(ad(str(number), [url]))


def stored_files(live: Live) -> set[Path]:
    folder = Path(live.settings.resolved_store_url) / "renditions"
    return {path for path in folder.rglob("*") if path.is_file()}


def test_a_session_goes_on_after_a_restore(
    tmp_path: Path, archived: ArchivedPostgres, embedded_broker: EmbeddedBroker, release: Release
) -> None:
    """The database is restored to a moment before the last commits, and the store too."""
    with closing(Database(archived.server.url())) as database:
        database.migrate()
        settings = settings_for(tmp_path, database, embedded_broker.exports(), "ads-restore")
        with (
            PhotoHost(tmp_path / "photos") as host,
            AdStream.from_settings(settings) as stream,
        ):
            live = live_parts(database, settings, stream, host, release)
            releases = live.rows(RELEASES)
            url = database.url.render_as_string()
            command = [sys.executable, "-m", "tests.support.indexer_process", url, "indexer", "2"]
            with subprocess.Popen(command) as indexer, Working(live) as worker:
                try:
                    publish(live, 0, BEFORE - 5)
                    until(lambda: len(live.rows("SELECT FROM lalafo.ads")) > 0)
                    archived.back_up()  # while ads are scored
                    publish(live, BEFORE - 5, BEFORE)
                    worker.wait_for(BEFORE)
                    until(lambda: live.rows(INDEXED) == [(BEFORE, BEFORE)])
                    files, moment = stored_files(live), archived.now()
                    publish(live, BEFORE, LOST)
                    worker.wait_for(LOST)
                    archived.archive()

                    archived.drop()
                    for path in stored_files(live) - files:
                        path.unlink()
                    publish(live, LOST, ALL)
                    archived.restore(moment)
                    worker.wait_for(ALL)
                    until(lambda: live.rows(INDEXED) == [(ALL, ALL)])
                    until(lambda: live.rows("SELECT count(*) FROM lalafo.outbox") == [(0,)])
                finally:
                    indexer.kill()
                worker.end()
            check(live, worker)
            assert live.rows(RELEASES) == releases


def check(live: Live, worker: Working) -> None:
    """Every ad once, with its photo; every event's offset."""
    assert worker.error is None, worker.error
    written = live.rows("SELECT count(*), count(DISTINCT ad_id) FROM lalafo.predictions")
    assert written == [(ALL, ALL)]
    renditions = live.rows("SELECT rendition_sha256 FROM lalafo.photos")
    assert len(renditions) == ALL
    for (sha256,) in renditions:
        assert live.parts.store.get("renditions", sha256)
    (offsets,) = live.rows("SELECT sum(next_offset) FROM lalafo.stream_offsets")
    assert offsets == (sum(live.stream.end_offsets().values()),)
