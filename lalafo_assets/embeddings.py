"""The asset `photo_embeddings`: each photo's unit vector under the backbone of the live release.

The stream fills it. Run by hand or by a backfill, it embeds the days' photos that have no vector
under that backbone yet, from their stored renditions; nothing is fetched.
"""

import time
from contextlib import closing
from datetime import timedelta

import dagster as dg

from lalafo_assets.columns import table_metadata
from lalafo_assets.partitions import DAYS_A_RUN, days, days_of
from lalafo_assets.photos import ad_photos
from ops.asset_names import MODEL_RELEASE, OWNERS, POOL_BACKFILL
from ops.dagster_ops import plain_failures
from resources import tables
from resources.catalogue import Catalogue
from resources.dagster_resources import DatabaseResource, ModelsResource, PhotosResource
from resources.day_checks import embeddings_are_unit_vectors
from resources.day_scoring import embed_days


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
        "A unit vector (halfvec) for each photo under the live release's backbone, computed from "
        "the stored rendition. A photo that several ads share is embedded once."
    ),
)
def photo_embeddings(
    context: dg.AssetExecutionContext,
    database: DatabaseResource,
    photos: PhotosResource,
    models: ModelsResource,
) -> dg.MaterializeResult[None]:
    """Embed what is missing; only stale rows are touched."""
    from resources.ready_releases import load_for_batch

    with plain_failures(), closing(database.open()) as held:
        store = photos.store()
        covered = days_of(context)
        catalogue = Catalogue(held, run_id=context.run.run_id)
        live, embedders = load_for_batch(held, models.store(), models.settings())

        started = time.perf_counter()
        report = embed_days(catalogue, live, embedders, store, covered, told=context.log.info)
        elapsed_s = time.perf_counter() - started
        finding = embeddings_are_unit_vectors(held, covered, live.backbone)
        return dg.MaterializeResult(
            metadata={
                "dagster/partition_row_count": int(finding.figures["embedded"]),
                "release": live.name,
                "backbone": live.backbone,
                "photos_embedded": report.embedded,
                "photos_unreadable": len(report.unreadable),
                "unreadable": dg.MetadataValue.json(
                    [{"sha256": sha.hex(), "why": why} for sha, why in report.unreadable[:50]]
                ),
                "photos_per_s": round(report.embedded / elapsed_s, 1),
            }
        )
