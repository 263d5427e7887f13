"""INSERT from one array per column: the fastest way to write a few hundred rows to PostgreSQL.

It takes one statement and one round trip per table. Compared with COPY into a temporary table:
0.14 ms instead of 0.63 ms for 3 embeddings, 0.45 instead of 0.98 for 30, and equal at 300. For the
rows of a whole day, use `binary_copy.py`.
"""

from collections.abc import Iterable, Sequence
from functools import cache
from typing import Any

import psycopg
from sqlalchemy import Table

from resources.postgres.binary_copy import wire_type

Row = tuple[Any, ...]


def quoted(columns: Iterable[str]) -> str:
    """Return the column names as a quoted SQL list."""
    return ", ".join(f'"{name}"' for name in columns)


@cache
def unnested(table: Table, columns: tuple[str, ...]) -> str:
    """Return a FROM item that yields rows of these columns; its parameters are `as_arrays`."""
    return f"unnest({', '.join(f'%b::{wire_type(table, name)}[]' for name in columns)})"


def as_arrays(rows: Sequence[Row]) -> list[list[Any]]:
    """Transpose rows to one list per column."""
    return [list(column) for column in zip(*rows, strict=True)]


def insert(
    cursor: psycopg.Cursor[Any], table: Table, columns: tuple[str, ...], rows: Sequence[Row]
) -> None:
    """Insert rows whose key does not exist yet; existing rows are not changed.

    Locks are taken in the order of `rows`: sort them by key, so that two writers of the same rows
    can't deadlock. Does nothing without rows.
    """
    if rows:
        cursor.execute(_insert(table, columns), as_arrays(rows))


@cache
def _insert(table: Table, columns: tuple[str, ...]) -> str:
    return (
        f"INSERT INTO {table.fullname} ({quoted(columns)}) "
        f"SELECT * FROM {unnested(table, columns)} ON CONFLICT DO NOTHING"
    )
