"""Several sessions in separate processes on Apache Kafka: sharing, handover and freezing."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from lalafo_assets.bench.kafka.server import KafkaServer
from ops.models.release import Release
from resources.inference.loading import install
from resources.kafka.topics import AdStream
from resources.postgres.database import Database
from resources.releases.promotion import make_live
from resources.sessions.group.leases import read_leases
from resources.sessions.group.members import read_sessions
from resources.sessions.offsets import read_offsets
from resources.settings import Settings
from resources.storage.releases import ReleaseStore
from tests.conftest import BrokerUnderTest
from tests.support.event_corpus import Message, publish
from tests.support.gated_host import GatedHost
from tests.support.live_session import ad
from tests.support.odd_photos import jpeg, noisy
from tests.support.session_process import SessionProcess, wait_for
from tests.support.stream_outcome import announced

pytestmark = pytest.mark.kafka
PATIENCE_S = 90
PARTITIONS = 2


class Town:
    """A topic, a database, a photo host, and sessions that the test starts."""

    def __init__(
        self, settings: Settings, database: Database, stream: AdStream, host: GatedHost
    ) -> None:
        self.settings = settings
        self.database = database
        self.stream = stream
        self.host = host
        self.sessions: list[SessionProcess] = []
        self.sent = 0

    def start(self, run_id: str, **changes: object) -> SessionProcess:
        settings = self.settings.model_copy(update=changes)
        session = SessionProcess(settings, run_id)
        self.sessions.append(session)
        return session

    def publish(self, count: int) -> None:
        """Ads of one photo each, over all partitions."""
        import json

        events = [ad(f"{self.sent + n:05d}", [self.host.url(f"{n}.jpg")]) for n in range(count)]
        self.sent += count
        publish(
            self.stream,
            [Message(f"kg/{e['ad_id']}".encode(), json.dumps(e).encode()) for e in events],
        )

    def rows(self, query: str) -> list[tuple]:
        with self.database.cursor() as cursor:
            cursor.execute(query)
            return cursor.fetchall()

    def holders(self) -> dict[int, str]:
        leases = read_leases(self.database, self.stream.stream_id(), self.settings.ads_topic)
        return {p: lease.run_id for p, lease in leases.items() if lease.alive}

    def states(self) -> dict[str, str]:
        sessions = read_sessions(self.database, self.settings.ads_topic)
        return {run: s.member.state for run, s in sessions.items() if s.alive}

    def wait(self, condition: Callable[[], bool]) -> None:
        wait_for(
            condition,
            lambda: (
                f"{self.scored()} of {self.sent} ads scored, holders {self.holders()}, "
                f"states {self.states()}"
            ),
            PATIENCE_S,
        )

    def scored(self) -> int:
        return int(self.rows("SELECT count(*) FROM lalafo.ads WHERE status = 'scored'")[0][0])

    def check_all_scored_once(self) -> None:
        """As many ads, predictions and photo rows as ads were sent, and every offset committed."""
        counts = self.rows(
            "SELECT (SELECT count(*) FROM lalafo.ads), (SELECT count(*) FROM lalafo.predictions), "
            "(SELECT count(*) FROM lalafo.ad_photos)"
        )
        assert counts == [(self.sent, self.sent, self.sent)], f"{counts} of {self.sent} sent"
        offsets = read_offsets(self.database, self.stream.stream_id(), self.settings.ads_topic)
        ends = self.stream.end_offsets()
        assert offsets == {p: end for p, end in ends.items() if end > 0}


@pytest.fixture
def town(
    database: Database, kafka_server: KafkaServer, release: Release, tmp_path: Path
) -> Iterator[Town]:
    broker = BrokerUnderTest("kafka", kafka_server.exports())
    settings = broker.settings(
        home=tmp_path,
        database_url=database.url.render_as_string(),
        fetch_allow_private=True,
        fetch_timeout_s=60,
        model_mode="eager",
    )
    make_live(database, install(database, ReleaseStore(settings.resolved_store_url), release).name)
    with GatedHost(jpeg(noisy(80, 60, 1))) as host, AdStream.from_settings(settings) as stream:
        stream.ensure_topics(PARTITIONS)
        town = Town(settings, database, stream, host)
        yield town
        for session in town.sessions:
            session.thaw() if session.alive else None
            session.stop()


def test_a_frozen_session_that_comes_back_commits_nothing(town: Town) -> None:
    """SIGSTOP with ads in flight, and another session acquires its partitions. After SIGCONT, its
    commit is refused because of the epoch, and the other session's commit stands."""
    zombie = town.start("zombie", sessions=2)
    town.wait(lambda: len(town.holders()) == PARTITIONS)
    town.publish(40)
    town.wait(lambda: town.host.requests == 40)
    zombie.freeze()
    town.start("heir", sessions=2)
    town.wait(lambda: set(town.holders().values()) == {"heir"} and len(town.holders()) == 2)
    town.wait(lambda: town.host.requests == 80)
    zombie.thaw()
    town.host.let_through(40)  # the zombie's requests: it can commit before the heir
    # It has finished them once it is a standby, and has received the revocations.
    town.wait(lambda: town.states() == {"zombie": "ready", "heir": "ready"})
    town.host.open()
    town.wait(lambda: town.scored() == town.sent)
    by_run = dict(town.rows("SELECT run_id, count(*) FROM lalafo.ads GROUP BY 1"))
    assert by_run.get("zombie", 0) == 0, f"the zombie committed: {by_run}"
    town.check_all_scored_once()


def test_sessions_come_and_go_in_mid_stream(town: Town) -> None:
    """1 -> 2 -> 1: partitions are shared and returned; no ad is lost or duplicated."""
    town.host.open()
    first = town.start("first", sessions=2)
    town.wait(lambda: town.holders() == {0: "first", 1: "first"})
    town.publish(150)
    town.start("second", sessions=2)
    town.wait(lambda: sorted(town.holders().values()) == ["first", "second"])
    town.publish(150)
    assert first.stop() == 0, "a graceful stop exits with 0"
    town.publish(150)
    town.wait(lambda: set(town.holders().values()) == {"second"} and len(town.holders()) == 2)
    town.wait(lambda: town.scored() == town.sent)
    town.check_all_scored_once()


def test_a_killed_session_is_replaced_by_the_other_one(town: Town) -> None:
    """One partition's reader is killed with ads in flight; the other session scores them."""
    town.host.open()
    town.start("live", sessions=2)
    town.wait(lambda: len(town.holders()) == PARTITIONS)
    town.start("other", sessions=2)
    town.wait(lambda: set(town.holders().values()) == {"live", "other"})
    town.publish(100)
    town.sessions[0].kill()
    town.publish(100)
    town.wait(lambda: set(town.holders().values()) == {"other"} and len(town.holders()) == 2)
    town.wait(lambda: town.scored() == town.sent)
    town.check_all_scored_once()


@pytest.mark.parametrize("why", ["due", "code"])
def test_a_session_hands_over_to_its_successor(town: Town, why: str) -> None:
    """When its time is up, or newer code is deployed: it continues until the successor is ready,
    then releases its partitions mid-stream and ends by itself."""
    town.host.open()
    terms: dict[str, object] = {"session_minutes": 0.02} if why == "due" else {"code_version": "1"}
    old = town.start("old", **terms)
    town.wait(lambda: town.holders() == {0: "old", 1: "old"})
    town.publish(100)
    town.wait(lambda: town.scored() >= 50)
    assert old.alive, "without a successor it continues, even when it is overdue"
    town.start("new", code_version="2" if why == "code" else "")
    while old.alive:
        town.publish(20)
        old.process.join(0.05)
    assert old.process.exitcode == 0
    town.publish(50)
    town.wait(lambda: set(town.holders().values()) == {"new"})
    town.wait(lambda: town.scored() == town.sent)
    town.check_all_scored_once()
    final = {
        (row[0], row[1], "scored") for row in town.rows("SELECT ad_id, revision FROM lalafo.ads")
    }
    seen = announced(town.stream, run_prefix="", until=final)
    assert final <= seen, f"{len(final - seen)} of {len(final)} never announced"
