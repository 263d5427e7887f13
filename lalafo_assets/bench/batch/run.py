"""Runs `lalafo bench batch`: the asset path from stored renditions, compared with a baseline.

Both do the same work on the same photos in the same run: read and hash the rendition, decode,
embed, predict, binary COPY into PostgreSQL with fsync on. The baseline is a script without
resumption, checks or leases: two processes, each with one torch thread. Rounds alternate, each in
new processes; the result is the median over the rounds. Photos a second do not include starting and
loading the model, which a re-score of a day pays once.
"""

import json
import os
import statistics
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from lalafo_assets.bench.harness.photos import bench_photos
from resources.embedded.postgres import EmbeddedPostgres
from resources.postgres.database import Database
from resources.processes.environment import TUNING

WORKER = "lalafo_assets.bench.batch.worker"
BASELINE_PROCESSES = 2


def run_bench(
    *,
    photos: Path | None,
    count: int,
    rounds: int,
    on_progress: Callable[[str], object],
    all_tasks: bool = False,
    task: str = "",
) -> str:
    """Store the photos, measure the rounds, and return the JSON line.

    Args:
        task: one that learns nothing, which the release has besides; "": none.
    """
    with TemporaryDirectory(prefix="lalafo-bench-") as folder:
        home = Path(folder)
        postgres = EmbeddedPostgres(home)
        postgres.start()
        try:
            environment = {
                "LALAFO_HOME": folder,
                **postgres.exports(),
                **TUNING,
            }
            with closing(Database(postgres.url())) as database:
                on_progress(f"preparing {count} photos")
                _prepare(database, home, photos, count, all_tasks=all_tasks, task=task)
            asset_path, baseline = [], []
            for number in range(rounds):
                on_progress(f"round {number + 1} of {rounds}: the asset path")
                asset_path.append(_measure(["asset_path"], environment))
                on_progress(f"round {number + 1} of {rounds}: the baseline")
                baseline.append(_measure(["baseline"], environment))
        finally:
            postgres.stop()
    summary = _summary(count, rounds, asset_path, baseline)
    if task:
        took = summary["seconds"][task]
        summary["task"] = {
            "name": task,
            "ms_per_photo": round(1e3 * took / count, 2),
            "photos_per_s": round(count / took, 1),
        }
    return json.dumps(summary)


def _prepare(
    database: Database,
    home: Path,
    photos: Path | None,
    count: int,
    *,
    all_tasks: bool,
    task: str,
) -> None:
    """Install a release, and store renditions and rows of one ad per photo as sessions would."""
    from lalafo_assets.bench.all_tasks.release import with_all_tasks, with_task
    from lalafo_assets.bench.batch.worker import store_photos
    from lalafo_assets.starter import load_starter
    from resources.inference.loading import install
    from resources.releases.promotion import make_live
    from resources.storage.releases import ReleaseStore

    database.migrate()
    store_url = str(home / "store")
    made = with_all_tasks(load_starter()) if all_tasks else load_starter()
    if task and task not in made.heads:
        made = with_task(made, task)
    release = install(database, ReleaseStore(store_url), made)
    make_live(database, release.name)
    store_photos(database, store_url, bench_photos(count, folder=photos))


def _measure(arguments: list[str], environment: dict[str, str]) -> dict[str, Any]:
    """Measure one round in new processes; returns the worker's JSON line."""
    completed = subprocess.run(
        [sys.executable, "-m", WORKER, *arguments],
        env={**os.environ, **environment, "PYTHONWARNINGS": "ignore"},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    result: dict[str, Any] = json.loads(completed.stdout.splitlines()[-1])
    return result


def _summary(
    count: int, rounds: int, asset_path: list[dict[str, Any]], baseline: list[dict[str, Any]]
) -> dict[str, Any]:
    def median(runs: list[dict[str, Any]], key: str) -> float:
        return statistics.median(float(run[key]) for run in runs)

    rate, baseline_rate = median(asset_path, "photos_per_s"), median(baseline, "photos_per_s")
    ratios = [
        a["photos_per_s"] / b["photos_per_s"] for a, b in zip(asset_path, baseline, strict=True)
    ]
    return {
        "photos": count,
        "rounds": rounds,
        "photos_per_s": round(rate, 1),
        "baseline_photos_per_s": round(baseline_rate, 1),
        "ratio": round(statistics.median(ratios), 3),
        "cpu_s_per_photo": round(median(asset_path, "cpu_s") / count, 5),
        "baseline_cpu_s_per_photo": round(median(baseline, "cpu_s") / count, 5),
        "rss_mb": round(median(asset_path, "rss_mb")),
        "baseline_rss_mb": round(median(baseline, "rss_mb")),
        "seconds": {
            step: round(statistics.median(run["seconds"][step] for run in asset_path), 2)
            for step in asset_path[0]["seconds"]
        },
        "model": asset_path[0]["model"],
        "cores": os.cpu_count(),
    }
