"""Checks that every published ad is stored, exactly once, and scored.

Defines which ads count as lost and as doubled. It reads the tables, and does not rely on what a
session reports.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from lalafo_assets.bench.harness.ads import REVISION, PlannedAd
from lalafo_assets.bench.harness.figures import AdTiming
from resources.postgres.database import Database


@dataclass(frozen=True, slots=True)
class StoredAds:
    """The rows of one catalog, counted by ad."""

    ads: Mapping[str, tuple[int, str]]  # revision and status, by ad id
    photos: Counter[str] = field(default_factory=Counter)  # photo rows with a SHA-256, by ad id
    without_photo: Counter[str] = field(default_factory=Counter)  # photo rows without one
    predictions: Counter[str] = field(default_factory=Counter)  # of the live release, by ad id


@dataclass(frozen=True, slots=True)
class Verdict:
    """The ads that are lost or doubled, each with its reason; empty if there are none."""

    lost: Mapping[str, str]  # by ad id
    doubled: Mapping[str, str]


def judge(sent: Sequence[PlannedAd], stored: StoredAds, *, tasks: int) -> Verdict:
    """Compare the sent ads with the stored ones.

    Lost: no row, another revision, not scored, a photo or a prediction missing. Doubled: a row
    of an ad that was not sent, or more photos or predictions than it should have.

    Args:
        tasks: predictions that each ad must have.
    """
    lost: dict[str, str] = {}
    doubled: dict[str, str] = {}
    for ad in sent:
        reason = _missing(ad, stored, tasks)
        if reason is not None:
            lost[ad.ad_id] = reason
        photos = stored.photos[ad.ad_id] + stored.without_photo[ad.ad_id]
        if photos > len(ad.photos):
            doubled[ad.ad_id] = f"{photos} photos, {len(ad.photos)} were sent"
        elif stored.predictions[ad.ad_id] > tasks:
            doubled[ad.ad_id] = f"{stored.predictions[ad.ad_id]} predictions for {tasks} tasks"
    sent_ids = {ad.ad_id for ad in sent}
    stored_ids = {*stored.ads, *stored.photos, *stored.without_photo, *stored.predictions}
    doubled.update(dict.fromkeys(stored_ids - sent_ids, "was never sent"))
    return Verdict(lost, doubled)


def _missing(ad: PlannedAd, stored: StoredAds, tasks: int) -> str | None:
    if ad.ad_id not in stored.ads:
        return "no row"
    revision, status = stored.ads[ad.ad_id]
    if revision != REVISION:
        return f"revision {revision}, {REVISION} was sent"
    if status != "scored":
        return f"its status is {status}"
    if stored.photos[ad.ad_id] < len(ad.photos):
        return f"{stored.photos[ad.ad_id]} photos of {len(ad.photos)}"
    if stored.predictions[ad.ad_id] < tasks:
        return f"{stored.predictions[ad.ad_id]} predictions for {tasks} tasks"
    return None


def read_stored_ads(database: Database, catalog: str, release: str) -> StoredAds:
    """Read the rows of a catalog, with the predictions of one release."""
    with database.cursor() as cursor:
        cursor.execute(
            "SELECT ad_id, revision, status FROM lalafo.ads WHERE catalog = %s", (catalog,)
        )
        ads = {ad_id: (revision, status) for ad_id, revision, status in cursor.fetchall()}
        cursor.execute(
            "SELECT ad_id, count(sha256), count(*) - count(sha256) FROM lalafo.ad_photos "
            "WHERE catalog = %s GROUP BY ad_id",
            (catalog,),
        )
        photo_counts = cursor.fetchall()
        cursor.execute(
            "SELECT ad_id, count(*) FROM lalafo.predictions "
            "WHERE catalog = %s AND release = %s GROUP BY ad_id",
            (catalog, release),
        )
        predictions = Counter(dict(cursor.fetchall()))
    return StoredAds(
        ads,
        Counter({ad_id: photos for ad_id, photos, _ in photo_counts if photos}),
        Counter({ad_id: without for ad_id, _, without in photo_counts if without}),
        predictions,
    )


def read_timings(database: Database, catalog: str, sent: Sequence[PlannedAd]) -> list[AdTiming]:
    """Read every ad's times as its session wrote them, in the order of sending."""
    photos = {ad.ad_id: len(ad.photos) for ad in sent}
    with database.cursor() as cursor:
        cursor.execute(
            "SELECT ad_id, run_id, kafka_at, polled_at, committed_at, fetch_ms, photos_ms, "
            "queued_ms, embed_ms, predict_ms FROM lalafo.stage_timings "
            "WHERE catalog = %s AND revision = %s ORDER BY kafka_at",
            (catalog, REVISION),
        )
        return [_timing(*row, photos=photos.get(row[0], 0)) for row in cursor.fetchall()]


def _timing(
    ad_id: str,
    run_id: str,
    kafka_at: datetime,
    polled_at: datetime,
    committed_at: datetime | None,
    *work_ms: float,
    photos: int,
) -> AdTiming:
    names = ("fetch", "photos", "queued", "embed", "predict")
    stages = dict(zip(names, work_ms, strict=True))
    stages["kafka_to_poll"] = (polled_at - kafka_at).total_seconds() * 1000
    if committed_at is not None:
        whole = (committed_at - kafka_at).total_seconds() * 1000
        stages["commit_and_waits"] = whole - sum(stages.values())
    at = None if committed_at is None else committed_at.timestamp()
    return AdTiming(ad_id, photos, kafka_at.timestamp(), at, run_id, stages)
