"""The asset `similarity_index`: the vectors of ads, in one index a backbone.

The runs of the job `index_vectors` keep it; Dagster can't materialize it otherwise. They report a
materialization when an index becomes ready or is dropped, and an observation every ten minutes.
"""

import dagster as dg

from lalafo_assets.reports.metadata import Metadata, table_metadata
from resources.dagster.names import OWNERS, PHOTO_EMBEDDINGS, SIMILARITY_INDEX
from resources.postgres import tables
from resources.postgres.database import Database
from resources.vector_search.figures import index_figures, queue

similarity_index = dg.AssetSpec(
    key=SIMILARITY_INDEX,
    deps=[dg.AssetDep(PHOTO_EMBEDDINGS, partition_mapping=dg.AllPartitionMapping())],
    description=(
        "One vector an ad, the mean of its photos', in an HNSW index for each backbone: what "
        "similar ads are found by. With LALAFO_SIMILAR_ADS the job `index_vectors` follows the "
        "commits of sessions, and builds the index of a candidate's backbone beside the live one."
    ),
    group_name="catalogue",
    kinds={"postgres"},
    owners=OWNERS,
    metadata=table_metadata(tables.ad_vectors),
)


def index_metadata(database: Database) -> Metadata:
    """The figures of the indexes, and of the changes that wait for them."""
    waiting = queue(database)
    lines = [
        "| backbone | state | numbers | ads | table MB | graph MB |",
        "|---|---|--:|--:|--:|--:|",
    ]
    for one in index_figures(database):
        table_mb, graph_mb = one.table_bytes / 1e6, one.graph_bytes / 1e6
        lines.append(
            f"| {one.index.backbone} | {one.index.state} | {one.index.dimension} | {one.rows:,} "
            f"| {table_mb:,.1f} | {graph_mb:,.1f} |"
        )
    return {
        "indexes": dg.MetadataValue.md("\n".join(lines) if len(lines) > 2 else "no index"),
        "changes_waiting": dg.MetadataValue.int(waiting.ads),
        "oldest_change_s": dg.MetadataValue.float(round(waiting.oldest_s, 1)),
    }
