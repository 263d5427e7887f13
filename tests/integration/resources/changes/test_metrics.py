"""A worker's Prometheus metrics, scraped over HTTP like Prometheus does."""

from pathlib import Path
from typing import cast

import psycopg

from ops.errors import RetryableError
from resources.changes.metrics import Queue, WorkerMetrics
from resources.changes.worker import Group
from resources.duplicates import changes
from resources.duplicates.figures import queue
from resources.duplicates.finder import Counts, Finder
from resources.postgres.database import Database
from resources.settings import Settings
from resources.storage.photos import PhotoStore
from tests.conftest import connect_args
from tests.integration.resources.sessions.test_metrics import free_ports, scrape
from tests.support.duplicate_ads import SCORED, Shop, finder_epoch, shop_of


def test_a_scrape_shows_what_waits_and_what_was_done(database: Database, tmp_path: Path) -> None:
    """The lag of each ad behind its commit; a finder's counts."""
    url = connect_args(database.url.render_as_string())
    with psycopg.connect(**url, autocommit=True) as connection:
        shop: Shop = shop_of(database, connection, PhotoStore(str(tmp_path), fsync=False))
        epoch = finder_epoch(connection)
        changes.start(database, epoch)
        counts, settings = Counts(), Settings(metrics_port=free_ports(1))
        with WorkerMetrics(
            settings, worker="duplicates", counts=counts, waiting=lambda: queue(database)
        ) as metrics:
            for ad_id in "123":
                shop.put(ad_id, "p1")
            label = ("worker", "duplicates")
            before = scrape(metrics.url)
            assert before["lalafo_worker_waiting", (label,)] == 3
            assert 0 < before["lalafo_worker_oldest_seconds", (label,)] < 60
            finder = Finder(
                *(database, cast(Group, None), shop.store),
                topic=SCORED,
                run_id="finder-1",
                counts=counts,
                on_done=metrics.done,
            )
            while finder.work(epoch):
                pass
            after = scrape(metrics.url)
        assert after["lalafo_worker_waiting", (label,)] == 0
        assert after["lalafo_worker_lag_seconds_count", (label,)] == 3
        assert 0 < after["lalafo_worker_lag_seconds_sum", (label,)] < 60
        done = {
            labels: value
            for (name, labels), value in after.items()
            if name == "lalafo_worker_done_total"
        }
        assert done[(("what", "ads"), label)] == 3
        assert done[(("what", "pairs"), label)] >= 3


def test_an_outage_leaves_the_other_metrics() -> None:
    """Nothing of the queue, and all of the counts."""

    def waiting() -> Queue:
        raise RetryableError("the server is unavailable")

    with WorkerMetrics(
        Settings(metrics_port=free_ports(1)),
        worker="vectors",
        counts=Counts(ads=7),
        waiting=waiting,
    ) as metrics:
        metrics.searched("vector", 0.1)
        metrics.searched("photo_blank", 0.1)
        found = scrape(metrics.url)
    assert found["lalafo_worker_done_total", (("what", "ads"), ("worker", "vectors"))] == 7
    assert found["lalafo_photo_searches_total", (("answer", "photo_blank"),)] == 1
    assert found["lalafo_photo_search_seconds_count", ()] == 2
    assert not any(name == "lalafo_worker_waiting" for name, _ in found)
