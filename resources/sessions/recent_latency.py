"""How long the stream's ads take now, and a pause for work beside it while they take too long.

Reads what sessions write once a second: histograms by minute in `lalafo.stream_minutes`. Latency is
the time from Kafka's timestamp to the committed row.
"""

import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence

import structlog

from ops.errors import RetryableError
from ops.scoring.ready_release import Image, PhotoEmbedder
from ops.session.latency_histogram import percentile
from ops.vectors import Embeddings
from resources.postgres.database import Database

LOOK_EVERY_S = 1.0
LONGEST_PAUSE_S = 10.0
"""After so many seconds work goes on, so that a stream that is always slow does not stop it."""

SHARE, LEAST_ADS = 0.9, 5
_RECENT = (
    "SELECT run_id, minute, latencies -> 'total' FROM lalafo.stream_minutes "
    "WHERE minute >= date_trunc('minute', clock_timestamp() - interval '1 minute')"
)

log = structlog.get_logger()


class StreamPace:
    """Pauses work beside the stream while the stream's ads take longer than a bound.

    Thread-safe: every thread that calls `wait` pauses.

    Args:
        most_ms: the bound of the 90th percentile, ms; 0: never pause.
        clock: monotonic seconds.
        sleep: waits so many seconds.
    """

    def __init__(
        self,
        database: Database,
        most_ms: float,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], object] = time.sleep,
    ) -> None:
        self._database = database
        self._most_ms = most_ms
        self._clock = clock
        self._sleep = sleep
        self._looked_at = float("-inf")
        self._seen: Counter[tuple[object, int]] = Counter()
        self._is_slow = False
        self._lock = threading.Lock()

    def wait(self) -> None:
        """Return at once while the stream is fast enough, else once it is, or after a while."""
        if self._most_ms <= 0:
            return
        until = self._clock() + LONGEST_PAUSE_S
        while self._slow() and self._clock() < until:
            self._sleep(LOOK_EVERY_S)

    def _slow(self) -> bool:
        """Whether the ads since the last look took too long; the last answer if there were few."""
        with self._lock:
            return self._look(self._clock())

    def _look(self, now: float) -> bool:
        if now - self._looked_at < LOOK_EVERY_S:
            return self._is_slow
        self._looked_at = now
        try:
            counts = self._read()
        except RetryableError:
            return self._is_slow
        recent = counts - self._seen
        self._seen = counts
        by_bucket: Counter[int] = Counter()
        for (_, bucket), count in recent.items():
            by_bucket[bucket] += count
        total = sum(by_bucket.values())
        if total == 0:
            self._is_slow = False  # no ads: nobody to yield to
        elif total >= LEAST_ADS:
            found_ms = percentile(by_bucket, SHARE)
            is_slow = found_ms is not None and found_ms > self._most_ms
            if is_slow and not self._is_slow:
                log.info("backfill.yields", stream_p90_ms=round(found_ms or 0.0))
            self._is_slow = is_slow
        return self._is_slow

    def _read(self) -> Counter[tuple[object, int]]:
        """The ads of this minute and the last, by session and minute, and by bucket."""
        with self._database.cursor() as cursor:
            cursor.execute(_RECENT)
            rows = cursor.fetchall()
        return Counter(
            {
                ((run_id, minute), int(bucket)): int(count)
                for run_id, minute, latencies in rows
                for bucket, count in (latencies or {}).items()
            }
        )


class PacedEmbedder:
    """An embedder that yields to the stream before every batch."""

    def __init__(self, embedder: PhotoEmbedder, pace: StreamPace) -> None:
        self.dimension = embedder.dimension
        self._embedder = embedder
        self._pace = pace

    def embed(self, images: Sequence[Image]) -> Embeddings:
        """Embed images as the embedder does, once the stream is fast enough."""
        self._pace.wait()
        return self._embedder.embed(images)
