"""When each ad of a run can be found by a search for similar ads: its vector is in the index.

Polls the vectors of the run's catalog, so a moment is late by up to POLL_S.
"""

import time

from lalafo_assets.bench.harness.feed import wait_until_done
from lalafo_assets.bench.harness.place import Place, Progress
from ops.errors import RetryableError
from resources.processes.repeating import RepeatingThread
from resources.vector_search.figures import index_figures

POLL_S = 0.05


class SearchableTimes(RepeatingThread):
    """Notes when ads of a catalog become searchable, in a thread; use with `with`."""

    def __init__(self, place: Place, catalog: str) -> None:
        super().__init__("searchable", every_s=POLL_S)
        self.at: dict[str, float] = {}  # by ad id, in seconds since 1970 (UTC)
        self._place = place
        self._catalog = catalog

    def step(self) -> bool:
        """Note the ads that are searchable since the last step."""
        try:
            with self._place.database.statement() as cursor:
                cursor.execute(
                    "SELECT ad_id FROM lalafo.ad_vectors WHERE catalog = %s", (self._catalog,)
                )
                found = [ad_id for (ad_id,) in cursor.fetchall()]
        except RetryableError:
            return False
        now = time.time()
        for ad_id in found:
            self.at.setdefault(ad_id, now)
        return False

    def wait_for(self, ads: int, on_progress: Progress) -> None:
        """Wait until so many ads are searchable."""
        wait_until_done(
            lambda: len(self.at),
            ads,
            lambda n: on_progress("searchable ads", n, ads),
            check=self._place.stack.check,
        )


def wait_for_index(place: Place, on_progress: Progress) -> None:
    """Wait until an index of vectors is ready: from then on the indexer follows commits."""

    def ready() -> int:
        return int(any(it.index.state == "ready" for it in index_figures(place.database)))

    wait_until_done(
        ready, 1, lambda n: on_progress("the index of vectors", n, 1), check=place.stack.check
    )
