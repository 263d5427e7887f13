"""When each ad of a run can be found by a search for similar ads: its vector is in the index.

Polls the vectors of the run's catalog, so a moment is late by up to POLL_S.
"""

import threading
import time
from types import TracebackType
from typing import Self

from lalafo_assets.bench.harness.feed import wait_until_done
from lalafo_assets.bench.harness.place import Place, Progress
from resources.vector_search.figures import index_figures

POLL_S = 0.05


class SearchableTimes:
    """Notes when ads of a catalog become searchable, in a thread; use with `with`."""

    def __init__(self, place: Place, catalog: str) -> None:
        self.at: dict[str, float] = {}  # by ad id, in seconds since 1970 (UTC)
        self._place = place
        self._catalog = catalog
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._poll, name="searchable")

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._ended.set()
        self._thread.join()

    def _poll(self) -> None:
        while not self._ended.wait(POLL_S):
            with self._place.database.statement() as cursor:
                cursor.execute(
                    "SELECT ad_id FROM lalafo.ad_vectors WHERE catalog = %s", (self._catalog,)
                )
                found = [ad_id for (ad_id,) in cursor.fetchall()]
            now = time.time()
            for ad_id in found:
                self.at.setdefault(ad_id, now)

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
        return sum(it.index.state == "ready" for it in index_figures(place.database)) and 1

    wait_until_done(
        ready, 1, lambda n: on_progress("the index of vectors", n, 1), check=place.stack.check
    )
