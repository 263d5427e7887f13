"""The committed offsets of a topic's partitions, in PostgreSQL.

A committed offset is the first event that is not done (a low-water mark). It is written in the
transaction of the rows that it stands for (`commits/commit.py`) and never moves back.
"""

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
