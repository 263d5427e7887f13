"""One measured round of `lalafo bench batch`, in its own processes: `asset_path` or `baseline`."""

import json
import multiprocessing
import resource
import sys
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from datetime import UTC, date, datetime
from itertools import pairwise
from typing import Any

import psycopg

from ops.photos.rendition import make_rendition
from resources.catalogue.rows import insert_photos
from resources.postgres.database import Database
from resources.settings import load_settings
from resources.storage.photos import PhotoStore

DAY = date(2026, 6, 1)
CHUNK = 500
BASELINE_BATCH = 32
MAX_PIXELS = 50_000_000


def store_photos(database: Database, store_url: str, photos: Iterator[bytes]) -> None:
    """Store the renditions, and insert one scored ad per photo, all of one day."""
    store = PhotoStore(store_url, fsync=False)
    renditions = []
    noon = datetime(DAY.year, DAY.month, DAY.day, 12, tzinfo=UTC)
    for data in photos:
        rendition = make_rendition(data, max_pixels=MAX_PIXELS)
        store.put("renditions", rendition.sha256, rendition.data)
        renditions.append(rendition)
    with database.cursor() as cursor:
        insert_photos(cursor, renditions, "bench")
        for index, rendition in enumerate(renditions):
            key = ("bench", f"{index:07d}")
            cursor.execute(
                "INSERT INTO lalafo.ads VALUES (%s, %s, 1, %s, 'scored', '', '', NULL, 1000, "
                "'KGS', 'e', %s, %s, %s, 'bench', 'ads', 0, 0, 'bench')",
                (*key, DAY, noon, noon, noon),
            )
            cursor.execute(
                "INSERT INTO lalafo.ad_photos VALUES (%s, %s, 0, NULL, %s, NULL, 1, 'bench')",
                (*key, rendition.photo_sha256),
            )


def asset_path() -> dict[str, Any]:
    """Run the bodies of `photo_embeddings` and of each task's asset over the day."""
    from ops.tasks import all_tasks
    from resources.catalogue.stale_photos import Catalogue
    from resources.inference.batch_release import load_to_embed
    from resources.releases.active import read_active_releases
    from resources.rescoring.embed_and_score import embed_days, score_days
    from resources.storage.releases import ReleaseStore

    settings = load_settings()
    with closing(Database.from_settings(settings)) as database:
        _clear(database)
        store_url = settings.resolved_store_url
        release = read_active_releases(database).live
        live, embedders = load_to_embed(release, ReleaseStore(store_url), settings)
        catalogue = Catalogue(database, run_id="bench")
        started, cpu = time.perf_counter(), _cpu_s()
        store = PhotoStore(store_url)
        report = embed_days(catalogue, live, embedders, store, [DAY], on_progress=_quiet)
        ended = {"": started, "embeddings": time.perf_counter()}
        for task in (task for task in all_tasks() if task.name in live.heads):
            score_days(catalogue, live, task, [DAY], on_progress=_quiet, store_url=store_url)
            ended[task.name] = time.perf_counter()
        elapsed_s = time.perf_counter() - started
        return {
            "photos_per_s": report.embedded / elapsed_s,
            "cpu_s": _cpu_s() - cpu,
            "rss_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
            "seconds": {step: ended[step] - ended[before] for before, step in pairwise(ended)},
            "model": f"{live.name}, {embedders[0].mode}, {embedders[0].precision}",
        }


def baseline() -> dict[str, Any]:
    """Run the baseline: two processes with half of the photos each.

    Each reads, hashes, decodes, embeds and predicts; a thread writes with COPY meanwhile.
    """
    settings = load_settings()
    with closing(Database.from_settings(settings)) as database:
        _clear(database)
        with database.cursor() as cursor:
            cursor.execute("SELECT sha256, rendition_sha256 FROM lalafo.photos")
            photos = cursor.fetchall()
    context = multiprocessing.get_context("spawn")
    ready, go = context.Semaphore(0), context.Event()
    results = context.Queue()
    halves = [photos[::2], photos[1::2]]
    workers = [
        context.Process(target=_baseline_half, args=(half, ready, go, results)) for half in halves
    ]
    for worker in workers:
        worker.start()
    for _ in workers:
        ready.acquire()
    started = time.perf_counter()
    go.set()
    usage = [results.get() for _ in workers]
    elapsed_s = time.perf_counter() - started
    for worker in workers:
        worker.join()
    return {
        "photos_per_s": len(photos) / elapsed_s,
        "cpu_s": sum(cpu for cpu, _ in usage),
        "rss_mb": sum(rss for _, rss in usage),
    }


def _baseline_half(photos: list[tuple[bytes, bytes]], ready: Any, go: Any, results: Any) -> None:
    import hashlib

    import numpy as np
    import torch
    from psycopg.types.json import Jsonb

    from ops.models.embed import prepare
    from ops.models.heads import class_probabilities
    from resources.inference.loading import backbone_key, new_embedder
    from resources.postgres.binary_copy import register_halfvec
    from resources.releases.active import read_active_releases
    from resources.storage.releases import ReleaseStore

    torch.set_num_threads(1)
    settings = load_settings()
    database = Database.from_settings(settings)
    release = ReleaseStore(settings.resolved_store_url).load(
        read_active_releases(database).live.digest
    )
    embedder = new_embedder(release.backbone, settings.model_copy(update={"torch_threads": 1}))
    head, name = release.linear_heads["category"], release.manifest.name
    store = PhotoStore(settings.resolved_store_url)
    paths = [store.url("renditions", rendition).removeprefix("file://") for _, rendition in photos]
    connection = psycopg.connect(database.conninfo.text("lalafo-bench"))
    register_halfvec(connection)
    key = backbone_key(release.manifest)
    ready.release()
    go.wait()
    cpu = _cpu_s()
    embeddings: list[tuple[Any, ...]] = []
    predictions: list[tuple[Any, ...]] = []
    writer = ThreadPoolExecutor(1, "write")  # writes while the next photos are embedded
    written: Future[None] | None = None
    for start in range(0, len(photos), BASELINE_BATCH):
        images = []
        for path in paths[start : start + BASELINE_BATCH]:
            with open(path, "rb") as file:  # noqa: PTH123 - a plain script
                data = file.read()
            hashlib.sha256(data).digest()
            images.append(prepare(data, release.manifest.preprocessing))
        rows = embedder.embed(images)
        scores = class_probabilities(rows, head)
        for (sha256, _), row, probabilities in zip(photos[start:], rows, scores, strict=False):
            top = np.argsort(-probabilities)[:3]
            details = {"top": [[head.labels[i], float(probabilities[i])] for i in top]}
            embeddings.append((key, sha256, row, name, "baseline"))
            label, score = head.labels[top[0]], float(probabilities[top[0]])
            predictions.append((name, sha256, label, score, Jsonb(details)))
        if len(embeddings) >= CHUNK or start + BASELINE_BATCH >= len(photos):
            if written is not None:
                written.result()
            written = writer.submit(_baseline_copy, connection, embeddings, predictions)
            embeddings, predictions = [], []
    if written is not None:
        written.result()
    results.put((_cpu_s() - cpu, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024))
    writer.shutdown()
    connection.close()
    database.close()


def _baseline_copy(
    connection: psycopg.Connection[Any],
    embeddings: list[tuple[Any, ...]],
    predictions: list[tuple[Any, ...]],
) -> None:
    with connection.cursor() as cursor:
        with cursor.copy("COPY baseline_embeddings FROM STDIN (FORMAT BINARY)") as copy:
            copy.set_types(["text", "bytea", "halfvec", "text", "text"])
            for row in embeddings:
                copy.write_row(row)
        with cursor.copy("COPY baseline_predictions FROM STDIN (FORMAT BINARY)") as copy:
            copy.set_types(["text", "bytea", "text", "float4", "jsonb"])
            for row in predictions:
                copy.write_row(row)
    connection.commit()


def _clear(database: Database) -> None:
    """Delete all results, so that each round starts from the photos alone.

    The baseline's tables have the product's columns and primary keys.
    """
    with database.cursor() as cursor:
        cursor.execute("DELETE FROM lalafo.predictions")
        cursor.execute("DELETE FROM lalafo.photo_predictions")
        cursor.execute("DELETE FROM lalafo.embeddings")
        cursor.execute("DROP TABLE IF EXISTS baseline_embeddings, baseline_predictions")
        cursor.execute(
            "CREATE TABLE baseline_embeddings (backbone text, sha256 bytea, embedding halfvec, "
            "release text, run_id text, PRIMARY KEY (backbone, sha256))"
        )
        cursor.execute(
            "CREATE TABLE baseline_predictions (release text, sha256 bytea, label text, "
            "score real, details jsonb, PRIMARY KEY (release, sha256))"
        )


def _cpu_s() -> float:
    return time.process_time()


def _quiet(_: str) -> None:
    return None


if __name__ == "__main__":
    measure = {"asset_path": asset_path, "baseline": baseline}[sys.argv[1]]
    print(json.dumps(measure()))  # noqa: T201 - the result
