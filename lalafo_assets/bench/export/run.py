"""Runs `lalafo bench export`: the command in a process of its own, on databases of growing size."""

import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack, closing
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import psycopg
from psycopg import sql
from rich.console import Console

from lalafo_assets.bench.gateway.fill import fill
from lalafo_assets.bench.harness.progress import ProgressDisplay
from ops.errors import LalafoError
from ops.tasks import all_tasks
from resources.embedded.postgres import EmbeddedPostgres
from resources.exports.days import days_with_ads, new_export
from resources.exports.formats import Format
from resources.exports.statement import day_statement
from resources.postgres.database import Database
from resources.releases.installed_tasks import record_tasks


def run_export(sizes: Sequence[int], console: Console) -> str:
    """Fill and measure each size; return the JSON line.

    Raises:
        LalafoError: an export failed, or has not every ad.
    """
    found: dict[str, dict[str, Any]] = {}
    with ExitStack() as stack:
        display = stack.enter_context(ProgressDisplay(console))
        home = Path(
            stack.enter_context(
                TemporaryDirectory(prefix="lalafo-bench-", ignore_cleanup_errors=True)
            )
        )
        postgres = EmbeddedPostgres(home)
        postgres.start()
        stack.callback(postgres.stop)
        for ads in sizes:
            name = f"export_{ads}"
            conninfo = Database(postgres.url()).conninfo.text("lalafo-bench")
            with psycopg.connect(conninfo, autocommit=True) as connection:
                connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
            with closing(Database(postgres.url(name))) as database:
                database.migrate()

                def step(what: str, done: int, total: int, of_size: int = ads) -> None:
                    display.step(f"{of_size:,} ads: {what}", done, total)

                fill(database, rows=ads, on_progress=step)
                record_tasks(database, all_tasks())
                display.say(f"{ads:,} ads: the statement alone")
                found[str(ads)] = {"statement_ads_per_s": round(ads / _statement_s(database))}
                for file_format in Format:
                    display.say(f"{ads:,} ads: {file_format.value}")
                    found[str(ads)][file_format.value] = _measured(
                        home, postgres.url(name), file_format, ads
                    )
    return json.dumps(
        {
            "sizes": found,
            "cores": len(os.sched_getaffinity(0)),
            "load_average": round(os.getloadavg()[0], 1),
            "python": platform.python_version(),
            "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        }
    )


def _statement_s(database: Database) -> float:
    """Seconds to read all rows of the same statements, without a file."""
    export = new_export(database)
    taxonomy = export.release.manifest["taxonomy"]
    began = time.monotonic()
    for day in days_with_ads(database):
        statement = day_statement(
            export.columns, day, release=export.release.name, taxonomy=taxonomy
        )
        with database.cursor() as cursor, cursor.copy(statement) as copy:
            for _ in copy:
                pass
    return time.monotonic() - began


def _measured(home: Path, url: str, file_format: Format, ads: int) -> dict[str, Any]:
    """Run the command; its throughput, its largest resident set, the bytes of its files."""
    options = ["--to", str(home / "exports"), "--format", file_format.value, "--json"]
    began = time.monotonic()
    process = subprocess.Popen(
        [sys.executable, "-m", "lalafo_assets.cli", "export", *options],
        env={**os.environ, "LALAFO_DATABASE_URL": url, "LALAFO_HOME": str(home / "home")},
        stdout=subprocess.PIPE,
    )
    assert process.stdout is not None
    with process.stdout:
        output = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    seconds = time.monotonic() - began
    rows = json.loads(output)["rows"] if process.returncode == 0 else 0
    if rows != ads:
        raise LalafoError(f"the export ended with {process.returncode} and {rows} of {ads} ads")
    return {
        "seconds": round(seconds, 1),
        "ads_per_s": round(ads / seconds),
        "largest_resident_mb": round(usage.ru_maxrss / 1000),
        "cpu_s": round(usage.ru_utime + usage.ru_stime, 1),
        "mb": round(json.loads(output)["bytes"] / 1e6, 1),
    }
