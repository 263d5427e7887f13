"""Runs `lalafo bench rescore`: a head-only re-score of whole days, compared with a baseline.

The re-score is `score_days` as the assets call it: it finds stale ads, reads their photos' vectors,
groups them by ad, scores, and writes predictions with details under the freshness guard. It uses
one process per core, and their start counts. The baseline is two processes, each of which COPYs
half of the vectors out with their keys, multiplies, takes the best label, and COPYs key, label and
score into a new table without an index. Both use a new PostgreSQL with fsync and
synchronous_commit on, on the same cores. Rounds alternate, each in new processes after a
checkpoint; the result is the median over the rounds.
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
    """The callbacks of a running bench."""

    filled: Callable[[int], object]  # called with the embeddings inserted so far
    scored: Callable[[str, int], object]  # called with the round and the embeddings scored in it


def run_bench(*, rows: int, photos_per_ad: float, rounds: int, on_progress: RescoreProgress) -> str:
    """Insert the rows, measure the rounds, and return the JSON line."""
    with TemporaryDirectory(prefix="lalafo-bench-") as folder:
        postgres = EmbeddedPostgres(Path(folder))
        postgres.start()
        try:
            with closing(Database(postgres.url())) as database:
                database.migrate()
                ads = fill(
                    database, rows=rows, photos_per_ad=photos_per_ad, on_progress=on_progress.filled
                )
                environment = {**os.environ, **TUNING, **postgres.exports()}
                rescore: list[dict[str, Any]] = []
                baseline: list[dict[str, Any]] = []
                for number in range(1, rounds + 1):
                    for kind, runs in (("rescore", rescore), ("baseline", baseline)):
                        _clear(database)
                        name = f"round {number} of {rounds}, {kind}"
                        on_progress.scored(name, 0)
                        runs.append(_measure(kind, environment, name, on_progress))
                        _check(database, kind, ads if kind == "rescore" else rows)
        finally:
            postgres.stop()
    return json.dumps(_summary(rows, photos_per_ad, rescore, baseline))


def _clear(database: Database) -> None:
    """Delete all predictions and checkpoint, so that each round starts from the vectors alone."""
    with database.cursor() as cursor:
        cursor.execute(f"TRUNCATE lalafo.{scored_partition()}")
        cursor.execute("DROP TABLE IF EXISTS public.baseline_predictions")
        cursor.execute(
            "CREATE TABLE public.baseline_predictions (sha256 bytea, label text, score real)"
        )
    with database.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.exec_driver_sql("CHECKPOINT")


def _measure(
    kind: str, environment: dict[str, str], name: str, on_progress: RescoreProgress
) -> dict[str, Any]:
    """Measure one round in new processes: passes on the worker's progress, returns its result."""
    with subprocess.Popen(
        [sys.executable, "-m", WORKER, kind], env=environment, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        result: dict[str, Any] = {}
        for line in process.stdout:
            if line.startswith("{"):
                result = json.loads(line)
            else:
                on_progress.scored(name, int(line))
    if process.returncode != 0 or not result:
        raise RuntimeError(f"{WORKER} {kind} ended with status {process.returncode}")
    return result


def _check(database: Database, kind: str, expected: int) -> None:
    table = "public.baseline_predictions" if kind == "baseline" else f"lalafo.{scored_partition()}"
    with database.cursor() as cursor:
        cursor.execute(f"SELECT count(*) FROM {table}")
        (count,) = cursor.fetchall()[0]
    if count != expected:
        raise RuntimeError(f"{kind} wrote {count} rows, expected {expected}: the round is invalid")


def _summary(
    rows: int, photos_per_ad: float, rescore: list[dict[str, Any]], baseline: list[dict[str, Any]]
) -> dict[str, Any]:
    def median(runs: list[dict[str, Any]], key: str) -> float:
        return statistics.median(float(run[key]) for run in runs)

    rates = [
        (rows / a["seconds"], rows / b["seconds"]) for a, b in zip(rescore, baseline, strict=True)
    ]
    return {
        "rows": rows,
        "photos_per_ad": photos_per_ad,
        "rows_per_s": round(statistics.median(rate for rate, _ in rates)),
        "baseline_rows_per_s": round(statistics.median(baseline for _, baseline in rates)),
        "ratio": round(statistics.median(rate / baseline for rate, baseline in rates), 3),
        "rss_mb": round(median(rescore, "rss_mb")),
        "baseline_rss_mb": round(median(baseline, "rss_mb")),
        "cpu_s_per_million": round(median(rescore, "cpu_s") / rows * 1e6, 2),
        "baseline_cpu_s_per_million": round(median(baseline, "cpu_s") / rows * 1e6, 2),
        "rounds": len(rescore),
        "cores": os.cpu_count(),
    }
