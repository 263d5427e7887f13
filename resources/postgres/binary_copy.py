"""Binary COPY into a temporary table: the fastest way to load many rows into PostgreSQL.

Owns the transfer of rows; what happens to them afterwards is the caller's SQL.
"""

import struct
from collections.abc import Sequence
from typing import Any

import numpy as np
import psycopg
from numpy.typing import NDArray
from pgvector.sqlalchemy import HALFVEC
from psycopg.abc import Buffer
from psycopg.adapt import Dumper, Loader
from psycopg.pq import Format
from sqlalchemy import (
    BigInteger,
    Boolean,
    Date,
    DateTime,
    Integer,
    LargeBinary,
    Numeric,
    SmallInteger,
    Table,
    Text,
)
from sqlalchemy.dialects.postgresql import JSONB, REAL

SIGNATURE = b"PGCOPY\n\xff\r\n\0" + bytes(8)
"""The header of binary COPY data, in both directions: signature, no flags, no extension."""

TRAILER = b"\xff\xff"
"""The end of binary COPY data."""

WIRE_TYPES: tuple[tuple[type[Any], str], ...] = (
    # subclasses first: SQLAlchemy's SmallInteger is an Integer
    (HALFVEC, "halfvec"),
    (JSONB, "jsonb"),
    (REAL, "float4"),
    (SmallInteger, "int2"),
    (BigInteger, "int8"),
    (Integer, "int4"),
    (Numeric, "numeric"),
    (Boolean, "bool"),
    (Date, "date"),
    (DateTime, "timestamptz"),
    (LargeBinary, "bytea"),
    (Text, "text"),
)


def wire_type(table: Table, column: str) -> str:
    """Return PostgreSQL's name of a column's type, as binary COPY needs it."""
    column_type = table.c[column].type
    return next(name for kind, name in WIRE_TYPES if isinstance(column_type, kind))


class HalfVectorDumper(Dumper):
    """Dump a (D,) float16 array in halfvec's binary form: dimension, zero, big-endian halves."""

    format = Format.BINARY

    def dump(self, obj: NDArray[np.float16]) -> bytes:
        return struct.pack(">HH", obj.shape[0], 0) + obj.astype(">f2").tobytes()


class HalfVectorLoader(Loader):
    """Load halfvec's binary form as a (D,) float16 array."""

    format = Format.BINARY

    def load(self, data: Buffer) -> NDArray[np.float16]:
        return np.frombuffer(data, dtype=">f2", offset=4).astype(np.float16)


def register_halfvec(connection: psycopg.Connection[Any]) -> None:
    """Register the adapters between float16 arrays and halfvec columns, in binary format."""
    info = psycopg.types.TypeInfo.fetch(connection, "halfvec")
    if info is None:
        return  # before the first migration; connections opened later find the type
    info.register(connection)
    dumper = type("HalfVectorDumperWithOid", (HalfVectorDumper,), {"oid": info.oid})
    connection.adapters.register_dumper(np.ndarray, dumper)
    connection.adapters.register_loader(info.oid, HalfVectorLoader)


def staged_binary(
    cursor: psycopg.Cursor[Any], table: Table, columns: Sequence[str], rows: bytes
) -> str:
    """Copy rows into a temporary table and return its name; it is emptied when the transaction
    ends. It has all columns, without their defaults.

    Args:
        rows: in binary COPY format, without signature and trailer. Locks are taken in their
            order: sort them by key, so that two writers of the same rows can't deadlock.
    """
    name = _staging_table(cursor, table)
    copy_binary(cursor, name, columns, rows)
    return name


def _staging_table(cursor: psycopg.Cursor[Any], table: Table) -> str:
    name = f"staged_{table.name}"
    cursor.execute(f"SELECT to_regclass('pg_temp.{name}') IS NULL")
    row = cursor.fetchone()
    if row is not None and row[0]:
        cursor.execute(
            f"CREATE TEMP TABLE {name} ON COMMIT DELETE ROWS AS "
            f"SELECT * FROM {table.fullname} WITH NO DATA"
        )
    return name


def copy_binary(
    cursor: psycopg.Cursor[Any], target: str, columns: Sequence[str], rows: bytes
) -> None:
    """Load rows that are already in binary COPY format, without signature and trailer."""
    names = ", ".join(f'"{column}"' for column in columns)
    with cursor.copy(f"COPY {target} ({names}) FROM STDIN (FORMAT BINARY)") as copy:
        copy.write(SIGNATURE + rows + TRAILER)
