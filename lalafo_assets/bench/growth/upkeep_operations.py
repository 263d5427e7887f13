"""The operations on releases, and the duties of upkeep with a fixed number of due items each."""

import hashlib
from collections.abc import Iterator
from datetime import UTC, datetime

from lalafo_assets.bench.gateway.fill import ad_id
from lalafo_assets.bench.gateway.wrk_requests import CATALOG
from lalafo_assets.bench.growth.fill import CANDIDATE, LIVE
from lalafo_assets.bench.growth.operations import Operation, Place, numbers
from resources.releases.coverage import close_complete_days, unscored_days
from resources.releases.promotion import promote, propose, rollback
from resources.releases.registry import find_release, write_verdict
from resources.settings import changed_settings
from resources.upkeep.photos import sweep_photos
from resources.upkeep.releases import remove_superseded
from resources.upkeep.requeue import requeue_ads
from resources.upkeep.rows import delete_old_rows, delete_old_uploads

DUE = 100
"""Rows, and photos, that each call of a duty finds due."""

REQUEUED = 20
_SCORED_TOPIC = "ads.scored"
_KEEP_DAYS = 40  # longer than the month that the ads cover
_KEEP_FAILURES_DAYS = 15  # a photo's failure stays with its ad: half of them are older than that


def release_operations(place: Place) -> Iterator[Operation]:
    """Propose a release that has scored every ad, check the days, promote it, and roll it back.

    Every day is complete before `promote` is timed.
    """
    database = place.database
    write_verdict(database, CANDIDATE, {"passed": True, "against": LIVE, "why": []})
    yield Operation("propose", lambda _: propose(database, CANDIDATE), lambda _: _reset(place))
    release = find_release(database, CANDIDATE)
    with database.cursor() as cursor:
        days = unscored_days(cursor, CANDIDATE)
    middle = days[len(days) // 2]
    yield Operation(
        "close_a_day", lambda _: close_complete_days(database, release, [middle]), times=5, warm=1
    )
    for day in days:
        (state,) = close_complete_days(database, release, [day])
        assert state.complete, f"{state}: the fill left something out"
    yield Operation(
        "promote",
        lambda _: promote(database, CANDIDATE, scored_topic=_SCORED_TOPIC),
        lambda _: _reset(place, candidate=CANDIDATE),
    )
    yield Operation("rollback", lambda _: rollback(database, scored_topic=_SCORED_TOPIC))
    _reset(place)


def _reset(place: Place, candidate: str | None = None) -> None:
    place.execute(
        "UPDATE lalafo.active_releases SET live = %s, candidate = %s, previous = NULL",
        (LIVE, candidate),
    )
    place.execute("DELETE FROM lalafo.outbox")


def upkeep_operations(place: Place) -> Iterator[Operation]:
    """The duties of the job `upkeep` that use PostgreSQL."""
    database = place.database
    settings = changed_settings(
        {
            "keep_timings_days": _KEEP_DAYS,
            "keep_uploads_days": _KEEP_DAYS,
            "keep_failures_days": _KEEP_FAILURES_DAYS,
        }
    )
    yield Operation(
        "upkeep_rows",
        lambda _: delete_old_rows(database, settings),
        lambda number: _add_old_rows(place, number),
        times=11,
    )
    yield Operation(
        "upkeep_photos",
        lambda _: sweep_photos(database, place.store, orphaned_s=0),
        lambda number: _add_orphans(place, number),
        times=11,
    )
    yield Operation(
        "upkeep_uploads",
        lambda _: delete_old_uploads(database, place.store, settings),
        lambda number: _add_uploads(place, number),
        times=11,
    )
    yield Operation("upkeep_releases", lambda _: remove_superseded(database, keep_days=7.0))
    ids = [ad_id(number) for number in numbers(place.ads, 10)]
    yield Operation(
        "upkeep_requeue",
        lambda _: requeue_ads(database, "ads", retry_s=900),
        lambda number: _wait(place, ids[number * REQUEUED : (number + 1) * REQUEUED]),
        times=11,
    )


def _add_old_rows(place: Place, number: int) -> None:
    """Timings and dead letters beyond their retention time."""
    place.execute(
        "INSERT INTO lalafo.failures (kind, subject, reason, detail, day, stream_id, topic, "
        "partition, \"offset\", run_id, failed_at) SELECT 'event', 'old/' || n, 'event_not_json', "
        "'not JSON', (now() - %s * interval '1 day')::date, 'bench', 'ads', 0, n, 'bench', "
        "now() - %s * interval '1 day' FROM generate_series(%s::int, %s::int) AS n",
        (_KEEP_DAYS + 2, _KEEP_DAYS + 2, number * DUE, (number + 1) * DUE - 1),
    )
    place.execute(
        "INSERT INTO lalafo.stage_timings (catalog, ad_id, revision, day, run_id, kafka_at, "
        "polled_at, photos_ms, queued_ms, embed_ms, predict_ms) "
        "SELECT %s, 'old-' || n, 1, (now() - %s * interval '1 day')::date, 'bench', now(), "
        "now() - %s * interval '1 day', 9, 3, 20, 1 FROM generate_series(%s::int, %s::int) AS n",
        (CATALOG, _KEEP_DAYS + 2, _KEEP_DAYS + 2, number * DUE, (number + 1) * DUE - 1),
    )


def _add_orphans(place: Place, number: int) -> None:
    data = [f"orphan {number} {n}".encode() for n in range(DUE)]
    digests = [hashlib.sha256(one).digest() for one in data]
    for digest, one in zip(digests, data, strict=True):
        place.store.put("renditions", digest, one)
    place.execute(
        "INSERT INTO lalafo.photos (sha256, rendition_sha256, rendition_bytes, width, height, "
        "source_format, source_width, source_height, source_bytes, run_id) SELECT d, d, 30000, "
        "400, 533, 'jpeg', 400, 533, 30000, 'bench' FROM unnest(%b::bytea[]) AS d",
        (digests,),
    )
    place.execute(
        "INSERT INTO lalafo.orphaned_photos (sha256) SELECT unnest(%b::bytea[])", (digests,)
    )


def _add_uploads(place: Place, number: int) -> None:
    digests = [hashlib.sha256(f"upload {number} {n}".encode()).digest() for n in range(DUE)]
    place.execute(
        "INSERT INTO lalafo.uploads (sha256, bytes, uploaded_by, uploaded_at) "
        "SELECT d, 1000, 'bench', now() - %s * interval '1 day' FROM unnest(%b::bytea[]) AS d",
        (_KEEP_DAYS + 1, digests),
    )


def _wait(place: Place, ids: list[str]) -> None:
    """Make these ads wait to be scored, as after an outage of the sellers' photo hosts."""
    place.execute("DELETE FROM lalafo.outbox")
    place.execute(
        "UPDATE lalafo.ads SET status = 'received', updated_at = %s "
        "WHERE catalog = %s AND ad_id = ANY(%s)",
        (datetime(2000, 1, 1, tzinfo=UTC), CATALOG, ids),
    )
