"""The asset `photo_embeddings`: each photo's unit vector under a release's backbone.

The stream fills it. A manual run or a backfill embeds the photos of its days that have no vector
under the backbone of the run's release (the release in the run's tag `lalafo/release`, otherwise
the live one). It reads stored renditions and fetches nothing.
"""

import time
from collections.abc import Sequence
from contextlib import closing
from datetime import date, timedelta

import dagster as dg

from lalafo_assets.assets.photos import ad_photos
from lalafo_assets.reports.failures import plain_failures
from lalafo_assets.reports.metadata import table_metadata
from ops.scoring.embed_batches import EmbedReport, Without
from resources.catalogue.checks import embeddings_are_unit_vectors
from resources.catalogue.stale_photos import Catalogue
from resources.dagster.names import MODEL_RELEASE, OWNERS, POOL_BACKFILL, RELEASE_TAG
from resources.dagster.partitions import DAYS_A_RUN, days, days_of
from resources.dagster.resources import DatabaseResource, ModelsResource, PhotosResource
from resources.postgres import tables
from resources.releases.registry import RegisteredRelease
from resources.rescoring.attempts import at_work
from resources.rescoring.embed_and_score import embed_days
from resources.sessions.recent_latency import PacedEmbedder, StreamPace

LISTED = 50  # photos without an embedding, in the metadata


@dg.asset(
    deps=[ad_photos, MODEL_RELEASE],
    partitions_def=days,
    group_name="catalogue",
    kinds={"postgres", "pytorch"},
    owners=OWNERS,
    code_version="1",
    pool=POOL_BACKFILL,
    backfill_policy=DAYS_A_RUN,
    freshness_policy=dg.FreshnessPolicy.time_window(
        warn_window=timedelta(hours=25), fail_window=timedelta(hours=49)
    ),
    metadata=table_metadata(tables.embeddings),
    description=(
        "One unit vector (halfvec) for each photo and backbone, in the table `lalafo.embeddings`; "
        "a photo that several ads share is embedded once. Sessions write it within a second of "
        "the ad, backfills for a release with another backbone; the heads of `ad_categories` and "
        "the training read it."
    ),
)
def photo_embeddings(
    context: dg.AssetExecutionContext,
    database: DatabaseResource,
    photos: PhotosResource,
    models: ModelsResource,
) -> dg.MaterializeResult[None]:
    """Embed the photos that lack a vector; rows that are up to date stay as they are."""
    from resources.inference.batch_release import release_of_run

    with plain_failures(), closing(database.open()) as db, at_work(db, context.run.run_id):
        covered = days_of(context)
        catalogue = Catalogue(db, run_id=context.run.run_id)
        release = release_of_run(db, context.run.tags, RELEASE_TAG)
        started = time.perf_counter()
        report = _embed(context, catalogue, release, covered, photos, models)
        elapsed_s = time.perf_counter() - started
        finding = embeddings_are_unit_vectors(db, covered, release.backbone)
        return dg.MaterializeResult(
            metadata={
                "dagster/partition_row_count": int(finding.figures["embedded"]),
                "release": release.name,
                "backbone": release.backbone,
                "photos_embedded": report.embedded,
                "photos_unreadable": len(report.unreadable),
                "unreadable": _listed(report.unreadable),
                "photos_failed": len(report.failed),
                "failed": _listed(report.failed),
                "photos_per_s": round(report.embedded / elapsed_s, 1),
            }
        )


def _listed(photos: Sequence[Without]) -> dg.JsonMetadataValue:
    return dg.MetadataValue.json(
        [{"sha256": sha.hex(), "error": why} for sha, why in photos[:LISTED]]
    )


def _embed(
    context: dg.AssetExecutionContext,
    catalogue: Catalogue,
    release: RegisteredRelease,
    covered: Sequence[date],
    photos: PhotosResource,
    models: ModelsResource,
) -> EmbedReport:
    """Embed the days' stale photos; without any, no model is loaded."""
    from resources.inference.batch_release import load_to_embed

    stale = catalogue.photos_to_embed(covered, release.backbone, chunk=1)
    if next(stale, None) is None:
        context.log.info(
            f"nothing to embed: every stored photo has a vector under {release.backbone}"
        )
        return EmbedReport()
    del stale  # closes the generator, and with it the query's cursor
    settings = models.settings()
    ready, embedders = load_to_embed(release, models.store(), settings)
    pace = StreamPace(catalogue.database, settings.backfill_latency_ms)
    paced = [PacedEmbedder(embedder, pace) for embedder in embedders]
    return embed_days(
        catalogue, ready, paced, photos.store(), covered, on_progress=context.log.info
    )
