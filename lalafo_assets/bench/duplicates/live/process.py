"""A finder or an indexer in a process of its own, at the priority of a Dagster run that is one.

Run by `Worker`. The task: `kind`, the connection string, the folder of the photos. It answers once
it has joined its group, and with its counts when it has ended.
"""

import threading
from dataclasses import asdict
from typing import Any

from lalafo_assets.bench.harness.workers import read_task, send_answer, wait_for_end
from resources.changes.worker import ChangeWorker, Group
from resources.duplicates.changes import LEASE as FINDERS
from resources.duplicates.finder import Finder
from resources.postgres.database import Database
from resources.processes.priority import become_idle
from resources.sessions.worker_group import worker_membership
from resources.settings import load_settings
from resources.storage.photos import PhotoStore
from resources.vector_search.ad_vectors import LEASE as INDEXERS
from resources.vector_search.indexer import Indexer

FINDER, INDEXER = "finder", "indexer"
TOPIC = "ads.scored"


def main() -> None:
    """Work until standard input is closed."""
    task = read_task()
    settings = load_settings()
    if settings.background_priority == "idle":
        become_idle()
    ended = threading.Event()
    threading.Thread(target=wait_for_end, args=(ended.set,), daemon=True).start()
    database = Database(task["url"])
    lease = FINDERS if task["kind"] == FINDER else INDEXERS
    with worker_membership(
        database, settings, lease, run_id=task["kind"], code_version="bench"
    ) as group:
        group.ready()
        worker, counts = _worker(task, database, group)
        send_answer({"ready": task["kind"]})
        worker.run(ended.is_set)
    database.close()
    send_answer(asdict(counts))


def _worker(task: dict[str, Any], database: Database, group: Group) -> tuple[ChangeWorker, Any]:
    if task["kind"] == INDEXER:
        indexer = Indexer(database, group)
        return indexer, indexer.counts
    store = PhotoStore(task["photos"])
    finder = Finder(database, group, store, topic=TOPIC, run_id=FINDER)
    return finder, finder.counts


if __name__ == "__main__":
    main()
