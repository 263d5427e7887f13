"""The work after a commit: announcements on `ads.scored`, commit times, offsets for lag tools.

Each test commits through the real writer, and checks the topic and the tables.
"""

import json
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import psycopg
import pytest
from structlog.testing import capture_logs

from ops.errors import RetryableError
from ops.outcomes import Batch, CommitResult
from resources.embedded.broker import EmbeddedBroker
from resources.kafka.topics import AdStream, StreamPublisher
from resources.postgres.database import Database
from resources.sessions.commits import after_commit
from resources.sessions.commits.after_commit import AfterCommit
from resources.sessions.commits.commit import Holder, ResultWriter
from resources.sessions.group.leases import Leases
from resources.sessions.minutes import MinuteTally
from tests.conftest import BrokerUnderTest, connect_args
from tests.support.batches import NOON, batch, dead_letter, event, outcome, put_test_release
from tests.support.topic_records import everything_on
from tests.support.working_sessions import until


class Committer:
    """A session that commits ads and returns each commit, to be passed to AfterCommit."""

    def __init__(self, database: Database, connection: psycopg.Connection, stream: AdStream):
        put_test_release(database)
        self.epochs = Leases("stream-1", "ads", "run-1", 60).acquire(connection, [0])
        holder = Holder("run-1", "stream-1", "ads", stream.config.scored_topic)
        self.results = ResultWriter(database, holder)
        self.offset = 0

    def commit(
        self, *ad_ids: str, revision: int = 1, photos: int = 1, letters: int = 0
    ) -> tuple[Batch, CommitResult]:
        ads = []
        for ad_id in ad_ids:
            ads.append(outcome(event(ad_id, revision, photos), offset=self.offset))
            self.offset += 1
        dead = tuple(dead_letter(self.offset + n) for n in range(letters))
        self.offset += letters
        committed = batch(*ads, letters=dead)
        return committed, self.results.commit(committed, self.epochs)


@pytest.fixture
def connection(database: Database) -> Iterator[psycopg.Connection]:
    url = connect_args(database.url.render_as_string())
    with psycopg.connect(**url, autocommit=True) as opened:
        yield opened


@pytest.fixture
def stream(broker: BrokerUnderTest) -> Iterator[AdStream]:
    with AdStream.from_settings(broker.settings()) as stream:
        stream.ensure_topics(partitions=2)
        yield stream


@pytest.fixture
def committer(database: Database, connection: psycopg.Connection, stream: AdStream) -> Committer:
    return Committer(database, connection, stream)


def pending(database: Database) -> int:
    with database.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM lalafo.outbox")
        return cursor.fetchall()[0][0]


def timed(database: Database) -> dict[tuple[str, int], object]:
    """The commit time of each ad, by ad and revision."""
    with database.cursor() as cursor:
        cursor.execute("SELECT ad_id, revision, committed_at FROM lalafo.stage_timings")
        return {(ad_id, revision): at for ad_id, revision, at in cursor.fetchall()}


def announced(stream: AdStream) -> list[tuple[bytes | None, int]]:
    """Key and revision of every event on `ads.scored`."""
    records = everything_on(stream, stream.config.scored_topic)
    return [(record.key, json.loads(record.value or b"")["revision"]) for record in records]


def test_what_was_committed_is_announced_once_and_timed(
    database: Database, stream: AdStream, committer: Committer
) -> None:
    """While the session runs: published, deleted from the outbox, and the commit time written."""
    with (
        stream.publisher() as publisher,
        AfterCommit(database, stream, publisher, run_id="run-1") as after,
    ):
        commits = [committer.commit("1", "2"), committer.commit("3"), committer.commit("1")]
        commits.append(committer.commit("1", revision=2))
        for committed, result in commits:
            after.committed(committed, result)
        until(lambda: pending(database) == 0)
        until(lambda: None not in timed(database).values())
    assert sorted(announced(stream)) == [(b"kg/1", 1), (b"kg/1", 2), (b"kg/2", 1), (b"kg/3", 1)]
    seen = [result.committed_at for _, result in commits]
    assert timed(database) == {
        ("1", 1): seen[0],
        ("2", 1): seen[0],
        ("3", 1): seen[1],
        ("1", 2): seen[3],
    }


def test_a_session_that_ends_leaves_nothing_pending(
    database: Database, stream: AdStream, committer: Committer
) -> None:
    """The last commits are announced before the session ends."""
    with stream.publisher() as publisher:
        with AfterCommit(database, stream, publisher, run_id="run-1") as after:
            for n in range(30):
                after.committed(*committer.commit(str(n)))
        assert pending(database) == 0
    assert sorted(announced(stream)) == sorted((f"kg/{n}".encode(), 1) for n in range(30))


def test_pending_records_of_a_dead_session_are_announced_by_the_next(
    database: Database, stream: AdStream, committer: Committer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It committed and was killed before it could announce: the records are in the outbox."""
    monkeypatch.setattr(after_commit, "LEFT_BEHIND_S", 0.0)
    committer.commit("1", "2")
    with stream.publisher() as publisher, AfterCommit(database, stream, publisher, run_id="run-1"):
        until(lambda: pending(database) == 0)
    assert sorted(announced(stream)) == [(b"kg/1", 1), (b"kg/2", 1)]


def test_commits_beyond_the_queue_are_announced_by_the_relay(
    database: Database, stream: AdStream, committer: Committer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A slow broker must not grow the session's memory: the relay sends what the outbox has."""
    monkeypatch.setattr(after_commit, "MAX_QUEUED_COMMITS", 0)
    monkeypatch.setattr(after_commit, "LEFT_BEHIND_S", 0.0)
    with (
        stream.publisher() as publisher,
        AfterCommit(database, stream, publisher, run_id="run-1") as after,
    ):
        after.committed(*committer.commit("1"))
        until(lambda: pending(database) == 0)
    assert announced(stream) == [(b"kg/1", 1)]


def test_lag_tools_see_what_is_committed(
    database: Database, stream: AdStream, committer: Committer
) -> None:
    """The group's offsets are written at the latest when the session ends."""
    from kafka import KafkaConsumer, TopicPartition

    with stream.publisher() as publisher:
        publisher.publish(stream.config.ads_topic, None, b"x", partition=0).result(10)
        until(lambda: _coordinator_answers(stream))
        with AfterCommit(database, stream, publisher, run_id="run-1") as after:
            after.committed(*committer.commit("1", "2", "3"))
    tool = KafkaConsumer(
        bootstrap_servers=stream.config.bootstrap,
        api_version=stream.config.api_version,
        group_id=stream.config.group,
        enable_auto_commit=False,
    )
    assert tool.committed(TopicPartition(stream.config.ads_topic, 0)) == 3
    tool.close()


def _coordinator_answers(stream: AdStream) -> bool:
    """A new cluster creates its offsets topic at the first commit."""
    try:
        stream.commit_group_offsets({0: 0})
    except RetryableError:
        return False
    return True


def counts_of(database: Database) -> dict[str, object]:
    """The sums over all minutes, by column; latencies as the number of samples by stage."""
    sums: dict[str, Counter[str]] = defaultdict(Counter)
    with database.cursor() as cursor:
        cursor.execute(
            "SELECT events, photos, statuses, labels, failures, latencies "
            "FROM lalafo.stream_minutes WHERE run_id = 'run-1'"
        )
        for events, photos, statuses, labels, failures, latencies in cursor.fetchall():
            sums["seen"].update({"events": events, "photos": photos})
            sums["statuses"].update(statuses)
            sums["failures"].update(failures)
            for task, counts in labels.items():
                sums[task].update(counts)
            for stage, counts in latencies.items():
                sums["latencies"].update({stage: sum(counts.values())})
    return {name: dict(counts) for name, counts in sums.items()}


STAGES = ("total", "fetch", "photos", "queued", "embed", "predict")


def counts(ads: int, *, photos: int = 1, failed: int = 0, letters: int = 0) -> dict[str, object]:
    """The expected counts after this many scored ads and dead letters."""
    failures = {"fetch_timeout": failed, "event_not_json": letters}
    return {
        "seen": {"events": ads + letters, "photos": ads * photos},
        "statuses": {"scored": ads},
        "category": {"chair": ads},
        "failures": {reason: count for reason, count in failures.items() if count},
        "latencies": dict.fromkeys(STAGES, ads),
    }


def test_the_minutes_count_what_was_committed(
    database: Database, stream: AdStream, committer: Committer
) -> None:
    """While the session runs, also after earlier writes; a replay adds only events and photos."""
    with (
        stream.publisher() as publisher,
        AfterCommit(database, stream, publisher, run_id="run-1") as after,
    ):
        after.committed(*committer.commit("1", "2", photos=2, letters=1))
        expected = counts(2, photos=2, failed=2, letters=1)
        until(lambda: counts_of(database) == expected)
        after.committed(*committer.commit("3", photos=2))
        until(lambda: counts_of(database) == counts(3, photos=2, failed=3, letters=1))
        replayed, result = committer.commit("3")
        assert not result.accepted
        after.committed(replayed, result)
    expected = counts(3, photos=2, failed=3, letters=1)
    expected["seen"] = {"events": 5, "photos": 6}
    assert counts_of(database) == expected


def test_minutes_that_could_not_be_written_are_written_later(
    database: Database, stream: AdStream, committer: Committer
) -> None:
    """And nothing is counted twice."""
    with (
        stream.publisher() as publisher,
        AfterCommit(database, stream, publisher, run_id="run-1") as after,
    ):
        after.committed(*committer.commit("1"))
        until(lambda: counts_of(database) == counts(1))
        rename(database, "stream_minutes", "renamed")
        with capture_logs() as logs:
            after.committed(*committer.commit("2"))
            until(lambda: "session.minutes_crashed" in {line["event"] for line in logs})
        rename(database, "renamed", "stream_minutes")
        until(lambda: counts_of(database) == counts(2))
        after.committed(*committer.commit("3"))
    assert counts_of(database) == counts(3)


def rename(database: Database, table: str, name: str) -> None:
    with database.cursor() as cursor:
        cursor.execute(f"ALTER TABLE lalafo.{table} RENAME TO {name}")


def test_a_run_that_continues_in_another_process_adds_to_its_minutes(
    database: Database, stream: AdStream, committer: Committer
) -> None:
    for n in range(3):
        with (
            stream.publisher() as publisher,
            AfterCommit(database, stream, publisher, run_id="run-1") as after,
        ):
            after.committed(*committer.commit(str(n)))
    assert counts_of(database) == counts(3)


def test_commits_beyond_the_queue_are_counted(
    database: Database, stream: AdStream, committer: Committer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(after_commit, "MAX_QUEUED_COMMITS", 0)
    with (
        stream.publisher() as publisher,
        AfterCommit(database, stream, publisher, run_id="run-1") as after,
    ):
        after.committed(*committer.commit("1", "2"))
    assert counts_of(database) == counts(2)


class ServiceUnavailable:
    """A publisher whose broker is unavailable."""

    def publish(self, *_: object) -> None:
        raise RetryableError("no broker")


def test_commit_times_are_written_though_nothing_can_be_announced(
    database: Database, stream: AdStream, committer: Committer
) -> None:
    """An outage of Kafka does not affect writes to PostgreSQL; the records stay pending."""
    publisher: StreamPublisher = ServiceUnavailable()  # type: ignore[assignment]
    with AfterCommit(database, stream, publisher, run_id="run-1") as after:
        after.committed(*committer.commit("1"))
        until(lambda: None not in timed(database).values())
    assert pending(database) == 1


def test_an_unavailable_broker_loses_no_announcement(
    database: Database,
    connection: psycopg.Connection,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It stops before the announcement: the rows stay, and a later relay publishes them."""
    monkeypatch.setattr(after_commit, "_ACKNOWLEDGED_WITHIN_S", 0.5)
    server = EmbeddedBroker(tmp_path)
    server.start()
    settings = BrokerUnderTest("embedded", server.exports()).settings()
    stream = AdStream.from_settings(settings)
    stream.ensure_topics()
    committer = Committer(database, connection, stream)
    publisher = stream.publisher()
    publisher.publish(stream.config.scored_topic, b"kg/0", b'{"revision": 0}').result(10)
    server.stop()
    with AfterCommit(database, stream, publisher, run_id="run-1") as after:
        after.committed(*committer.commit("1", "2"))
    assert pending(database) == 2
    with pytest.raises(RetryableError, match="before closing"):
        publisher.close(0.1)
    stream.close()
    server.start()
    again = BrokerUnderTest("embedded", server.exports()).settings(ads_topic=settings.ads_topic)
    monkeypatch.setattr(after_commit, "LEFT_BEHIND_S", 0.0)
    with AdStream.from_settings(again) as stream:
        stream.ensure_topics()
        with (
            stream.publisher() as publisher,
            AfterCommit(database, stream, publisher, run_id="run-1"),
        ):
            until(lambda: pending(database) == 0)
        assert sorted(announced(stream)) == [(b"kg/1", 1), (b"kg/2", 1)]
    server.stop()


def test_a_commit_that_can_not_be_announced_holds_up_no_other(
    database: Database, stream: AdStream, committer: Committer
) -> None:
    """An exception that nobody expects is that commit's alone; its records stay in the outbox."""
    commits = [committer.commit("1"), committer.commit("2"), committer.commit("3")]
    poisoned, result = commits[1]
    commits[1] = (poisoned, replace(result, messages=(replace(result.messages[0], value=7),)))
    with stream.publisher() as publisher:
        with capture_logs() as logs, AfterCommit(database, stream, publisher, run_id="r") as after:
            for committed in commits:
                after.committed(*committed)
        assert set(announced(stream)) == {(b"kg/1", 1), (b"kg/3", 1)}
        assert pending(database) == 1
    (line,) = [line for line in logs if line["event"] == "session.publishing_crashed"]
    assert line["error"].startswith("TypeError in ") and line["offsets"] == [(0, 1)]


def test_a_minute_that_the_database_rejects_holds_up_no_other(database: Database) -> None:
    """A label that is no text for PostgreSQL costs its own minute."""
    minutes = MinuteTally(database, "run-1")
    for number, label in enumerate(["chair", "a\x00b", "lamp"]):
        of = batch(outcome(event(str(number)), offset=number, label=label))
        day = {ad.event.key: ad.receipt.day for ad in of.ads}
        minutes.add(of, CommitResult(day, NOON + timedelta(minutes=number)))
    with capture_logs() as logs:
        minutes.write()
        minutes.write()
    with database.cursor() as cursor:
        cursor.execute("SELECT minute FROM lalafo.stream_minutes ORDER BY 1")
        assert cursor.fetchall() == [(NOON,), (NOON + timedelta(minutes=2),)]
    assert [line["event"] for line in logs] == ["session.minute_rejected"]
