"""The events of received but unscored ads are published again, each once."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import psycopg
import pytest

from ops.errors import Reason
from ops.events.parse import EventLimits, parse_event
from ops.types import AdEvent, PhotoRef, StreamRecord
from resources.postgres.database import Database
from resources.upkeep.requeue import Requeued, requeue_ads
from tests.conftest import connect_args
from tests.support.batches import event, rendition, sha

RETRY_S = 900.0
HALF_AN_HOUR = timedelta(minutes=30)
TIMEOUT = Reason.FETCH_TIMEOUT.value


def write(
    database: Database,
    of: AdEvent,
    status: str,
    reasons: Sequence[str | None],
    *,
    updated: timedelta = HALF_AN_HOUR,
    received: timedelta = HALF_AN_HOUR,
    first_polled: timedelta | None = None,
) -> AdEvent:
    """Write an ad's rows as a commit does; a photo without a reason is stored."""
    with database.cursor() as cursor:
        cursor.execute(
            "INSERT INTO lalafo.ads (catalog, ad_id, revision, day, status, title, description, "
            "category, price, currency, event_id, occurred_at, kafka_at, received_at, stream_id, "
            'topic, partition, "offset", run_id, updated_at) VALUES (%s, %s, %s, now(), %s, %s, '
            "%s, %s, %s, %s, %s, %s, now(), now() - %s, 's', 'ads', 0, 0, 'r', now() - %s)",
            (
                *(of.key.catalog, of.key.ad_id, of.revision, status, of.title, of.description),
                *(of.category, of.price, of.currency, of.event_id, of.occurred_at),
                *(received, updated),
            ),
        )
        for position, (ref, reason) in enumerate(zip(of.photos, reasons, strict=True)):
            photo = None if reason is not None else ref.sha256 or sha(str(ref.url))
            if photo is not None:
                cursor.execute(
                    "INSERT INTO lalafo.photos (sha256, rendition_sha256, rendition_bytes, width, "
                    "height, source_format, source_width, source_height, source_bytes, run_id) "
                    "VALUES (%s, %s, 1, 1, 1, 'jpeg', 1, 1, 1, 'r') ON CONFLICT DO NOTHING",
                    (photo, rendition(photo).sha256),
                )
            cursor.execute(
                "INSERT INTO lalafo.ad_photos VALUES (%s, %s, %s, %s, %s, %s, %s, 'r')",
                (*(of.key.catalog, of.key.ad_id, position, ref.url, photo), reason, of.revision),
            )
        if first_polled is not None:
            cursor.execute(
                "INSERT INTO lalafo.stage_timings (catalog, ad_id, revision, day, run_id, "
                "kafka_at, polled_at, photos_ms, embed_ms, predict_ms) "
                "VALUES (%s, %s, %s, now(), 'r', now(), now() - %s, 0, 0, 0)",
                (of.key.catalog, of.key.ad_id, of.revision, first_polled),
            )
    return of


def queued(database: Database) -> list[AdEvent]:
    """The pending events of the outbox, parsed as a session does."""
    with database.cursor() as cursor:
        cursor.execute("SELECT topic, key, value FROM lalafo.outbox ORDER BY id")
        rows = cursor.fetchall()
    assert {topic for topic, _, _ in rows} <= {"ads"}
    return [
        parse_event(StreamRecord("ads", 0, 0, 0, key, value), EventLimits())
        for _, key, value in rows
    ]


def statuses(database: Database) -> dict[str, str]:
    with database.cursor() as cursor:
        cursor.execute("SELECT ad_id, status FROM lalafo.ads")
        return dict(cursor.fetchall())


def requeue(database: Database) -> Requeued:
    return requeue_ads(database, "ads", retry_s=RETRY_S)


def full(ad_id: str, *photos: PhotoRef) -> AdEvent:
    """An event with something in every field."""
    return replace(
        event(ad_id, revision=2**63 - 1),
        title='a "title" ü 🙂',
        description="line\nline\\",
        price=Decimal("999999999999999.99"),
        currency="KGS",
        occurred_at=datetime(2026, 5, 1, 12, 0, 0, 123456, tzinfo=UTC),
        photos=photos,
    )


def test_the_rebuilt_event_is_the_original(database: Database) -> None:
    """Every field, photos by URL and by SHA-256, in their order; the same revision."""
    original = full(
        "1", PhotoRef(url="https://p/1.jpg"), PhotoRef(sha256=sha("x")), PhotoRef(url="")
    )
    write(database, original, "received", [None, None, TIMEOUT])
    minimal = write(database, event("2", photos=0, category=None), "received", [])
    assert requeue(database) == Requeued(received=2)
    assert queued(database) == [original, minimal]
    assert statuses(database) == {"1": "received", "2": "received"}


def test_ads_with_unreachable_photos_are_requeued(database: Database) -> None:
    """All photos failed for temporary reasons: queued, with status `received`."""
    of = write(
        database,
        event("1", photos=3),
        "unscored",
        [TIMEOUT, Reason.FETCH_UNREACHABLE.value, Reason.FETCH_HTTP_ERROR.value],
    )
    assert requeue(database) == Requeued(out_of_reach=1)
    assert queued(database) == [of]
    assert statuses(database) == {"1": "received"}


def test_an_immediate_second_call_queues_nothing(database: Database) -> None:
    """The queued ads have just been updated; after the wait they are queued again."""
    write(database, event("1"), "received", [None])
    write(database, event("2"), "unscored", [TIMEOUT])
    assert requeue(database) == Requeued(received=1, out_of_reach=1)
    for _ in range(2):
        assert requeue(database) == Requeued()
    assert len(queued(database)) == 2
    with database.cursor() as cursor:
        cursor.execute("UPDATE lalafo.ads SET updated_at = now() - interval '16 minutes'")
    assert requeue(database) == Requeued(received=2)


@pytest.mark.parametrize(
    ("status", "reasons"),
    [
        ("scored", [None]),
        ("scored", [None, TIMEOUT]),
        ("deleted", []),
        ("no_photos", []),
        ("unscored", []),
        ("unscored", [Reason.FETCH_NOT_FOUND.value]),
        ("unscored", [TIMEOUT, Reason.PHOTO_BROKEN.value]),
    ],
)
def test_ads_with_a_permanent_outcome_are_not_requeued(
    database: Database, status: str, reasons: list[str | None]
) -> None:
    """Scored ads, tombstones, and photos with permanent failures."""
    write(database, event("1", photos=len(reasons)), status, reasons)
    assert requeue(database) == Requeued()
    assert statuses(database) == {"1": status}


def test_recent_ads_wait_and_old_ones_are_given_up(database: Database) -> None:
    """An ad is not requeued before the wait is over, and an unscored ad not after a day."""
    soon = timedelta(minutes=14)
    day = timedelta(hours=25)
    write(database, event("1"), "received", [None], updated=soon)
    write(database, event("2"), "unscored", [TIMEOUT], updated=soon)
    write(database, event("3"), "unscored", [TIMEOUT], received=day)
    write(database, event("4"), "received", [None], received=day)
    assert requeue(database) == Requeued(received=1)
    assert [of.key.ad_id for of in queued(database)] == ["4"]


def test_attempts_do_not_extend_the_time_limit(database: Database) -> None:
    """Each attempt has a new receipt; the first timings show when the revision arrived."""
    write(database, event("1"), "unscored", [TIMEOUT], first_polled=timedelta(hours=25))
    write(database, event("2"), "unscored", [TIMEOUT], first_polled=timedelta(hours=23))
    assert requeue(database) == Requeued(out_of_reach=1)
    assert [of.key.ad_id for of in queued(database)] == ["2"]


def test_a_reference_that_was_not_stored_is_counted(database: Database) -> None:
    """An unknown SHA-256 leaves neither URL nor digest: the ad can't be queued without it."""
    of = event("1", photos=2)
    write(
        database,
        event("1", photos=0, event_id=of.event_id),
        "received",
        [],
    )
    with database.cursor() as cursor:
        cursor.execute(
            "INSERT INTO lalafo.ad_photos VALUES "
            "('kg', '1', 0, NULL, NULL, 'fetch_unknown_sha256', 1, 'r')"
        )
    assert requeue(database) == Requeued(unreadable=1)
    assert queued(database) == []


def test_an_ad_under_a_commits_lock_is_left_to_the_next_call(database: Database) -> None:
    """The call does not wait; the other ads are queued."""
    write(database, event("1"), "received", [None])
    write(database, event("2"), "received", [None])
    with psycopg.connect(**connect_args(database.url.render_as_string())) as session:
        session.execute("SELECT FROM lalafo.ads WHERE ad_id = '1' FOR UPDATE")
        assert requeue(database) == Requeued(received=1)
        session.rollback()
    assert requeue(database) == Requeued(received=1)
    assert sorted(of.key.ad_id for of in queued(database)) == ["1", "2"]
