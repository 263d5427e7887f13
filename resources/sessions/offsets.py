"""The committed offsets of a topic's partitions, in PostgreSQL.

A committed offset is the first event that is not done (a low-water mark). It is written in the
transaction of the rows that it stands for (`commit.py`) and never moves back.
"""

from collections.abc import Mapping
from typing import Any

import psycopg

from resources.postgres.database import Database

Cursor = psycopg.Cursor[Any]


def read_offsets(database: Database, stream_id: str, topic: str) -> dict[int, int]:
    """Return the next offset to read, by partition, without partitions that never had a commit."""
    with database.cursor() as cursor:
        cursor.execute(
            "SELECT partition, next_offset FROM lalafo.stream_offsets "
            "WHERE stream_id = %s AND topic = %s",
            (stream_id, topic),
        )
        return dict(cursor.fetchall())


def commit_offsets(
    cursor: Cursor,
    *,
    stream_id: str,
    topic: str,
    run_id: str,
    next_offsets: Mapping[int, int],
    epochs: Mapping[int, int],
) -> None:
    """Advance the committed offsets in the cursor's transaction; they never move back.

    Args:
        next_offsets: by partition, the first offset that is not done.
        epochs: by partition, the epoch that the run holds.
    """
    if not next_offsets:
        return
    partitions = sorted(next_offsets)
    cursor.execute(
        "INSERT INTO lalafo.stream_offsets AS held "
        "(stream_id, topic, partition, next_offset, epoch, run_id) "
        "SELECT %s, %s, moved.*, %s "
        "FROM unnest(%s::int[], %s::bigint[], %s::bigint[]) AS moved "
        "ON CONFLICT (stream_id, topic, partition) DO UPDATE SET "
        "next_offset = EXCLUDED.next_offset, epoch = EXCLUDED.epoch, "
        "run_id = EXCLUDED.run_id, updated_at = now() "
        "WHERE held.next_offset < EXCLUDED.next_offset",
        (
            *(stream_id, topic, run_id, partitions),
            [next_offsets[p] for p in partitions],
            [epochs[p] for p in partitions],
        ),
    )
