"""Re-scores for tests that kill them: one process imports everything, and forks each re-score.

`python -m tests.support.rescore_process URL WORKERS RATE` forks a re-score for each line on
standard input, prints its process id, and prints its exit status once it has ended.
"""

import os
import sys
from contextlib import closing

from lalafo_assets.bench.rescore.fill import DAYS, bench_release
from ops.tasks import task_by_name
from resources.catalogue.stale_photos import Catalogue
from resources.postgres.database import Database
from resources.rescoring.embed_and_score import ScoreOptions, score_days

APPLICATION = "rescore-to-kill"


def main(url: str, workers: str, rate: str) -> None:
    release, task = bench_release(1), task_by_name("category")
    options = ScoreOptions(
        chunk=40, workers=int(workers), worth_workers_ads=1, rows_per_s=float(rate)
    )
    for number, _ in enumerate(sys.stdin):
        child = os.fork()
        if child == 0:
            with closing(Database(url, application=APPLICATION)) as database:
                catalogue = Catalogue(database, run_id=f"run-{number}")
                score_days(
                    catalogue, release, task, DAYS, on_progress=lambda _: None, options=options
                )
            os._exit(0)
        print(child, flush=True)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
