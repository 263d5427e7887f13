"""Binary COPY into a temporary table: the fastest way for many rows into PostgreSQL.

Decides how rows travel; what happens to them afterwards is the caller's SQL.
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
"""What binary COPY begins with, both ways: its name, no flags, no extension."""

TRAILER = b"\xff\xff"
"""What it ends with."""

WIRE_TYPES: tuple[tuple[type[Any], str], ...] = (
    # the narrower before the wider: SQLAlchemy's SmallInteger is an Integer
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
    """PostgreSQL's name of a column's type, as binary COPY needs it."""
    kind = table.c[column].type
    return next(name for sort, name in WIRE_TYPES if isinstance(kind, sort))


class HalfVectorDumper(Dumper):
    """A (D,) float16 array as halfvec's binary form: dimension, zero, big-endian halves."""

    format = Format.BINARY

    def dump(self, obj: NDArray[np.float16]) -> bytes:
        return struct.pack(">HH", obj.shape[0], 0) + obj.astype(">f2").tobytes()


class HalfVectorLoader(Loader):
    """halfvec's binary form as a (D,) float16 array."""

    format = Format.BINARY

    def load(self, data: Buffer) -> NDArray[np.float16]:
        return np.frombuffer(data, dtype=">f2", offset=4).astype(np.float16)


def register_halfvec(connection: psycopg.Connection[Any]) -> None:
    """Let float16 arrays go into halfvec columns, and binary results come back as such."""
    info = psycopg.types.TypeInfo.fetch(connection, "halfvec")
    if info is None:
        return  # before the first migration; later connections find it
    info.register(connection)
    dumper = type("HalfVectorDumperWithOid", (HalfVectorDumper,), {"oid": info.oid})
    connection.adapters.register_dumper(np.ndarray, dumper)
    connection.adapters.register_loader(info.oid, HalfVectorLoader)


def staged_binary(
    cursor: psycopg.Cursor[Any], table: Table, columns: Sequence[str], rows: bytes
) -> str:
    """Copy rows into a temporary table that is emptied when the transaction ends; its name.

    Args:
        rows: in binary COPY's form, without signature and trailer. Their order is the order in
            which locks will be taken: sort them by key, so that two writers of the same rows can't
            deadlock.
    """
    name = _staging_table(cursor, table, columns)
    copy_binary(cursor, name, columns, rows)
    return name


def _staging_table(cursor: psycopg.Cursor[Any], table: Table, columns: Sequence[str]) -> str:
    name = f"staged_{table.name}"
    names = ", ".join(f'"{column}"' for column in columns)
    cursor.execute(f"SELECT to_regclass('pg_temp.{name}') IS NULL")
    row = cursor.fetchone()
    if row is not None and row[0]:
        cursor.execute(
            f"CREATE TEMP TABLE {name} ON COMMIT DELETE ROWS AS "
            f"SELECT {names} FROM {table.fullname} WITH NO DATA"
        )
    return name


def copy_binary(
    cursor: psycopg.Cursor[Any], target: str, columns: Sequence[str], rows: bytes
) -> None:
    """COPY of rows that are in its binary form already, without signature and trailer."""
    names = ", ".join(f'"{column}"' for column in columns)
    with cursor.copy(f"COPY {target} ({names}) FROM STDIN (FORMAT BINARY)") as copy:
        copy.write(SIGNATURE + rows + TRAILER)
