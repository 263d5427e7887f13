"""Whether every ad that was published is held, once, and scored.

Decides what counts as lost and as doubled; what is held comes from the tables themselves, never
from what a session says of itself.
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
    """What the tables hold of one catalog."""

    ads: Mapping[str, tuple[int, str]]  # revision and status, by ad id
    photos: Counter[str] = field(default_factory=Counter)  # rows with a photo, by ad id
    without_photo: Counter[str] = field(default_factory=Counter)  # rows with a reason instead
    predictions: Counter[str] = field(default_factory=Counter)  # of the live release, by ad id


@dataclass(frozen=True, slots=True)
class Verdict:
    """What is wrong, each with its reason; empty where all is right."""

    lost: Mapping[str, str]  # by ad id
    doubled: Mapping[str, str]


def judge(sent: Sequence[PlannedAd], held: StoredAds, *, tasks: int) -> Verdict:
    """Compare what was sent with what is held.

    Lost: no row, another revision, not scored, a photo or a prediction missing. Doubled: a row
    of an ad that was not sent, or more photos or predictions than it should have.

    Args:
        tasks: predictions that each ad must have.
    """
    lost: dict[str, str] = {}
    doubled: dict[str, str] = {}
    for ad in sent:
        why = _missing(ad, held, tasks)
        if why is not None:
            lost[ad.ad_id] = why
        photos = held.photos[ad.ad_id] + held.without_photo[ad.ad_id]
        if photos > len(ad.photos):
            doubled[ad.ad_id] = f"{photos} photos, {len(ad.photos)} were sent"
        elif held.predictions[ad.ad_id] > tasks:
            doubled[ad.ad_id] = f"{held.predictions[ad.ad_id]} predictions for {tasks} tasks"
    known = {ad.ad_id for ad in sent}
    of_any = {*held.ads, *held.photos, *held.without_photo, *held.predictions}
    doubled.update(dict.fromkeys(of_any - known, "was never sent"))
    return Verdict(lost, doubled)


def _missing(ad: PlannedAd, held: StoredAds, tasks: int) -> str | None:
    if ad.ad_id not in held.ads:
        return "no row"
    revision, status = held.ads[ad.ad_id]
    if revision != REVISION:
        return f"revision {revision}, {REVISION} was sent"
    if status != "scored":
        return f"its status is {status}"
    if held.photos[ad.ad_id] < len(ad.photos):
        return f"{held.photos[ad.ad_id]} photos of {len(ad.photos)}"
    if held.predictions[ad.ad_id] < tasks:
        return f"{held.predictions[ad.ad_id]} predictions for {tasks} tasks"
    return None


def read_stored_ads(database: Database, catalog: str, release: str) -> StoredAds:
    """What the tables hold of a catalog, with the predictions of one release."""
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
        counted = cursor.fetchall()
        cursor.execute(
            "SELECT ad_id, count(*) FROM lalafo.predictions "
            "WHERE catalog = %s AND release = %s GROUP BY ad_id",
            (catalog, release),
        )
        predictions = Counter(dict(cursor.fetchall()))
    return StoredAds(
        ads,
        Counter({ad_id: photos for ad_id, photos, _ in counted if photos}),
        Counter({ad_id: none for ad_id, _, none in counted if none}),
        predictions,
    )


def read_timings(database: Database, catalog: str, sent: Sequence[PlannedAd]) -> list[AdTiming]:
    """Every ad's times as its session wrote them, in the order of sending."""
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
