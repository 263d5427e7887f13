"""Records that kill their session's process, and stages that hang, in real processes.

A record that sessions die of is found and stepped over; its neighbours are scored.
"""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from lalafo_assets.demo.photo_host import PhotoHost
from ops.models.release import Release
from resources.embedded.broker import EmbeddedBroker
from resources.kafka.topics import AdStream
from resources.postgres.database import Database
from resources.sessions.watchdog import EXIT_CODE
from tests.conftest import BrokerUnderTest
from tests.support.live_session import Live, ad, live_parts
from tests.support.odd_photos import jpeg, noisy
from tests.support.session_process import Crew, SessionProcess, wait_for
from tests.support.session_process_parts import KILLS, hangs

PATIENCE_S = 240.0

pytestmark = pytest.mark.timeout(PATIENCE_S * 2)


@pytest.fixture
def live(
    database: Database, embedded_broker: EmbeddedBroker, release: Release, tmp_path: Path
) -> Iterator[Live]:
    (tmp_path / "photos").mkdir()
    settings = BrokerUnderTest("embedded", embedded_broker.exports()).settings(
        home=tmp_path,
        database_url=database.url.render_as_string(),
        fetch_allow_private=True,
        fetch_timeout_s=2,
        model_mode="eager",
    )
    with PhotoHost(tmp_path / "photos") as host, AdStream.from_settings(settings) as stream:
        yield live_parts(database, settings, stream, host, release)


def publish(live: Live, *events: dict, partition: int = 0) -> None:
    with live.stream.publisher() as publisher:
        for event in events:
            publisher.publish(
                live.settings.ads_topic,
                f"{event['catalog']}/{event['ad_id']}".encode(),
                json.dumps(event).encode(),
                partition=partition,
            )
        publisher.flush(10)


def scored(live: Live) -> set[str]:
    return {row[0] for row in live.rows("SELECT ad_id FROM lalafo.ads WHERE status = 'scored'")}


def committed(live: Live, partition: int = 0) -> int:
    rows = live.rows(
        "SELECT next_offset FROM lalafo.stream_offsets WHERE partition = %s", partition
    )
    return int(rows[0][0]) if rows else 0


def test_a_record_that_kills_its_process_is_quarantined(live: Live) -> None:
    """After four deaths: two until records are read one at a time, and two with it alone. No other
    ad is lost, before it, after it, or on another partition."""
    good = live.photo("good.jpg", jpeg(noisy(80, 60, 1)))
    ads = [ad(str(n), [good]) for n in range(12)]
    ads.insert(7, ad("deadly", [good, f"{good}?{KILLS}"]))
    publish(live, *ads)
    publish(live, *(ad(f"other-{n}", [good]) for n in range(5)), partition=1)
    with Crew(live.settings, size=1) as crew:
        wait_for(
            lambda: committed(live) == len(ads) and committed(live, 1) == 5,
            lambda: f"offset {committed(live)}, {crew.started} sessions, {scored(live)}",
            PATIENCE_S,
        )
        assert crew.started <= 5
    assert scored(live) == {str(n) for n in range(12)} | {f"other-{n}" for n in range(5)}
    found = live.rows(
        'SELECT kind, reason, partition, "offset", original FROM lalafo.failures ORDER BY 1'
    )
    assert [row[:4] for row in found] == [("event", "quarantined", 0, 7)]
    assert json.loads(found[0][4])["ad_id"] == "deadly"
    dlq = live.settings.dlq_topic
    assert sum(live.stream.end_offsets(dlq).values()) == 1


def test_kills_of_healthy_sessions_quarantine_nothing(live: Live) -> None:
    """Sessions that are killed again and again at the same offset: the ads are scored."""
    slow = live.host.url("slow.jpg", path="hang")
    good = live.photo("good.jpg", jpeg(noisy(80, 60, 1)))
    publish(live, ad("slow", [slow]), *(ad(str(n), [good]) for n in range(5)))
    everything = {str(n) for n in range(5)}
    with Crew(live.settings, size=1) as crew:
        for kills in range(3):
            wait_for(
                lambda kills=kills: crew.started == kills + 1 and bool(scored(live)),
                lambda: f"{crew.started} sessions",
                PATIENCE_S,
            )
            wait_for(
                lambda: live.rows("SELECT FROM lalafo.leases WHERE NOT released") != [],
                lambda: "no session owns a partition",
                PATIENCE_S,
            )
            crew.kill_all()
        wait_for(lambda: committed(live) == 6, lambda: committed(live), PATIENCE_S)
    assert scored(live) == everything
    assert live.rows("SELECT FROM lalafo.failures WHERE kind = 'event'") == []


def end_of(process: SessionProcess) -> int | None:
    process.process.join(PATIENCE_S)
    return process.process.exitcode


def hanging(live: Live, run_id: str) -> None:
    """Let the session's poll hang, and wait until it does."""
    file = hangs(live.settings, run_id)
    file.touch()
    wait_for(lambda: file.read_text() == "hangs", lambda: "it polls", PATIENCE_S)


def ready(live: Live, *runs: str) -> None:
    """Wait until these sessions own partitions."""
    wait_for(
        lambda: (
            {row[0] for row in live.rows("SELECT run_id FROM lalafo.leases WHERE NOT released")}
            == set(runs)
        ),
        lambda: "not every session owns a partition",
        PATIENCE_S,
    )


def test_a_session_whose_poll_hangs_is_ended_and_replaced(live: Live) -> None:
    """Its process ends with a clear code, and another session has taken its partitions by then or
    takes them at once: the leases were released, and as those of a session that failed."""
    settings = live.settings.model_copy(update={"stage_timeout_s": 1.0, "sessions": 2})
    good = live.photo("good.jpg", jpeg(noisy(80, 60, 1)))
    one, two = SessionProcess(settings, "one"), SessionProcess(settings, "two")
    try:
        ready(live, "one", "two")
        hanging(live, "one")
        for partition in range(4):
            publish(live, ad(str(partition), [good]), partition=partition)
        assert end_of(one) == EXIT_CODE
        wait_for(lambda: len(scored(live)) == 4, lambda: scored(live), PATIENCE_S)
        deaths = live.rows("SELECT deaths FROM lalafo.session_deaths")
        assert deaths != [] and set(deaths) == {(1,)}
        assert two.stop() == 0
    finally:
        one.kill()
        two.kill()


def test_sigterm_ends_a_session_whose_poll_hangs(live: Live) -> None:
    """Without the watchdog, whose limit is longer than this test; its partitions are free."""
    assert live.settings.stage_timeout_s > PATIENCE_S
    one = SessionProcess(live.settings, "one")
    try:
        ready(live, "one")
        hanging(live, "one")
        one.process.terminate()
        assert end_of(one) == EXIT_CODE
        alive = live.rows("SELECT FROM lalafo.leases WHERE expires_at > clock_timestamp()")
        assert alive == []
    finally:
        one.kill()
