"""Runs `lalafo bench growth`: the same operations on databases of growing size.

Each size has a database of its own on one PostgreSQL with fsync on, which is dropped before the
next is filled. Times are those of the calls in this process, round trips included.
"""

import json
import os
import platform
import shutil
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory

import psycopg
from psycopg import sql
from rich.console import Console

from lalafo_assets.bench.growth.fill import fill, tables
from lalafo_assets.bench.growth.gateway_operations import gateway_operations
from lalafo_assets.bench.growth.operations import Operation, Place, median_ms
from lalafo_assets.bench.growth.session_operations import session_operations
from lalafo_assets.bench.growth.upkeep_operations import release_operations, upkeep_operations
from lalafo_assets.bench.harness.place import fsync_ms
from lalafo_assets.bench.harness.progress import ProgressDisplay
from ops.errors import ConfigurationError
from resources.embedded.postgres import EmbeddedPostgres
from resources.postgres.database import Database

BYTES_AN_AD = 5_000  # with the write-ahead log
OPERATIONS = (gateway_operations, release_operations, session_operations, upkeep_operations)


def run_growth(sizes: Sequence[int], chart: Path | None, console: Console) -> str:
    """Fill and measure each size, draw the chart if there is a path for it; the JSON line.

    Raises:
        ConfigurationError: the largest size does not fit on the disk.
    """
    medians: dict[int, dict[str, float]] = {}
    disk: dict[int, dict[str, object]] = {}
    with ExitStack() as stack:
        display = stack.enter_context(ProgressDisplay(console))
        # PostgreSQL may still delete files of its own while the folder is listed for removal.
        home = Path(
            stack.enter_context(
                TemporaryDirectory(prefix="lalafo-bench-", ignore_cleanup_errors=True)
            )
        )
        check_disk_space(home, max(sizes))
        postgres = EmbeddedPostgres(home)
        postgres.start()
        stack.callback(postgres.stop)
        for ads in sizes:
            with _database(postgres, f"growth_{ads}") as database:

                def step(what: str, done: int, total: int, of_size: int = ads) -> None:
                    display.step(f"{of_size:,} ads: {what}", done, total)

                disk[ads] = _disk_use(database, fill(database, ads=ads, on_progress=step), ads)
                conninfo = database.conninfo.text("lalafo-bench")
                with psycopg.connect(conninfo, autocommit=True) as connection:
                    connection.execute("SET jit = off")  # as on the gateway's connections
                    place = Place(database, ads, home, connection)
                    medians[ads] = {
                        operation.name: _measured(operation, display, ads)
                        for make in OPERATIONS
                        for operation in make(place)
                    }
        disk_ms = fsync_ms(home)
    if chart is not None:
        from lalafo_assets.bench.growth.chart import draw

        draw(chart, sizes, medians)
    return json.dumps(summary(sizes, medians, disk) | _circumstances(disk_ms))


def check_disk_space(folder: Path, ads: int) -> None:
    """Raise ConfigurationError if `ads` ads would not fit on the disk."""
    free, needed = shutil.disk_usage(folder).free, ads * BYTES_AN_AD
    if free < needed * 1.2:
        raise ConfigurationError(
            f"{ads} ads take {needed / 1e9:.1f} GB, but only {free / 1e9:.1f} GB are free in the "
            "temporary folder. Set TMPDIR to another folder, or lower --sizes."
        )


def summary(
    sizes: Sequence[int],
    medians: dict[int, dict[str, float]],
    disk: dict[int, dict[str, object]],
) -> dict[str, object]:
    """The figures of each size, and by how much each operation grew from the first to the last."""
    first, last = medians[sizes[0]], medians[sizes[-1]]
    return {
        "sizes": list(sizes),
        "ms": {
            str(size): {name: round(ms, 3) for name, ms in medians[size].items()} for size in sizes
        },
        "growth": {name: round(last[name] / first[name], 2) for name in first},
        "disk": {str(size): disk[size] for size in sizes},
    }


def _measured(operation: Operation, display: ProgressDisplay, ads: int) -> float:
    display.say(f"{ads:,} ads: {operation.name}")
    return median_ms(operation)


@contextmanager
def _database(postgres: EmbeddedPostgres, name: str) -> Iterator[Database]:
    """A new, migrated database, dropped on exit."""
    with closing(Database(postgres.url())) as server:
        _outside_transaction(server, sql.SQL("CREATE DATABASE {}"), name)
        try:
            with closing(Database(postgres.url(name))) as database:
                database.migrate()
                yield database
        finally:
            _outside_transaction(server, sql.SQL("DROP DATABASE {} WITH (FORCE)"), name)


def _outside_transaction(server: Database, statement: sql.SQL, name: str) -> None:
    with psycopg.connect(server.conninfo.text("lalafo-bench"), autocommit=True) as connection:
        connection.execute(statement.format(sql.Identifier(name)))


def _disk_use(database: Database, size_bytes: float, ads: int) -> dict[str, object]:
    with database.cursor() as cursor:
        cursor.execute(
            "SELECT name, pg_total_relation_size(format('lalafo.%%I', name)::regclass) "
            "FROM unnest(%s::text[]) AS t (name)",
            (list(tables()),),
        )
        by_table = {name: round(size / ads) for name, size in cursor.fetchall()}
    return {
        "database_mb": round(size_bytes / 1e6, 1),
        "bytes_per_ad": round(size_bytes / ads),
        "bytes_per_ad_by_table": by_table,
    }


def _circumstances(disk_ms: float) -> dict[str, object]:
    return {
        "cores": len(os.sched_getaffinity(0)),
        "load_average": round(os.getloadavg()[0], 1),
        "fsync_ms": round(disk_ms, 2),
        "python": platform.python_version(),
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
    }
