"""The product through PgBouncer in transaction mode: with a direct URL, and without one."""

import asyncio
import logging
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest

from gateway.backends.database import GatewayDatabase
from lalafo_assets.demo.photo_host import PhotoHost
from ops.errors import ConfigurationError
from ops.models.release import Release
from resources.embedded.broker import EmbeddedBroker
from resources.embedded.postgres import EmbeddedPostgres
from resources.kafka.topics import AdStream
from resources.postgres.database import Database
from resources.rescoring.attempts import at_work, is_at_work
from resources.sessions.group.members import read_sessions
from tests.conftest import BrokerUnderTest
from tests.support.gateway_live import live_gateway
from tests.support.live_session import live_parts
from tests.support.odd_photos import jpeg, noisy
from tests.support.pgbouncer import backends, pgbouncer, pooled_url
from tests.support.working_sessions import Working, until

ADS = 40


@pytest.fixture
def pooler(postgres: EmbeddedPostgres) -> Iterator[int]:
    with pgbouncer(postgres) as port:
        yield port


@pytest.mark.parametrize("direct", [True, False], ids=["with a direct URL", "without"])
def test_ads_are_accepted_scored_and_read(
    direct: bool,
    pooler: int,
    postgres: EmbeddedPostgres,
    make_database: Callable[..., str],
    migrated_template: str,
    embedded_broker: EmbeddedBroker,
    release: Release,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Forty ads are posted, scored and read: no statement fails because another backend ran it."""
    (tmp_path / "photos").mkdir()
    name = make_database(template=migrated_template)
    assert len(backends(pooler, name, 9)) > 1, "a client's transactions share backends"
    settings = BrokerUnderTest("embedded", embedded_broker.exports()).settings(
        home=tmp_path,
        database_url=pooled_url(pooler, name),
        database_direct_url=postgres.url(name) if direct else "",
        gateway_auth="off",
        fetch_allow_private=True,
        model_mode="eager",
    )
    caplog.set_level(logging.WARNING, "gateway.backends.commits")
    with (
        closing(Database.from_settings(settings)) as database,
        PhotoHost(tmp_path / "photos") as host,
        AdStream.from_settings(settings) as stream,
    ):
        live = live_parts(database, settings, stream, host, release)
        urls = [live.photo(f"{n}.jpg", jpeg(noisy(80, 60, n))) for n in range(4)]
        with Working(live) as worker, live_gateway(settings) as gateway:
            until(lambda: worker.partitions)
            for number in range(ADS):
                _post_and_read(gateway.url, number, urls)
            listed = httpx.get(f"{gateway.url}/v1/ads?limit=100", timeout=60).json()
            assert len(listed["ads"]) == ADS
            assert httpx.get(f"{gateway.url}/v1/statistics", timeout=60).status_code == 200
            assert httpx.get(f"{gateway.url}/readyz", timeout=60).status_code == 200
            (session,) = read_sessions(database, settings.ads_topic).values()
            assert session.alive
        assert worker.error is None, worker.error
        until(lambda: live.rows("SELECT count(*) FROM lalafo.outbox") == [(0,)])
        assert live.rows("SELECT count(*) FROM lalafo.predictions") == [(ADS,)]
    said = [record for record in caplog.records if "pooler" in record.getMessage()]
    assert len(said) == (0 if direct else 1)


def _post_and_read(url: str, number: int, photos: list[str]) -> None:
    body: dict[str, Any] = {
        "catalog": "kg",
        "ad_id": str(number),
        "title": f"ad {number}",
        "photos": [{"url": photos[number % len(photos)]}],
    }
    # A commit that goes unnoticed is read when the wait is over: too late for this client.
    posted = httpx.post(f"{url}/v1/ads?wait=30", json=body, timeout=60)
    assert posted.status_code in (200, 202), posted.text
    assert posted.json()["status"] == "scored", posted.text
    read = httpx.get(f"{url}/v1/ads/kg/{number}", timeout=60)
    assert (read.status_code, read.json()["revision"]) == (200, posted.json()["revision"])


def test_a_dead_session_is_found_by_its_lease(
    pooler: int, database: Database, postgres: EmbeddedPostgres
) -> None:
    """Through a pooler a session counts as alive until its lease expires, whatever becomes of the
    backends that its statements ran on."""
    from tests.integration.resources.sessions.group.test_membership import joined

    name = str(database.conninfo.parameters["dbname"])
    with closing(Database(pooled_url(pooler, name))) as pooled:
        with joined(pooled, "one", sessions=1) as one:
            until(lambda: one.poll() == {0, 1, 2, 3})
            with psycopg.connect(pooled_url(pooler, name), autocommit=True) as admin:
                admin.execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                    "WHERE datname = current_database() AND pid <> pg_backend_pid()"
                )
            assert read_sessions(database, "ads")["one"].alive
            assert one.poll() == {0, 1, 2, 3}
        assert not read_sessions(database, "ads")["one"].alive


def test_migrations_and_rescores_need_the_direct_url(
    pooler: int, database: Database, postgres: EmbeddedPostgres
) -> None:
    """Through the pooler alone they are refused with the setting's name; with it they work."""
    name = str(database.conninfo.parameters["dbname"])
    with closing(Database(pooled_url(pooler, name))) as pooled:
        with pytest.raises(ConfigurationError, match="LALAFO_DATABASE_DIRECT_URL"):
            pooled.migrate()
        with (
            pytest.raises(ConfigurationError, match="LALAFO_DATABASE_DIRECT_URL"),
            at_work(pooled, "run"),
        ):
            pass
    url = pooled_url(pooler, name)
    with closing(Database(url, direct_url=postgres.url(name))) as both:
        both.migrate()
        with at_work(both, "run"):
            assert is_at_work(both, "run")
        assert not is_at_work(both, "run")


def test_a_backends_settings_reach_no_other_client(pooler: int, database: Database) -> None:
    """The gateway's statement timeout is set on a backend of its own alone; its times are UTC
    through the pooler too."""

    async def settings(url: str) -> list[tuple[str, str]]:
        async with GatewayDatabase(url, size=2) as gateway:
            found = []
            for _ in range(9):
                async with gateway.connection() as connection:
                    rows = await connection.execute(
                        "SELECT current_setting('statement_timeout'), current_setting('TimeZone')"
                    )
                    found += await rows.fetchall()
            return found

    name = str(database.conninfo.parameters["dbname"])
    with database.cursor() as cursor:
        cursor.execute(f"ALTER DATABASE \"{name}\" SET timezone = 'Asia/Bishkek'")
    assert set(asyncio.run(settings(database.conninfo.text()))) == {("5s", "UTC")}
    assert set(asyncio.run(settings(pooled_url(pooler, name)))) == {("0", "UTC")}
