"""One measured round of `lalafo bench rescore`, in processes of its own: `ours` or `baseline`.

On standard output numbers of embeddings scored so far, one a line, and a JSON line last. Processor
time and memory are those of this process and its children; PostgreSQL's are not in them.
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
from resources.rescoring.stages import ScoreProgress, default_workers, score_days
from resources.settings import load_settings

BASELINE_PROCESSES = 2
_BASELINE_CHUNK = 4_000
_BASELINE_KEY = [("fields", ">i2"), ("key_size", ">i4"), ("key", "V32")]
_TASK = "category"
_RUN = "1" * 36  # as long as a Dagster run's id


def ours() -> dict[str, Any]:
    """The body of `ad_categories` over all days, for a release that is not live."""
    with closing(Database(load_settings().require("database_url"))) as database:
        release, task = bench_release(1), task_by_name(_TASK)
        catalogue = Catalogue(database, run_id=_RUN)
        started = time.perf_counter()
        score_days(catalogue, release, task, DAYS, on_progress=lambda _: None, progress=_say)
        return _measured(time.perf_counter() - started, children=default_workers() - 1)


def baseline() -> dict[str, Any]:
    """Two processes, half of the vectors each."""
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
    """The vectors of some pages -> rows of key, best label and its probability."""
    row = np.dtype([*_BASELINE_KEY, ("size", ">i4"), ("head", "V4"), ("vector", ">f2", DIMENSION)])
    head = bench_release(1).heads[_TASK]
    labels = np.array([label.encode() for label in head.labels])
    label = [("label_size", ">i4"), ("label", labels.dtype)]
    answer = np.dtype([*_BASELINE_KEY, *label, ("score_size", ">i4"), ("score", ">f4")])
    weight = np.ascontiguousarray(head.weight.T)

    def scored(pieces: list[bytes]) -> bytes:
        found = np.frombuffer(b"".join(pieces), row)
        logits = found["vector"].astype(np.float16).astype(np.float32) @ weight + head.bias
        np.exp(logits - logits.max(axis=1, keepdims=True), out=logits)
        best = logits.argmax(axis=1)
        made = np.empty(len(found), answer)
        made["fields"], made["key_size"], made["key"] = 3, 32, found["key"]
        made["label_size"], made["label"] = labels.dtype.itemsize, labels[best]
        made["score_size"], made["score"] = 4, 1 / logits.sum(axis=1)
        return made.tobytes()

    query = (
        f"COPY (SELECT sha256, embedding FROM lalafo.embeddings WHERE ctid >= '({first},0)' "
        f"AND ctid < '({last},0)') TO STDOUT (FORMAT BINARY)"
    )
    into = "COPY public.baseline_predictions FROM STDIN (FORMAT BINARY)"
    with closing(Database(url)) as source, closing(Database(url)) as target:
        with source.cursor() as reading, target.cursor() as writing:
            ready.release()
            go.wait()
            with reading.copy(query) as rows, writing.copy(into) as answers:
                answers.write(SIGNATURE)
                whole = (bytes(data)[-row.itemsize :] for data in rows if len(data) > 2)
                while pieces := list(islice(whole, _BASELINE_CHUNK)):
                    answers.write(scored(pieces))
                answers.write(TRAILER)
        done.release()


def _measured(seconds: float, *, children: int) -> dict[str, Any]:
    me = resource.getrusage(resource.RUSAGE_SELF)
    them = resource.getrusage(resource.RUSAGE_CHILDREN)
    # The kernel keeps the largest child's memory alone: all of them are taken to be as large.
    return {
        "seconds": seconds,
        "cpu_s": me.ru_utime + me.ru_stime + them.ru_utime + them.ru_stime,
        "rss_mb": (me.ru_maxrss + children * them.ru_maxrss) / 1024,
    }


def _say(state: ScoreProgress) -> None:
    print(state.photos, flush=True)  # noqa: T201 - read by the bench


if __name__ == "__main__":
    print(json.dumps({"ours": ours, "baseline": baseline}[sys.argv[1]]()))  # noqa: T201 - the result
