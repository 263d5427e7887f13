"""A re-score pauses while the stream's ads take too long, and goes on in the end."""

from datetime import UTC, datetime

import numpy as np
from psycopg.types.json import Jsonb

from ops.session.latency_histogram import bucket_of
from resources.postgres.database import Database
from resources.sessions.recent_latency import (
    LONGEST_PAUSE_S,
    LOOK_EVERY_S,
    PacedEmbedder,
    StreamPace,
)

BOUND_MS = 200.0


class Stream:
    """What a session would have written, and a clock; each pause adds ads of the next latency."""

    def __init__(self, database: Database, *latencies_ms: float) -> None:
        self.database = database
        self.now = 0.0
        self.paused_s = 0.0
        self._next = list(latencies_ms)
        self._counts: dict[int, int] = {}
        self.add()

    def add(self) -> None:
        """Twenty more ads, in the totals of this minute; the last latency goes on."""
        latency = self._next.pop(0) if len(self._next) > 1 else self._next[0]
        bucket = bucket_of(latency)
        self._counts[bucket] = self._counts.get(bucket, 0) + 20
        with self.database.cursor() as cursor:
            cursor.execute(
                "INSERT INTO lalafo.stream_minutes "
                "(minute, run_id, events, photos, statuses, labels, failures, latencies) "
                "VALUES (%s, 'run', 0, 0, '{}', '{}', '{}', %s) "
                "ON CONFLICT (minute, run_id) DO UPDATE SET latencies = EXCLUDED.latencies",
                (datetime.now(UTC).replace(second=0, microsecond=0), self._latencies()),
            )

    def _latencies(self) -> Jsonb:
        return Jsonb({"total": {str(bucket): count for bucket, count in self._counts.items()}})

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        self.paused_s += seconds
        self.add()

    def pace(self, most_ms: float = BOUND_MS) -> StreamPace:
        return StreamPace(self.database, most_ms, clock=lambda: self.now, sleep=self.sleep)


def test_a_fast_stream_is_no_reason_to_pause(database: Database) -> None:
    """Nor is a stream without ads."""
    StreamPace(database, BOUND_MS, sleep=lambda _: 1 / 0).wait()
    stream = Stream(database, BOUND_MS / 2)
    stream.pace().wait()
    assert stream.paused_s == 0


def test_it_pauses_until_the_stream_is_fast_again(database: Database) -> None:
    """What counts are the ads since the last look, not those of the whole minute."""
    stream = Stream(database, 900.0, 900.0, 900.0, 50.0)
    stream.pace().wait()
    assert stream.paused_s == 3 * LOOK_EVERY_S


def test_a_stream_that_stays_slow_does_not_stop_the_work(database: Database) -> None:
    """A batch is embedded after each pause."""
    stream = Stream(database, 900.0)
    pace = stream.pace()
    pace.wait()
    assert stream.paused_s == LONGEST_PAUSE_S
    pace.wait()
    assert stream.paused_s == 2 * LONGEST_PAUSE_S


def test_the_setting_0_never_pauses(database: Database) -> None:
    """For those who want the re-score first."""
    stream = Stream(database, 900.0)
    stream.pace(0.0).wait()
    assert stream.paused_s == 0


def test_an_embedder_pauses_before_it_embeds(database: Database) -> None:
    """And gives what it gives without a pace."""
    stream = Stream(database, 900.0, 50.0)
    paused_s: list[float] = []

    class Embedder:
        dimension = 3

        def embed(self, images: object) -> np.ndarray:
            paused_s.append(stream.paused_s)
            return np.ones((1, 3), np.float16)

    paced = PacedEmbedder(Embedder(), stream.pace())
    found = paced.embed([np.zeros((8, 8, 3), np.uint8)])
    assert paced.dimension == 3 and np.array_equal(found, np.ones((1, 3), np.float16))
    assert paused_s == [LOOK_EVERY_S]
