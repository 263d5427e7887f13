"""A finder of duplicates in a process of its own, as a Dagster run has one; a test may kill it.

Prints a line once it has joined. Arguments: the connection string, the folder of the photos, the
run id, the lease's TTL.
"""

import sys
import time

from resources.duplicates.changes import LEASE
from resources.duplicates.finder import Finder
from resources.postgres.database import Database
from resources.sessions.worker_group import worker_membership
from resources.settings import Settings
from resources.storage.photos import PhotoStore
from tests.support.duplicate_ads import SCORED


def main(url: str, photos: str, run_id: str, ttl_s: float) -> None:
    """Work until killed."""
    settings = Settings.model_validate({"lease_ttl_s": ttl_s})
    database = Database(url)
    with worker_membership(
        database, settings, LEASE, run_id=run_id, code_version="code-1"
    ) as group:
        group.ready()
        finder = Finder(
            database, group, PhotoStore(photos, fsync=False), topic=SCORED, run_id=run_id
        )
        print(f"joined {time.monotonic()}", flush=True)
        finder.run(lambda: False)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3], float(sys.argv[4]))
