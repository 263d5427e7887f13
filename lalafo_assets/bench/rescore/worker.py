"""One measured round of `lalafo bench rescore`, in its own processes: `rescore` or `baseline`.

Prints the number of embeddings scored so far, one number a line, and a JSON line last. CPU time and
memory are those of this process and its children, without PostgreSQL's.
"""

import json
import multiprocessing
import resource
import sys
import time
from contextlib import closing
from itertools import islice, pairwise
from typing import Any

import numpy as np

from lalafo_assets.bench.rescore.fill import DAYS, DIMENSION, bench_release
from ops.tasks import task_by_name
from resources.catalogue.stale_photos import Catalogue
from resources.postgres.binary_copy import SIGNATURE, TRAILER
from resources.postgres.database import Database
from resources.rescoring.embed_and_score import ScoreProgress, default_workers, score_days
from resources.settings import load_settings

BASELINE_PROCESSES = 2
_BASELINE_CHUNK = 4_000
_BASELINE_KEY = [("fields", ">i2"), ("key_size", ">i4"), ("key", "V32")]
_TASK = "category"
_RUN = "1" * 36  # as long as a Dagster run's id


def rescore() -> dict[str, Any]:
    """Run the body of `ad_categories` over all days, for a release that is not live."""
    with closing(Database.from_settings(load_settings())) as database:
        release, task = bench_release(1), task_by_name(_TASK)
        catalogue = Catalogue(database, run_id=_RUN)
        started = time.perf_counter()
        score_days(
            catalogue, release, task, DAYS, on_progress=lambda _: None, progress=_print_progress
        )
        return _measured(time.perf_counter() - started, children=default_workers() - 1)


def baseline() -> dict[str, Any]:
    """Run the baseline: two processes with half of the vectors each."""
    url = load_settings().require("database_url")
    with closing(Database(url)) as database, database.cursor() as cursor:
        cursor.execute("SELECT pg_relation_size('lalafo.embeddings') / 8192 + 1")
        (pages,) = cursor.fetchall()[0]
    context = multiprocessing.get_context("spawn")
    ready, go, done = context.Semaphore(0), context.Event(), context.Semaphore(0)
    bounds = [pages * n // BASELINE_PROCESSES for n in range(BASELINE_PROCESSES + 1)]
    workers = [
        context.Process(target=_baseline_share, args=(url, first, last, ready, go, done))
        for first, last in pairwise(bounds)
    ]
    for worker in workers:
        worker.start()
    for _ in workers:
        ready.acquire()
    started = time.perf_counter()
    go.set()
    for _ in workers:
        done.acquire()
    seconds = time.perf_counter() - started
    for worker in workers:
        worker.join()
    return _measured(seconds, children=BASELINE_PROCESSES)


def _baseline_share(url: str, first: int, last: int, ready: Any, go: Any, done: Any) -> None:
    """Read the vectors of some pages, and write rows of key, best label and its probability."""
    row = np.dtype([*_BASELINE_KEY, ("size", ">i4"), ("head", "V4"), ("vector", ">f2", DIMENSION)])
    head = bench_release(1).linear_heads[_TASK]
    labels = np.array([label.encode() for label in head.labels])
    label = [("label_size", ">i4"), ("label", labels.dtype)]
    answer = np.dtype([*_BASELINE_KEY, *label, ("score_size", ">i4"), ("score", ">f4")])
    weight = np.ascontiguousarray(head.weight.T)

    def scored(rows: list[bytes]) -> bytes:
        read = np.frombuffer(b"".join(rows), row)
        logits = read["vector"].astype(np.float16).astype(np.float32) @ weight + head.bias
        np.exp(logits - logits.max(axis=1, keepdims=True), out=logits)
        best = logits.argmax(axis=1)
        written = np.empty(len(read), answer)
        written["fields"], written["key_size"], written["key"] = 3, 32, read["key"]
        written["label_size"], written["label"] = labels.dtype.itemsize, labels[best]
        written["score_size"], written["score"] = 4, 1 / logits.sum(axis=1)
        return written.tobytes()

    query = (
        f"COPY (SELECT sha256, embedding FROM lalafo.embeddings WHERE ctid >= '({first},0)' "
        f"AND ctid < '({last},0)') TO STDOUT (FORMAT BINARY)"
    )
    into = "COPY public.baseline_predictions FROM STDIN (FORMAT BINARY)"
    with closing(Database(url)) as source, closing(Database(url)) as target:
        with source.cursor() as reading, target.cursor() as writing:
            ready.release()
            go.wait()
            with reading.copy(query) as source_rows, writing.copy(into) as target_rows:
                target_rows.write(SIGNATURE)
                complete = (bytes(data)[-row.itemsize :] for data in source_rows if len(data) > 2)
                while chunk := list(islice(complete, _BASELINE_CHUNK)):
                    target_rows.write(scored(chunk))
                target_rows.write(TRAILER)
        done.release()


def _measured(seconds: float, *, children: int) -> dict[str, Any]:
    own = resource.getrusage(resource.RUSAGE_SELF)
    child = resource.getrusage(resource.RUSAGE_CHILDREN)
    # The kernel reports only the largest child's memory: the others are counted as equally large.
    return {
        "seconds": seconds,
        "cpu_s": own.ru_utime + own.ru_stime + child.ru_utime + child.ru_stime,
        "rss_mb": (own.ru_maxrss + children * child.ru_maxrss) / 1024,
    }


def _print_progress(state: ScoreProgress) -> None:
    print(state.photos, flush=True)  # noqa: T201 - read by the bench


if __name__ == "__main__":
    measure = {"rescore": rescore, "baseline": baseline}[sys.argv[1]]
    print(json.dumps(measure()))  # noqa: T201 - the result
