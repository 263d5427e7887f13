"""Accepted ads that the topic has lost are published again, and no others."""

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime

import psycopg
import pytest

from ops.errors import Reason
from ops.events.parse import EventLimits, parse_event
from ops.events.serialize import event_json
from ops.session.admission import AdWork, Ownership
from ops.session.careful import quarantine
from ops.session.stages.commit import _letter
from ops.session.state import FailedWork
from ops.types import AdEvent, EventKind, Failure, PhotoRef, StreamRecord
from resources.postgres.database import Database
from resources.sessions.commits.commit import Holder, ResultWriter
from resources.sessions.group.leases import Leases
from resources.upkeep import lost_ads
from resources.upkeep.lost_ads import LostAds, TopicEnds
from tests.conftest import connect_args
from tests.integration.resources.upkeep.test_requeue import queued, write
from tests.support import batches
from tests.support.batches import event, put_test_release, sha

DONE = TopicEnds("s", {0: 0, 1: 0}, {0: 0, 1: 0})
"""An empty log: everything that was on it is processed."""


def accept(database: Database, of: AdEvent, *, minutes_ago: float = 5) -> AdEvent:
    """Write an accepted ad as the gateway does; its record was acknowledged."""
    with database.cursor() as cursor:
        cursor.execute(
            "INSERT INTO lalafo.accepted_ads "
            "(catalog, ad_id, revision, event, digest, accepted_by, accepted_at) "
            "VALUES (%s, %s, %s, %s::jsonb, '', 'k', now() - make_interval(secs => %s))",
            (
                *(of.key.catalog, of.key.ad_id, of.revision, event_json(of).decode()),
                minutes_ago * 60,
            ),
        )
    return of


def execute(database: Database, statement: str, *values: object) -> None:
    with database.cursor() as cursor:
        cursor.execute(statement, values)


def publish_outbox(database: Database) -> None:
    """Delete the outbox's rows, as the relay does after an acknowledgement."""
    execute(database, "DELETE FROM lalafo.outbox")


def commit_offsets(database: Database, **offsets: int) -> None:
    for partition, offset in offsets.items():
        execute(
            database,
            "INSERT INTO lalafo.stream_offsets (stream_id, topic, partition, next_offset, epoch, "
            "run_id) VALUES ('s', 'ads', %s, %s, 1, 'r') ON CONFLICT (stream_id, topic, partition) "
            "DO UPDATE SET next_offset = excluded.next_offset",
            int(partition.removeprefix("p")),
            offset,
        )


def make_due(database: Database) -> None:
    """Let the time pass until ads that were published again are looked at again."""
    execute(database, "UPDATE lalafo.accepted_ads SET recheck_at = now() WHERE recheck_at > now()")


def log_of(ends: TopicEnds) -> Callable[[], TopicEnds]:
    return lambda: ends


def never() -> TopicEnds:
    raise AssertionError("Kafka was asked, but no ad is missing")


def test_what_the_topic_has_lost_is_published_again_as_it_was(database: Database) -> None:
    """A full ad, one with an uploaded photo, and a deletion come back equal to the first event."""
    full = event("full", photos=2, description='Ünïcode « 😀 \\ " »', price=None, currency=None)
    photos = (PhotoRef(sha256=sha("upload")), PhotoRef(url="https://p.example/a%2Fb.jpg"))
    uploaded = replace(event("uploaded"), photos=photos)
    deleted = AdEvent(
        key=event("gone").key,
        kind=EventKind.DELETED,
        event_id="d",
        revision=2**53 + 1,
        occurred_at=datetime(2026, 5, 1, tzinfo=UTC),
    )
    sent = [accept(database, one) for one in (full, uploaded, deleted)]
    assert LostAds("ads").publish(database, log_of(DONE)) == 3
    assert sorted(queued(database), key=str) == sorted(sent, key=str)
    with database.cursor() as cursor:
        cursor.execute("SELECT sum(length(value)) FROM lalafo.outbox")
        assert cursor.fetchall() == [(sum(len(event_json(one)) for one in sent),)]


@pytest.mark.parametrize(
    "revision_of_the_row, expected", [(4, 1), (5, 0), (6, 0)], ids=["lower", "equal", "higher"]
)
def test_a_committed_ad_is_not_published(
    database: Database, revision_of_the_row: int, expected: int
) -> None:
    """Rows of the same or a higher revision stand for it; those of a lower one don't."""
    accept(database, event("1", revision=5))
    write(database, event("1", revision=revision_of_the_row, photos=0), "scored", [])
    ends = never if expected == 0 else log_of(DONE)
    assert LostAds("ads").publish(database, ends) == expected


def test_a_tombstone_stands_for_the_deletion(database: Database) -> None:
    """A deleted ad's row is a commit like any other."""
    accept(database, event("1", revision=5))
    write(database, event("1", revision=5, photos=0), "deleted", [])
    assert LostAds("ads").publish(database, never) == 0


def test_a_recent_ad_is_left_to_its_session(database: Database) -> None:
    """Nothing is asked of Kafka for ads of the last minute."""
    accept(database, event("1"), minutes_ago=0.5)
    assert LostAds("ads").publish(database, never) == 0


def test_an_ad_behind_a_backlog_is_not_published_again(database: Database) -> None:
    """Only once the offsets pass the ends that the topic had after the ad was seen is it lost."""
    accept(database, event("waits"))
    accept(database, event("lost"))
    lost = LostAds("ads")
    commit_offsets(database, p0=10, p1=3)
    assert lost.publish(database, log_of(TopicEnds("s", {0: 0, 1: 0}, {0: 50, 1: 3}))) == 0
    assert lost.waiting
    commit_offsets(database, p0=49)
    assert lost.publish(database, log_of(TopicEnds("s", {0: 0, 1: 0}, {0: 90, 1: 9}))) == 0
    write(database, event("waits", photos=0), "scored", [])
    commit_offsets(database, p0=50)  # others may have come since: they don't matter
    assert lost.publish(database, log_of(TopicEnds("s", {0: 0, 1: 0}, {0: 99, 1: 9}))) == 1
    assert [one.key.ad_id for one in queued(database)] == ["lost"]


@pytest.mark.parametrize(
    "now",
    [
        TopicEnds("another", {0: 0}, {0: 7}),
        TopicEnds("s", {0: 50}, {0: 50}),
        TopicEnds("s", {0: 0}, {0: 5}),
    ],
    ids=["another log", "deleted by retention", "a log that lost its end"],
)
def test_a_log_that_no_longer_has_the_records(database: Database, now: TopicEnds) -> None:
    """A new log, a short retention and a broker that lost data: the ad is published again."""
    accept(database, event("1"))
    commit_offsets(database, p0=10)
    lost = LostAds("ads")
    assert lost.publish(database, log_of(TopicEnds("s", {0: 0}, {0: 50}))) == 0
    assert lost.publish(database, log_of(now)) == 1


def test_an_ad_in_the_outbox_is_not_lost(database: Database) -> None:
    """Its record was not published yet; what happens to it later is looked at again."""
    accept(database, event("1"))
    execute(
        database,
        "INSERT INTO lalafo.outbox (topic, key, value) VALUES ('ads', 'kg/1', 'the record')",
    )
    lost = LostAds("ads")
    assert lost.publish(database, log_of(DONE)) == 0
    make_due(database)
    publish_outbox(database)
    assert lost.publish(database, log_of(DONE)) == 1


def test_an_ad_is_published_again_less_and_less_often(database: Database) -> None:
    """What is lost again is published again, after twice the time; a new process keeps to it."""
    accept(database, event("1"))
    waits = []
    for _ in range(3):
        assert LostAds("ads", again_s=60).publish(database, log_of(DONE)) == 1
        publish_outbox(database)
        assert LostAds("ads", again_s=60).publish(database, log_of(DONE)) == 0
        with database.cursor() as cursor:
            cursor.execute("SELECT recheck_at - clock_timestamp() FROM lalafo.accepted_ads")
            waits.append(round(cursor.fetchall()[0][0].total_seconds() / 30) * 30)
        make_due(database)
    assert waits == [60, 120, 240]
    write(database, event("1", photos=0), "scored", [])
    assert LostAds("ads").publish(database, never) == 0
    with database.cursor() as cursor:
        cursor.execute("SELECT recheck_at, republished FROM lalafo.accepted_ads")
        assert cursor.fetchall() == [(None, 3)]


@pytest.mark.parametrize("parsed", [True, False])
def test_a_refused_ad_is_not_published_again(database: Database, parsed: bool) -> None:
    """Its dead letter is the answer: it would be refused again. A person may replay it."""
    accept(database, event("1"))
    accept(database, event("2"))
    execute(
        database,
        "INSERT INTO lalafo.failures (kind, subject, reason, detail, day, catalog, ad_id, "
        'original_key, stream_id, topic, partition, "offset", run_id) VALUES '
        "('event', 's/ads/0/1', 'x', '', now(), %s, %s, %s, 's', 'ads', 0, 1, 'r')",
        *(("kg", "1", None) if parsed else (None, None, b"kg/1")),
    )
    assert LostAds("ads").publish(database, log_of(DONE)) == 1
    assert [one.key.ad_id for one in queued(database)] == ["2"]


def commit_letter(database: Database, of: AdEvent, reason: Reason) -> None:
    """Commit the event's record as a dead letter, as the session's stages make them."""
    key = f"{of.key.catalog}/{of.key.ad_id}".encode()
    owner, receipt = Ownership(0, 1), batches.receipt(7)
    record = StreamRecord("ads", 0, 7, 0, key, event_json(of))
    work = AdWork(of, receipt, owner, record)
    letter = (
        quarantine(record, receipt, owner).letter
        if reason is Reason.QUARANTINED
        else _letter(FailedWork(work, Failure(reason, "ValueError in ops.x:1 (f)")))
    )
    assert letter is not None
    put_test_release(database)
    with psycopg.connect(**connect_args(database.url.render_as_string())) as connection:
        epochs = Leases("s", "ads", "r", 60).acquire(connection, [0])
        connection.commit()
        ResultWriter(database, Holder("r", "s", "ads", "ads.scored")).commit(
            batches.batch(letters=(letter,)), epochs
        )


@pytest.mark.parametrize("reason", [Reason.INTERNAL_ERROR, Reason.QUARANTINED])
def test_an_ad_that_sessions_choke_on_is_not_published_in_a_loop(
    database: Database, reason: Reason
) -> None:
    """Its dead letter has the record's key, so it counts as refused; its next revision does not."""
    poisoned = accept(database, event("a/1"))
    assert LostAds("ads").publish(database, log_of(DONE)) == 1
    publish_outbox(database)
    commit_letter(database, poisoned, reason)
    make_due(database)
    for _ in range(3):
        assert LostAds("ads").publish(database, log_of(DONE)) == 0
        make_due(database)
    execute(
        database,
        "UPDATE lalafo.accepted_ads SET revision = 2, accepted_at = now(), recheck_at = NULL",
    )
    assert LostAds("ads", older_than_s=0).publish(database, log_of(DONE)) == 1


def test_many_are_published_in_bounded_batches_once_each(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two processes share them; ads that were accepted at the same moment are not passed over."""
    monkeypatch.setattr(lost_ads, "BATCH_ADS", 7)
    monkeypatch.setattr(lost_ads, "SCAN_ROWS", 10)
    monkeypatch.setattr(lost_ads, "BATCHES", 2)
    value = json.loads(event_json(event("x")))
    execute(
        database,
        "INSERT INTO lalafo.accepted_ads (catalog, ad_id, revision, event, digest, accepted_by, "
        "accepted_at) SELECT 'kg', n::text, 1, %s::jsonb || jsonb_build_object('ad_id', n::text), "
        "'', 'k', now() - interval '1 hour' FROM generate_series(1, 50) AS n",
        json.dumps(value),
    )
    for number in range(1, 51, 3):
        write(database, event(str(number), photos=0), "scored", [])
    looking, counts = (LostAds("ads"), LostAds("ads")), []
    for _ in range(10):
        counts += [one.publish(database, log_of(DONE)) for one in looking]
    assert max(counts) <= 14
    assert all(one.finished for one in looking)
    found = [one.key.ad_id for one in queued(database)]
    assert sorted(found, key=int) == [str(n) for n in range(1, 51) if n % 3 != 1]


def test_an_event_is_read_back_equal(database: Database) -> None:
    """JSON in PostgreSQL keeps what the parser reads, with the largest revision and price."""
    one = accept(database, event("1", revision=2**62, title="\u2028 \x7f", photos=1))
    LostAds("ads").publish(database, log_of(DONE))
    with database.cursor() as cursor:
        cursor.execute("SELECT key, value FROM lalafo.outbox")
        ((key, value),) = cursor.fetchall()
    assert parse_event(StreamRecord("ads", 0, 0, 0, key, value), EventLimits()) == one
