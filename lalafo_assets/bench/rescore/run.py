"""`lalafo bench rescore`: a head-only re-score of whole days, beside the best baseline script.

Ours is `score_days` as the assets call it: stale ads found, their photos' vectors read, grouped by
ad and scored, predictions with details written under the freshness guard, by as many processes as
there are cores, whose start counts. The baseline script is two processes that each COPY half of the
vectors out with their keys, multiply, take the best, and COPY key, label and score into a fresh
table without an index. PostgreSQL is a new one with fsync and synchronous_commit on, on the same
cores. Rounds are interleaved, each in fresh processes from a checkpoint on; medians count.
"""

import json
import os
import statistics
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from lalafo_assets.bench.rescore.fill import fill, scored_partition
from resources.embedded.postgres import EmbeddedPostgres
from resources.postgres.database import Database
from resources.processes.environment import TUNING

WORKER = "lalafo_assets.bench.rescore.worker"


@dataclass(frozen=True, slots=True)
class RescoreProgress:
    """What the bench says while it works."""

    filled: Callable[[int], object]  # embeddings written so far
    scored: Callable[[str, int], object]  # the round, and the embeddings scored so far in it


def run_bench(*, rows: int, photos_per_ad: float, rounds: int, on_progress: RescoreProgress) -> str:
    """Prepare, measure, and give the JSON line."""
    with TemporaryDirectory(prefix="lalafo-bench-") as folder:
        postgres = EmbeddedPostgres(Path(folder))
        postgres.start()
        try:
            with closing(Database(postgres.url())) as database:
                database.migrate()
                ads = fill(
                    database, rows=rows, photos_per_ad=photos_per_ad, on_progress=on_progress.filled
                )
                environment = {**os.environ, **TUNING, "LALAFO_DATABASE_URL": postgres.url()}
                ours: list[dict[str, Any]] = []
                baseline: list[dict[str, Any]] = []
                for number in range(1, rounds + 1):
                    for kind, found in (("ours", ours), ("baseline", baseline)):
                        _clear(database)
                        name = f"round {number} of {rounds}, {kind}"
                        on_progress.scored(name, 0)
                        found.append(_measure(kind, environment, name, on_progress))
                        _check(database, kind, ads if kind == "ours" else rows)
        finally:
            postgres.stop()
    return json.dumps(_summary(rows, photos_per_ad, ours, baseline))


def _clear(database: Database) -> None:
    """Both start from vectors alone, and with nothing left to write out."""
    with database.cursor() as cursor:
        cursor.execute(f"TRUNCATE lalafo.{scored_partition()}")
        cursor.execute("DROP TABLE IF EXISTS public.baseline_predictions")
        cursor.execute(
            "CREATE TABLE public.baseline_predictions (sha256 bytea, label text, score real)"
        )
    with database.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as plain:
        plain.exec_driver_sql("CHECKPOINT")


def _measure(
    kind: str, environment: dict[str, str], name: str, on_progress: RescoreProgress
) -> dict[str, Any]:
    """One round in fresh processes: the worker's numbers as it goes, and its JSON line."""
    with subprocess.Popen(
        [sys.executable, "-m", WORKER, kind], env=environment, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        found: dict[str, Any] = {}
        for line in process.stdout:
            if line.startswith("{"):
                found = json.loads(line)
            else:
                on_progress.scored(name, int(line))
    if process.returncode != 0 or not found:
        raise RuntimeError(f"{WORKER} {kind} ended with status {process.returncode}")
    return found


def _check(database: Database, kind: str, expected: int) -> None:
    table = "public.baseline_predictions" if kind == "baseline" else f"lalafo.{scored_partition()}"
    with database.cursor() as cursor:
        cursor.execute(f"SELECT count(*) FROM {table}")
        (count,) = cursor.fetchall()[0]
    if count != expected:
        raise RuntimeError(f"{kind} wrote {count} rows of {expected}: nothing was measured")


def _summary(
    rows: int, photos_per_ad: float, ours: list[dict[str, Any]], baseline: list[dict[str, Any]]
) -> dict[str, Any]:
    def median(runs: list[dict[str, Any]], key: str) -> float:
        return statistics.median(float(run[key]) for run in runs)

    rates = [
        (rows / a["seconds"], rows / b["seconds"]) for a, b in zip(ours, baseline, strict=True)
    ]
    return {
        "rows": rows,
        "photos_per_ad": photos_per_ad,
        "rows_per_s": round(statistics.median(mine for mine, _ in rates)),
        "baseline_rows_per_s": round(statistics.median(bound for _, bound in rates)),
        "ratio": round(statistics.median(mine / bound for mine, bound in rates), 3),
        "rss_mb": round(median(ours, "rss_mb")),
        "baseline_rss_mb": round(median(baseline, "rss_mb")),
        "cpu_s_per_million": round(median(ours, "cpu_s") / rows * 1e6, 2),
        "baseline_cpu_s_per_million": round(median(baseline, "cpu_s") / rows * 1e6, 2),
        "rounds": len(ours),
        "cores": os.cpu_count(),
    }
