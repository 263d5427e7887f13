"""What is known of the indexes and their queue, and what a run of the indexer reports of it."""

import dagster as dg

from lalafo_assets.jobs.index_vectors import Reports
from resources.dagster.names import SIMILARITY_INDEX
from resources.postgres.database import Database
from resources.vector_search.figures import index_figures, queue
from resources.vector_search.indexer import Counts
from tests.integration.resources.vector_search.conftest import Followed
from tests.support.vector_ads import Seller


def test_the_figures_follow_the_catalogue(
    database: Database, seller: Seller, followed: Followed
) -> None:
    """Rows and bytes of an index; changes wait until they are followed."""
    assert index_figures(database) == []
    for number in range(30):
        seller.put(str(number))
    index = followed.build()
    (found,) = index_figures(database)
    assert found.index == index
    assert found.rows == 30
    assert found.table_bytes > 0 and found.graph_bytes > 0
    seller.put("one more")
    waiting = queue(database)
    assert waiting.ads >= 1 and waiting.oldest_s > 0
    followed.follow()
    assert (queue(database).ads, queue(database).oldest_s) == (0, 0)


def test_a_run_reports_what_it_has_built(
    database: Database, seller: Seller, followed: Followed
) -> None:
    """Once, as a materialization; without a change nothing is reported before its time."""
    seller.put("1")
    followed.build()

    @dg.op
    def work(context: dg.OpExecutionContext) -> None:
        counts = Counts()
        reports = Reports(context, database, counts)
        for counts.built in (0, 1, 1):
            reports.report_if_due()

    @dg.job
    def indexer() -> None:
        work()

    (event,) = indexer.execute_in_process().asset_materializations_for_node("work")
    assert event.asset_key == SIMILARITY_INDEX
    assert "| ready |" in str(event.metadata["indexes"].value)
