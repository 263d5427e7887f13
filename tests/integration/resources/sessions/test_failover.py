"""A failover of PostgreSQL while a session works: the primary is killed, the standby promoted.

With synchronous replication nothing that was committed is lost. Without it the last commits may be
missing on the promoted server, with their offsets: the session reads their events again.
"""

from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

import pytest

from lalafo_assets.demo.photo_host import PhotoHost
from ops.errors import LeaseLostError
from ops.models.release import Release
from ops.outcomes import Batch
from resources.changes.lease import WorkerLease
from resources.embedded.broker import EmbeddedBroker
from resources.kafka.topics import AdStream
from resources.postgres.database import Database
from resources.sessions.commits.commit import Holder, ResultWriter
from resources.sessions.group.leases import Leases
from tests.integration.resources.sessions.test_outages import ADS, check, publish, settings_for
from tests.support.live_session import Live, live_parts
from tests.support.replicated_postgres import ReplicatedPostgres
from tests.support.working_sessions import Working, until

pytestmark = pytest.mark.timeout(300)

COMMITTED = "SELECT ad_id FROM lalafo.ads"
FIRST = 10  # ads before the failover


@contextmanager
def replicated(folder: Path, *, synchronous: bool) -> Iterator[ReplicatedPostgres]:
    servers = ReplicatedPostgres(folder, synchronous=synchronous)
    try:
        servers.start()
        yield servers
    finally:
        servers.stop()


@contextmanager
def live_on(
    servers: ReplicatedPostgres, folder: Path, broker: EmbeddedBroker, release: Release, topic: str
) -> Iterator[Live]:
    with ExitStack() as stack:
        database = stack.enter_context(closing(Database(servers.url())))
        database.migrate()
        settings = settings_for(folder, database, broker.exports(), topic)
        host = stack.enter_context(PhotoHost(folder / "photos"))
        stream = stack.enter_context(AdStream.from_settings(settings))
        yield live_parts(database, settings, stream, host, release)


def test_nothing_committed_is_lost_with_a_synchronous_standby(
    tmp_path: Path, home: Path, embedded_broker: EmbeddedBroker, release: Release
) -> None:
    """The primary is killed while ads are committed: each one that was seen committed is on the
    standby before it is promoted; then the session goes on."""
    with (
        replicated(home, synchronous=True) as servers,
        live_on(servers, tmp_path, embedded_broker, release, "ads-failover-sync") as live,
        Working(live) as worker,
    ):
        publish(live, 0, FIRST)
        until(lambda: len(live.rows(COMMITTED)) >= FIRST // 2)
        seen = set(live.rows(COMMITTED))
        servers.kill_primary()
        publish(live, FIRST, ADS)
        assert seen <= set(servers.standby_rows(COMMITTED))
        servers.promote()
        worker.wait_for(ADS)
        worker.end()
        check(live, worker)


def test_events_of_lost_commits_are_read_again_with_an_asynchronous_standby(
    tmp_path: Path, home: Path, embedded_broker: EmbeddedBroker, release: Release
) -> None:
    """The standby lacks the last commits when it is promoted: the session, which goes on, scores
    their ads again from the offsets of the promoted server."""
    with (
        replicated(home, synchronous=False) as servers,
        live_on(servers, tmp_path, embedded_broker, release, "ads-failover-async") as live,
        Working(live) as worker,
    ):
        publish(live, 0, FIRST)
        worker.wait_for(FIRST)
        until(lambda: len(servers.standby_rows(COMMITTED)) == FIRST)
        servers.stop_receiving()
        publish(live, FIRST, 2 * FIRST)
        worker.wait_for(2 * FIRST)
        servers.kill_primary()
        servers.promote()
        assert len(servers.standby_rows(COMMITTED)) == FIRST, "the test needs lost commits"
        publish(live, 2 * FIRST, ADS)
        worker.wait_for(ADS)
        worker.end()
        written = live.rows("SELECT count(*), count(DISTINCT ad_id) FROM lalafo.predictions")
        assert written == [(ADS, ADS)]
        assert worker.error is None


def test_a_lease_is_refused_on_a_promoted_server(home: Path) -> None:
    """Its holder may have committed what that server lacks. The next epoch there is above every
    one that was lost, so no two sessions ever have the same."""
    with replicated(home, synchronous=False) as servers:
        with closing(Database(servers.url())) as database:
            database.migrate()
            leases = Leases("s", "ads", "run-1", ttl_s=60)
            with database.connect_directly("test") as connection:
                (epoch,) = leases.acquire(connection, [0]).values()
                assert leases.renew(connection, {0: epoch}) == {0}
                commit(database, epoch)
                until(lambda: servers.standby_rows("SELECT epoch FROM lalafo.leases") == [(epoch,)])
            servers.stop_receiving()
            with database.connect_directly("test") as connection:
                (lost_epoch,) = leases.acquire(connection, [0]).values()
                assert lost_epoch == epoch + 1
            servers.kill_primary()
            servers.promote()
        with (
            closing(Database(servers.url())) as database,
            database.connect_directly("test") as connection,
        ):
            assert leases.renew(connection, {0: epoch}) == set()
            for stale in (epoch, lost_epoch):
                with pytest.raises(LeaseLostError, match="failed over"):
                    commit(database, stale)
                with pytest.raises(LeaseLostError), database.cursor() as cursor:
                    WorkerLease("s", "ads").check(cursor, stale)
            (acquired,) = leases.acquire(connection, [0]).values()
            assert acquired > lost_epoch + 1
            assert leases.renew(connection, {0: acquired}) == {0}
            commit(database, acquired)
            with database.cursor() as cursor:
                WorkerLease("s", "ads").check(cursor, acquired)
            with pytest.raises(LeaseLostError):
                commit(database, lost_epoch)


def commit(database: Database, epoch: int) -> None:
    """Commit offset 1 of partition 0 under an epoch."""
    writer = ResultWriter(database, Holder("run-1", "s", "ads", "ads.scored"))
    writer.commit(Batch(releases=(), partitions=frozenset({0}), next_offsets={0: 1}), {0: epoch})
