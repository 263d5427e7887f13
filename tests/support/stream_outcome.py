"""The outcome of a stream's events, as read from a database and from the topic `ads.scored`."""

import json
import time
from collections.abc import Collection
from dataclasses import dataclass

from resources.kafka.topics import AdStream
from resources.postgres.database import Database

MOMENTS = ("updated_at", "created_at", "failed_at", "scored_at", "committed_at", "since")
TABLES = (
    *("ads", "photos", "ad_photos", "embeddings", "predictions"),
    *("failures", "stage_timings"),
)

TableContents = dict[str, list[tuple]]


@dataclass(frozen=True)
class StoredAd:
    """One ad, without its run and the times of its writes."""

    revision: int
    status: str
    title: str
    offset: int
    partition: int
    reasons: tuple[str, ...]
    labels: tuple[tuple[str, str, str], ...]  # release, task, label


@dataclass(frozen=True)
class Outcome:
    """All results that must be equal after two passes over the same topic."""

    ads: dict[str, StoredAd]
    scores: dict[tuple[str, str, str], float]  # ad, release, task
    letters: dict[tuple[int, int], str]  # partition, offset: reason
    offsets: dict[int, int]
    duplicates: int  # rows beyond one per ad, release and task, or one per photo position


def outcome_of(database: Database) -> Outcome:
    """Read the outcome from a database."""

    def rows(query: str) -> list[tuple]:
        with database.cursor() as cursor:
            cursor.execute(query)
            return cursor.fetchall()

    reasons: dict[str, list[str]] = {}
    positions = rows(
        "SELECT ad_id, position, coalesce(reason, '') FROM lalafo.ad_photos ORDER BY 1, 2"
    )
    for ad_id, _, reason in positions:
        reasons.setdefault(ad_id, []).append(reason)
    predictions = rows(
        "SELECT ad_id, release, task, label, score, revision FROM lalafo.predictions "
        "ORDER BY 1, 2, 3"
    )
    labels: dict[str, list[tuple[str, str, str]]] = {}
    for ad_id, release, task, label, _, _ in predictions:
        labels.setdefault(ad_id, []).append((release, task, label))
    ads = {
        row[0]: StoredAd(*row[1:], tuple(reasons.get(row[0], ())), tuple(labels.get(row[0], ())))
        for row in rows(
            'SELECT ad_id, revision, status, title, "offset", partition FROM lalafo.ads'
        )
    }
    stale = sum(row[5] != ads[row[0]].revision for row in predictions)
    return Outcome(
        ads=ads,
        scores={(row[0], row[1], row[2]): row[4] for row in predictions},
        letters={
            (row[0], row[1]): row[2]
            for row in rows(
                "SELECT partition, \"offset\", reason FROM lalafo.failures WHERE kind = 'event'"
            )
        },
        offsets=dict(rows("SELECT partition, next_offset FROM lalafo.stream_offsets")),
        duplicates=stale
        + len(predictions)
        - len({row[:3] for row in predictions})
        + len(positions)
        - len({row[:2] for row in positions}),
    )


def announced(
    stream: AdStream, *, run_prefix: str, until: Collection[tuple[str, int, str]]
) -> set[tuple[str, int, str]]:
    """Read (ad, revision, status) of the events on `ads.scored` by runs with this prefix.

    Reads until all of `until` are seen, for a minute at most.
    """
    topic = stream.config.scored_topic
    seen: set[tuple[str, int, str]] = set()
    deadline = time.monotonic() + 60
    with stream.consumer(topic) as consumer:
        consumer.assign(dict.fromkeys(stream.partitions(topic), 0))
        while not set(until) <= seen and time.monotonic() < deadline:
            for record in consumer.poll(max_records=1_000, timeout_s=1):
                event = json.loads(record.value or b"{}")
                if str(event["run_id"]).startswith(run_prefix):
                    seen.add((event["ad_id"], event["revision"], event["status"]))
    return seen


def table_contents(database: Database) -> TableContents:
    """Every row of every table, without the times at which rows were written."""
    contents: TableContents = {}
    with database.cursor() as cursor:
        for table in TABLES:
            cursor.execute(
                "SELECT column_name::text FROM information_schema.columns "
                "WHERE table_schema = 'lalafo' AND table_name = %s ORDER BY 1",
                (table,),
            )
            columns = [name for (name,) in cursor.fetchall() if name not in MOMENTS]
            names = ", ".join(f'"{name}"::text' for name in columns)
            cursor.execute(f"SELECT {names} FROM lalafo.{table}")
            contents[table] = sorted(cursor.fetchall(), key=str)
    return contents
