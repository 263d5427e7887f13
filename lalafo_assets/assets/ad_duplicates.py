"""The asset `ad_duplicates`: pairs and groups of ads that are the same, and its check.

The runs of the job `find_duplicates` keep it; Dagster can't materialize it otherwise. They report a
materialization with the day's groups as a picture, and evaluate the check.
"""

from contextlib import closing

import dagster as dg

from lalafo_assets.reports.failures import plain_failures
from lalafo_assets.reports.metadata import Metadata, table_metadata
from lalafo_assets.reports.pictures import as_metadata
from ops.pictures.previews import COLUMNS, contact_sheet
from resources.catalogue.summaries import readable
from resources.dagster.names import AD_DUPLICATES, OWNERS, PHOTO_EMBEDDINGS
from resources.dagster.partitions import today
from resources.dagster.resources import DatabaseResource
from resources.duplicates.figures import figures, groups_of_day, raised_on
from resources.postgres import tables
from resources.postgres.database import Database
from resources.storage.photos import PhotoStore

CHECK = "no_photo_has_two_sellers"
SHOWN_GROUPS, SHOWN_PAIRS = 6, 10

ad_duplicates = dg.AssetSpec(
    key=AD_DUPLICATES,
    deps=[dg.AssetDep(PHOTO_EMBEDDINGS, partition_mapping=dg.AllPartitionMapping())],
    description=(
        "Pairs of ads that are the same, by their photos, titles, prices and sellers, and the "
        "groups that they make. With LALAFO_DUPLICATES the job `find_duplicates` follows the "
        "commits of sessions. A photo that very many ads share connects none of them."
    ),
    group_name="catalogue",
    kinds={"postgres"},
    owners=OWNERS,
    metadata=table_metadata(tables.ad_pairs),
)


@dg.asset_check(
    asset=AD_DUPLICATES,
    name=CHECK,
    description="No photo of an ad was found today in the ad of another seller, as it is or "
    "altered. A failure names the ads.",
)
def no_photo_has_two_sellers(database: DatabaseResource) -> dg.AssetCheckResult:
    """Query PostgreSQL for the pairs of today."""
    with plain_failures(), closing(database.open()) as opened:
        found = two_sellers(opened)
    return dg.AssetCheckResult(
        passed=found.passed,
        description=found.description,
        metadata=found.metadata,
        severity=found.severity,
    )


def two_sellers(database: Database) -> dg.AssetCheckEvaluation:
    """The evaluation of the check, of today (UTC)."""
    count, pairs = raised_on(database, today(), pairs=SHOWN_PAIRS)
    lines = ["| catalog | ad | other ad | photos | one ad |", "|---|---|---|---|--:|"]
    lines += [
        f"| {it.catalog} | {it.ad_id} | {it.other_id} | {it.verdict} | {it.probability:.0%} |"
        for it in pairs
    ]
    return dg.AssetCheckEvaluation(
        asset_key=AD_DUPLICATES,
        check_name=CHECK,
        passed=count == 0,
        description=f"{count} pairs of ads of two sellers have one photo",
        metadata={"pairs": count, "latest": dg.MetadataValue.md("\n".join(lines))},
        severity=dg.AssetCheckSeverity.WARN,
    )


def duplicate_metadata(database: Database, store: PhotoStore, run_id: str) -> Metadata:
    """The figures, and the day's latest groups as a picture."""
    now = figures(database)
    samples = groups_of_day(database, today(), groups=SHOWN_GROUPS, ads=COLUMNS)
    pictures = {"latest_groups": contact_sheet(readable(store, samples))} if samples else {}
    return {
        **as_metadata(pictures, run_id, AD_DUPLICATES.to_user_string()),
        "pairs": dg.MetadataValue.int(now.pairs),
        "groups": dg.MetadataValue.int(now.groups),
        "grouped_ads": dg.MetadataValue.int(now.grouped),
        "common_photos": dg.MetadataValue.int(now.common_photos),
        "changes_waiting": dg.MetadataValue.int(now.waiting),
        "oldest_change_s": dg.MetadataValue.float(round(now.oldest_s, 1)),
    }
