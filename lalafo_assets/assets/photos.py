"""The asset `ad_photos`: the photos of each day's ads, in the store and in PostgreSQL.

The stream fills it. A manual run or a backfill repairs its days: it retries the photos that failed
for a temporary reason, and creates missing thumbnails. It never fetches a photo that is stored.
"""

import asyncio
import hashlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import date, timedelta

import dagster as dg
import numpy as np
import structlog
from numpy.typing import NDArray

from lalafo_assets.reports.failures import plain_failures
from lalafo_assets.reports.metadata import as_metadata, table_metadata
from ops.errors import TEMPORARY_REASONS, BadInputError, StoredObjectError
from ops.photos.rendition import make_thumbnail
from ops.scoring.ads import LoadedPhoto
from ops.tasks import HEADLINE_TASK
from ops.types import PhotoRef
from resources.catalogue.pictures import photo_pictures
from resources.catalogue.stale_photos import Catalogue, FailedPhoto, StoredPhoto
from resources.catalogue.summaries import failure_counts
from resources.dagster.names import ADS_TOPIC, OWNERS
from resources.dagster.partitions import DAYS_A_RUN, days, days_of
from resources.dagster.resources import DatabaseResource, PhotosResource
from resources.photos.loading import PhotoLimits, PhotoLoader, load_photos
from resources.postgres import tables
from resources.postgres.database import Database
from resources.releases.active import read_active_releases
from resources.settings import Settings, load_settings
from resources.storage.photos import PhotoStore

CHUNK = 256
THREADS = 2
log = structlog.get_logger()


ads_topic = dg.AssetSpec(
    key=ADS_TOPIC,
    description=(
        "The Kafka topic of ad events, schema 1, keyed by catalog/ad_id. The marketplace writes "
        "it; the sensor `new_ads` starts sessions that consume it."
    ),
    group_name="stream",
    kinds={"kafka"},
    owners=OWNERS,
)


@dg.asset(
    deps=[ads_topic],
    partitions_def=days,
    group_name="catalogue",
    kinds={"postgres", "pillow"},
    owners=OWNERS,
    code_version="1",
    backfill_policy=DAYS_A_RUN,
    freshness_policy=dg.FreshnessPolicy.time_window(
        warn_window=timedelta(hours=25), fail_window=timedelta(hours=49)
    ),
    metadata=table_metadata(tables.ad_photos),
    description=(
        "The photos of the ads first seen on a day: fetched, checked, and stored as upright JPEG "
        "renditions of at most 640 pixels, identified by SHA-256. Photos that can't be used are "
        "in `lalafo.failures` with a reason."
    ),
)
def ad_photos(
    context: dg.AssetExecutionContext, database: DatabaseResource, photos: PhotosResource
) -> dg.MaterializeResult[None]:
    """Retry the days' photos that failed for a temporary reason, and create thumbnails."""
    with plain_failures(), closing(database.open()) as db:
        store, settings = photos.store(), load_settings()
        covered = days_of(context)
        catalogue = Catalogue(db, run_id=context.run.run_id)
        failed = catalogue.photos_to_retry(covered, [reason.value for reason in TEMPORARY_REASONS])
        loader = _loader(db, store, photos, settings)
        repaired = sum(
            _retry_photo(catalogue, loader, failed[start : start + CHUNK])
            for start in range(0, len(failed), CHUNK)
        )
        context.log.info(f"retried {len(failed)} photos: {repaired} repaired")
        thumbnails = _make_thumbnails(catalogue, store, covered)
        counts = failure_counts(db, covered)
        live = read_active_releases(db).live.name
        pictures = photo_pictures(db, store, covered, release=live, task=HEADLINE_TASK)
        return dg.MaterializeResult(
            metadata={
                "dagster/partition_row_count": counts.photos,
                "photos_failed": counts.failed,
                "failures_by_reason": dg.MetadataValue.json(counts.by_reason),
                "photos_retried": len(failed),
                "photos_repaired": repaired,
                "thumbnails_created": thumbnails,
                **as_metadata(pictures),
            }
        )


def _loader(
    database: Database, store: PhotoStore, photos: PhotosResource, settings: Settings
) -> PhotoLoader:
    return PhotoLoader(
        database=database,
        store=store,
        fetcher=photos.fetcher,
        prepare=_never_prepared,
        limits=PhotoLimits.from_settings(settings),
    )


def _never_prepared(data: bytes, preprocessing: object) -> NDArray[np.uint8]:
    raise AssertionError("photos are loaded without preparing them for a backbone")


def _retry_photo(catalogue: Catalogue, loader: PhotoLoader, failed: Sequence[FailedPhoto]) -> int:
    refs = {photo: PhotoRef(url=photo.url) for photo in failed}
    loaded = asyncio.run(load_photos(loader, list(refs.values())))
    repaired = 0
    for photo, ref in refs.items():
        outcome = loaded[ref]
        if isinstance(outcome, LoadedPhoto):
            repaired += catalogue.repair_photo(photo, outcome.sha256, outcome.rendition)
    return repaired


def _make_thumbnails(catalogue: Catalogue, store: PhotoStore, covered: Sequence[date]) -> int:
    """Create the missing thumbnails and return their number.

    A photo that is missing from the store is logged and skipped.
    """

    def make(photo: StoredPhoto) -> tuple[bytes, bytes] | None:
        try:
            thumbnail = make_thumbnail(store.get("renditions", photo.rendition_sha256))
        except (BadInputError, StoredObjectError) as error:
            log.error("photo.rendition_unreadable", sha256=photo.sha256.hex(), error=str(error))
            return None
        digest = hashlib.sha256(thumbnail).digest()
        store.put("thumbnails", digest, thumbnail)
        return photo.sha256, digest

    count = 0
    with ThreadPoolExecutor(THREADS) as threads:
        for chunk in catalogue.photos_without_thumbnail(covered, chunk=CHUNK):
            created = [pair for pair in threads.map(make, chunk) if pair is not None]
            catalogue.write_thumbnails(created)
            count += len(created)
    return count
