"""An indexer in a process of its own, as a Dagster run has one; a test may kill it.

Prints a line once it has the lease. Arguments: the connection string, the run id, the lease's TTL.
"""

import sys
import time

from resources.postgres.database import Database
from resources.sessions.worker_group import worker_membership
from resources.settings import Settings
from resources.vector_search.ad_vectors import LEASE
from resources.vector_search.indexer import Indexer


def main(url: str, run_id: str, ttl_s: float) -> None:
    """Work until killed."""
    settings = Settings.model_validate({"lease_ttl_s": ttl_s})
    database = Database(url)
    with worker_membership(
        database, settings, LEASE, run_id=run_id, code_version="code-1"
    ) as group:
        group.ready()
        indexer = Indexer(database, group)
        print(f"joined {time.monotonic()}", flush=True)
        indexer.run(lambda: False)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], float(sys.argv[3]))
