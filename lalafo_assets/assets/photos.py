"""The asset `ad_photos`: the photos of each day's ads, in the store and in PostgreSQL.

The stream fills it. A manual run or a backfill repairs its days: it retries the photos that failed
for a temporary reason or an internal error, and creates missing thumbnails. It never fetches a
photo that is stored.
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
from lalafo_assets.reports.metadata import table_metadata
from lalafo_assets.reports.pictures import as_metadata
from ops.errors import TEMPORARY_REASONS, BadInputError, Reason, StoredObjectError
from ops.isolation import batch_faults, divided
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
RETRIED = (*TEMPORARY_REASONS, Reason.INTERNAL_ERROR)
"""A run that a person starts also retries what a bug has failed: it may be corrected by now."""

THREADS = 2
log = structlog.get_logger()


ads_topic = dg.AssetSpec(
    key=ADS_TOPIC,
    description=(
        "Each record is one event of an ad, created, changed or deleted: schema 1, with the key "
        "catalog/ad_id. The marketplace or the gateway writes the Kafka topic `ads`; session runs, "
        "which the sensor `new_ads` starts, read each event within milliseconds, and rows and "
        "offsets are committed together. Its observations show the latency to the committed row."
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
        "One row for each photo of an ad, in the table `lalafo.ad_photos`; the partition is the "
        "UTC day on which the ad was first seen. Sessions write the rows within a second of an ad; "
        "`photo_embeddings`, the gateway and the page read them. The photos themselves are upright "
        "JPEG renditions of at most 640 pixels in the store, named by SHA-256; a photo that can't "
        "be used has a row in `lalafo.failures` with the reason."
    ),
)
def ad_photos(
    context: dg.AssetExecutionContext, database: DatabaseResource, photos: PhotosResource
) -> dg.MaterializeResult[None]:
    """Retry the days' photos that failed and may succeed now, and create thumbnails."""
    with plain_failures(), closing(database.open()) as db:
        store, settings = photos.store(), load_settings()
        covered = days_of(context)
        catalogue = Catalogue(db, run_id=context.run.run_id)
        failed = catalogue.photos_to_retry(covered, [reason.value for reason in RETRIED])
        work = _Repair(catalogue, store, _loader(db, store, photos, settings))
        repaired = sum(
            work.retry(failed[start : start + CHUNK]) for start in range(0, len(failed), CHUNK)
        )
        context.log.info(f"retried {len(failed)} photos: {repaired} repaired")
        thumbnails = work.make_thumbnails(covered)
        counts = failure_counts(db, covered)
        live = read_active_releases(db).live.name
        pictures = photo_pictures(db, store, covered, release=live, task=HEADLINE_TASK)
        return dg.MaterializeResult(
            metadata={
                **as_metadata(pictures, context.run.run_id, "ad_photos"),
                "dagster/partition_row_count": counts.photos,
                "photos_failed": counts.failed,
                "failures_by_reason": dg.MetadataValue.json(counts.by_reason),
                "photos_retried": len(failed),
                "photos_repaired": repaired,
                "thumbnails_created": thumbnails,
                "internal_errors": dg.MetadataValue.json(dict(work.faults.counts)),
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


class _Repair:
    """Repairs photos; one that raises an exception fails by itself (`ops/isolation.py`)."""

    def __init__(self, catalogue: Catalogue, store: PhotoStore, loader: PhotoLoader) -> None:
        self.catalogue = catalogue
        self.store = store
        self.loader = loader
        self.faults = batch_faults()

    def retry(self, failed: Sequence[FailedPhoto]) -> int:
        """Load photos again that failed, and return how many are repaired."""
        return sum(divided(failed, self._retry, self._fail))

    def _retry(self, failed: Sequence[FailedPhoto]) -> list[bool]:
        refs = {photo: PhotoRef(url=photo.url) for photo in failed}
        loaded = asyncio.run(load_photos(self.loader, list(refs.values())))
        self.faults.passed("photos")
        good = [
            (photo, outcome)
            for photo, ref in refs.items()
            if isinstance(outcome := loaded[ref], LoadedPhoto)
        ]
        return [done for pair in good for done in divided([pair], self._write, self._fail_to_write)]

    def _write(self, pairs: Sequence[tuple[FailedPhoto, LoadedPhoto]]) -> list[bool]:
        done = [
            self.catalogue.repair_photo(photo, loaded.sha256, loaded.rendition)
            for photo, loaded in pairs
        ]
        self.faults.passed("write")
        return done

    def _fail(self, photo: FailedPhoto, error: BaseException, stage: str = "photos") -> tuple[()]:
        self.catalogue.replace_failure(photo, self.faults.failure(stage, photo, error))
        return ()

    def _fail_to_write(
        self, pair: tuple[FailedPhoto, LoadedPhoto], error: BaseException
    ) -> tuple[()]:
        return self._fail(pair[0], error, "write")

    def make_thumbnails(self, covered: Sequence[date]) -> int:
        """Create the missing thumbnails and return their number.

        A photo that is missing from the store is logged and skipped.
        """
        count = 0
        with ThreadPoolExecutor(THREADS) as threads:
            for chunk in self.catalogue.photos_without_thumbnail(covered, chunk=CHUNK):
                created = [pair for pairs in threads.map(self._thumbnail, chunk) for pair in pairs]
                if created:
                    self.catalogue.write_thumbnails(created)
                count += len(created)
        return count

    def _thumbnail(self, photo: StoredPhoto) -> list[tuple[bytes, bytes]]:
        return divided([photo], self._make_thumbnails, self._fail_thumbnail)

    def _make_thumbnails(self, photos: Sequence[StoredPhoto]) -> list[tuple[bytes, bytes]]:
        made = []
        for photo in photos:
            try:
                thumbnail = make_thumbnail(self.store.get("renditions", photo.rendition_sha256))
            except (BadInputError, StoredObjectError) as error:
                log.error("photo.rendition_unreadable", sha256=photo.sha256.hex(), error=str(error))
                continue
            digest = hashlib.sha256(thumbnail).digest()
            self.store.put("thumbnails", digest, thumbnail)
            made.append((photo.sha256, digest))
        self.faults.passed("thumbnails")
        return made

    def _fail_thumbnail(self, photo: StoredPhoto, error: BaseException) -> tuple[()]:
        self.faults.failure("thumbnails", photo.sha256, error)
        return ()
