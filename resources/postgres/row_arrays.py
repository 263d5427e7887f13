"""Rows as one array a column: the fastest way for a few hundred rows into PostgreSQL.

One statement and one round trip a table. Measured against COPY into a temporary table: 0.14
against 0.63 ms for 3 embeddings, 0.45 against 0.98 for 30, even at 300. For a whole day,
`copy_rows.py`.
"""

from collections.abc import Iterable, Sequence
from typing import Any

import psycopg
from sqlalchemy import Table

from resources.postgres.binary_copy import wire_type

Row = tuple[Any, ...]


def quoted(columns: Iterable[str]) -> str:
    """Column names as SQL lists them."""
    return ", ".join(f'"{name}"' for name in columns)


def unnested(table: Table, columns: Sequence[str]) -> str:
    """A FROM item that gives rows of these columns; its values are `as_arrays`."""
    return f"unnest({', '.join(f'%b::{wire_type(table, name)}[]' for name in columns)})"


def as_arrays(rows: Sequence[Row]) -> list[list[Any]]:
    """One list a column."""
    return [list(column) for column in zip(*rows, strict=True)]


def insert(
    cursor: psycopg.Cursor[Any], table: Table, columns: Sequence[str], rows: Sequence[Row]
) -> None:
    """Insert rows whose key is not there yet; one that is there stays as it is.

    The order of `rows` is the order in which locks are taken: sort them by key, so that two
    writers of the same rows can't deadlock. Nothing happens without rows.
    """
    if rows:
        cursor.execute(
            f"INSERT INTO {table.fullname} ({quoted(columns)}) "
            f"SELECT * FROM {unnested(table, columns)} ON CONFLICT DO NOTHING",
            as_arrays(rows),
        )
