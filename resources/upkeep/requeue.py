"""Publishes the events of received but unscored ads again, rebuilt from rows.

Owns which ads are requeued. The event has the same revision; the commit accepts it because the
ad's status is `received`. The ad and the outbox row change in one transaction, so that no event is
published for an ad that would reject it, and none is queued twice.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import psycopg
from psycopg.rows import class_row

from ops.errors import TEMPORARY_REASONS
from ops.events.serialize import event_json
from ops.types import AdEvent, AdKey, AdStatus, EventKind, PhotoRef
from resources.kafka import outbox
from resources.postgres.database import Database

Cursor = psycopg.Cursor[Any]

GIVE_UP_S = 24 * 3600.0
"""Seconds after which an ad with unreachable photos stays unscored until its next revision."""

_WAITED = "a.updated_at < clock_timestamp() - make_interval(secs => %(retry_s)s)"
_RECEIVED = f"a.status = 'received' AND {_WAITED}"
# A repeated attempt overwrites `received_at`; the first one's timings remain, so they show when
# this revision first arrived.
_UNSCORED = (
    f"a.status = 'unscored' AND {_WAITED} "
    "AND least(a.received_at, (SELECT t.polled_at FROM lalafo.stage_timings AS t WHERE "
    "t.catalog = a.catalog AND t.ad_id = a.ad_id AND t.revision = a.revision)) "
    "> clock_timestamp() - make_interval(secs => %(give_up_s)s) "
    "AND NOT EXISTS (SELECT FROM lalafo.ad_photos AS p WHERE p.catalog = a.catalog "
    "AND p.ad_id = a.ad_id AND (p.reason IS NULL OR p.reason <> ALL(%(temporary)s)))"
)


@dataclass(slots=True)
class Requeued:
    """How many ads were queued to be scored again, by reason."""

    received: int = 0  # received, but never scored
    out_of_reach: int = 0  # all photos failed for temporary reasons
    unreadable: int = 0  # not queued: a photo's reference is not stored, only the seller has it


@dataclass(frozen=True, slots=True)
class _Ad:
    catalog: str
    ad_id: str
    revision: int
    event_id: str
    occurred_at: datetime
    title: str
    description: str
    category: str | None
    price: Decimal | None
    currency: str | None
    attributes: dict[str, float] | None
    seller: str | None
    status: str


@dataclass(frozen=True, slots=True)
class _Photo:
    url: str | None
    sha256: bytes | None
    reason: str | None


def requeue_ads(
    database: Database,
    topic: str,
    *,
    retry_s: float,
    give_up_s: float = GIVE_UP_S,
    limit: int = 1_000,
) -> Requeued:
    """Queue the events of waiting ads in the outbox; the relay publishes them.

    An immediate second call does nothing, since the queued ads have just been updated. Ads that a
    commit has locked are left to the next call.

    Args:
        topic: the topic of ad events.
        retry_s: seconds since the ad's last update before it is queued.
        give_up_s: seconds since its first receipt after which an unscored ad is not retried.
        limit: the maximum number of received ads, and of unscored ads.

    Raises:
        RetryableError: the server is unavailable; nothing is queued.
    """
    values: dict[str, object] = {
        "retry_s": retry_s,
        "give_up_s": give_up_s,
        "temporary": sorted(TEMPORARY_REASONS),
        "limit": limit,
    }
    counts = Requeued()
    with database.cursor() as cursor:
        for condition in (_RECEIVED, _UNSCORED):
            _queue(cursor, _waiting(cursor, condition, values), topic, counts)
    return counts


def _waiting(cursor: Cursor, condition: str, values: dict[str, object]) -> list[_Ad]:
    """Select and lock the ads, so that no commit changes them."""
    with cursor.connection.cursor(row_factory=class_row(_Ad)) as typed:
        typed.execute(
            "SELECT a.catalog, a.ad_id, a.revision, a.event_id, a.occurred_at, a.title, "
            "a.description, a.category, a.price, a.currency, a.attributes, a.seller, a.status "
            "FROM lalafo.ads AS a "
            f"WHERE {condition} ORDER BY a.updated_at, a.catalog, a.ad_id LIMIT %(limit)s "
            "FOR UPDATE OF a SKIP LOCKED",
            values,
        )
        return typed.fetchall()


def _queue(cursor: Cursor, ads: Sequence[_Ad], topic: str, counts: Requeued) -> None:
    photos = _photos(cursor, ads)
    queued: list[AdKey] = []
    for ad in ads:
        key = AdKey(ad.catalog, ad.ad_id)
        if ad.status == AdStatus.UNSCORED and not _out_of_reach(photos[key]):
            continue  # a commit changed it between the selection and the lock
        if any(photo.url is None and photo.sha256 is None for photo in photos[key]):
            counts.unreadable += 1
            continue
        value = event_json(_event(ad, key, photos[key]))
        outbox.put(cursor, topic, str(key).encode(), value)
        queued.append(key)
        counts.received += ad.status == AdStatus.RECEIVED
        counts.out_of_reach += ad.status == AdStatus.UNSCORED
    cursor.execute(
        "UPDATE lalafo.ads AS a SET status = 'received', updated_at = clock_timestamp() "
        "FROM unnest(%s::text[], %s::text[]) AS q (catalog, ad_id) "
        "WHERE a.catalog = q.catalog AND a.ad_id = q.ad_id",
        ([key.catalog for key in queued], [key.ad_id for key in queued]),
    )


def _photos(cursor: Cursor, ads: Sequence[_Ad]) -> dict[AdKey, list[_Photo]]:
    """Each ad's photos in order, read under the ad's lock."""
    cursor.execute(
        "SELECT p.catalog, p.ad_id, p.url, p.sha256, p.reason FROM lalafo.ad_photos AS p "
        "JOIN unnest(%s::text[], %s::text[]) AS q (catalog, ad_id) "
        "ON p.catalog = q.catalog AND p.ad_id = q.ad_id "
        "ORDER BY p.catalog, p.ad_id, p.position",
        ([ad.catalog for ad in ads], [ad.ad_id for ad in ads]),
    )
    found: dict[AdKey, list[_Photo]] = defaultdict(list)
    for catalog, ad_id, *rest in cursor.fetchall():
        found[AdKey(catalog, ad_id)].append(_Photo(*rest))
    return found


def _out_of_reach(photos: Sequence[_Photo]) -> bool:
    return len(photos) > 0 and all(photo.reason in TEMPORARY_REASONS for photo in photos)


def _event(ad: _Ad, key: AdKey, photos: Sequence[_Photo]) -> AdEvent:
    """Rebuild the event from its rows. A photo with a URL is fetched again."""
    return AdEvent(
        key=key,
        kind=EventKind.UPSERTED,
        event_id=ad.event_id,
        revision=ad.revision,
        occurred_at=ad.occurred_at.astimezone(UTC),
        title=ad.title,
        description=ad.description,
        category=ad.category,
        price=ad.price,
        currency=ad.currency,
        attributes=ad.attributes or {},
        seller=ad.seller,
        photos=tuple(
            PhotoRef(url=photo.url) if photo.url is not None else PhotoRef(sha256=photo.sha256)
            for photo in photos
        ),
    )
