"""Exports ads with their predictions, a file a day: Parquet or CSV, straight from PostgreSQL.

Each day is one statement, so its file has one snapshot. Memory is bounded by BLOCK_BYTES,
whatever the number of ads.
"""

import csv
import io
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import psycopg

from ops.answer_columns import AD_COLUMNS, Column, task_columns
from resources.exports.destination import Destination
from resources.exports.formats import Format
from resources.exports.parquet import ParquetFile
from resources.exports.statement import day_statement
from resources.postgres.database import Database
from resources.releases.active import read_active_releases
from resources.releases.registry import RegisteredRelease, find_release

BLOCK_BYTES = 16 * 2**20
"""Of CSV: what is in memory at once. A block becomes a row group of Parquet."""

SUCCESS = "_SUCCESS"
"""There once an export is complete, as Hadoop's committers name it. It has the summary as JSON."""

_DAYS = """
    WITH RECURSIVE walk (day) AS (
        (SELECT min(day) FROM lalafo.ads WHERE day >= %(first)s)
        UNION ALL
        SELECT (SELECT min(a.day) FROM lalafo.ads AS a WHERE a.day > walk.day)
        FROM walk WHERE walk.day IS NOT NULL AND walk.day < %(last)s
    )
    SELECT day FROM walk WHERE day IS NOT NULL AND day <= %(last)s ORDER BY day"""


@dataclass(frozen=True, slots=True)
class Export:
    """What is exported.

    Args:
        columns: of the files, in their order.
        catalogs: None: all.
        guarded: in CSV, texts that a spreadsheet would take for formulas begin with an apostrophe.
    """

    release: RegisteredRelease
    columns: tuple[Column, ...]
    format: Format = Format.PARQUET
    catalogs: tuple[str, ...] | None = None
    guarded: bool = True


@dataclass(frozen=True, slots=True)
class DayFile:
    """The file of a day."""

    day: date
    rows: int
    bytes: int
    url: str


def new_export(
    database: Database,
    release: str | None = None,
    *,
    file_format: Format = Format.PARQUET,
    catalogs: Sequence[str] | None = None,
    guarded: bool = True,
) -> Export:
    """What to export: the columns of ads, and those of the release's tasks.

    Args:
        release: a release's name; None: the live one.

    Raises:
        ConfigurationError: no release has this name, or none is live.
    """
    found = (
        read_active_releases(database).live if release is None else find_release(database, release)
    )
    with database.cursor() as cursor:
        cursor.execute("SELECT name, answer FROM lalafo.tasks")
        answers = dict(cursor.fetchall())
    # The day is in the name of a Parquet file's folder, where readers of partitions look for it.
    own = [it for it in AD_COLUMNS if file_format is Format.CSV or it.name != "day"]
    of_tasks = [it for task in found.tasks for it in task_columns(task, answers.get(task, {}))]
    return Export(
        found,
        (*own, *of_tasks),
        file_format,
        None if catalogs is None else tuple(catalogs),
        guarded,
    )


def days_with_ads(database: Database, first: date = date.min, last: date = date.max) -> list[date]:
    """The days from `first` to `last` that have ads, ascending; those of deleted ads too."""
    with database.cursor() as cursor:
        cursor.execute(_DAYS, {"first": first, "last": last})
        return [row[0] for row in cursor.fetchall()]


def count_ads(database: Database, days: Sequence[date]) -> int:
    """The number of ads of these days, as PostgreSQL counts them in the index."""
    if not days:
        return 0
    with database.cursor() as cursor:
        cursor.execute(
            "SELECT count(*) FROM lalafo.ads WHERE day BETWEEN %s AND %s", (days[0], days[-1])
        )
        return int(cursor.fetchall()[0][0])


def file_name(day: date, file_format: Format) -> str:
    """The name of a day's file: a folder for each day, as Hive names them."""
    return f"day={day.isoformat()}/part.{file_format.value}"


def export_day(
    database: Database,
    export: Export,
    day: date,
    to: Destination,
    *,
    on_rows: Callable[[int], object] = lambda rows: None,
) -> DayFile:
    """Write the file of a day; it replaces one that is there.

    Args:
        on_rows: called with the number of rows of each block.

    Raises:
        ConfigurationError: the destination can't be written.
        RetryableError: PostgreSQL or the destination is unavailable.
    """
    name = file_name(day, export.format)
    statement = day_statement(
        export.columns,
        day,
        release=export.release.name,
        taxonomy=export.release.manifest.get("taxonomy", {}),
        catalogs=export.catalogs,
        guarded=export.guarded and export.format is Format.CSV,
    )
    rows = 0
    with to.new_file(name) as path:
        with _writer(path, export, day) as write, database.cursor() as cursor:
            cursor.execute("SET LOCAL jit = off")  # half a second for each day
            for block, count in _blocks(cursor, statement, crlf=export.format is Format.CSV):
                write(block)
                rows += count
                on_rows(count)
        size = path.stat().st_size
    return DayFile(day, rows, size, to.url(name))


def export_days(
    database: Database,
    export: Export,
    days: Sequence[date],
    to: Destination,
    *,
    on_rows: Callable[[int], object] = lambda rows: None,
    on_day: Callable[[DayFile], object] = lambda written: None,
) -> list[DayFile]:
    """Write the files of several days, then `_SUCCESS`; raises as `export_day`."""
    to.remove(SUCCESS)
    found = []
    for day in days:
        written = export_day(database, export, day, to, on_rows=on_rows)
        found.append(written)
        on_day(written)
    with to.new_file(SUCCESS) as path:
        path.write_text(json.dumps(summary(export, found)) + "\n")
    return found


def summary(export: Export, files: Sequence[DayFile]) -> dict[str, Any]:
    """What was exported, as JSON."""
    return {
        "release": export.release.name,
        "format": export.format.value,
        "rows": sum(one.rows for one in files),
        "bytes": sum(one.bytes for one in files),
        "exported_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "columns": [
            {"name": it.name, "type": it.kind.value, "description": it.description}
            for it in export.columns
        ],
        "days": {one.day.isoformat(): {"rows": one.rows, "bytes": one.bytes} for one in files},
    }


def _blocks(
    cursor: psycopg.Cursor[Any], statement: Any, *, crlf: bool
) -> Iterator[tuple[bytes, int]]:
    """Rows of COPY's CSV, about BLOCK_BYTES at a time, with their number.

    Args:
        crlf: rows end as RFC 4180 says; COPY ends them with a line feed.
    """
    block, rows = bytearray(), 0
    with cursor.copy(statement) as copy:
        for row in copy:  # each with its line's end
            block += row
            if crlf:
                block[-1:] = b"\r\n"
            rows += 1
            if len(block) >= BLOCK_BYTES:
                yield bytes(block), rows
                block, rows = bytearray(), 0
    if rows:
        yield bytes(block), rows


@contextmanager
def _writer(path: Path, export: Export, day: date) -> Iterator[Callable[[bytes], object]]:
    if export.format is Format.PARQUET:
        about = {"release": export.release.name, "day": day.isoformat()}
        with ParquetFile(path, export.columns, about) as file:
            yield file.write
        return
    header = io.StringIO()
    csv.writer(header).writerow([column.name for column in export.columns])
    with path.open("wb") as file:
        file.write(header.getvalue().encode())
        yield file.write
