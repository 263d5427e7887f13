"""Ray Data as a peer of `lalafo bench peers`: tasks that fetch, and two actors with the model."""

import os
import threading
from typing import Any

from lalafo_assets.bench.harness.workers import read_task, send_answer, wait_for_end, wait_for_go
from lalafo_assets.bench.peers.options import PROCESSES
from lalafo_assets.bench.peers.photo_work import BATCH_PHOTOS, Fetcher, PhotoWork

OBJECT_STORE_BYTES = 512 << 20
SPARE_CORES = 2
"""Cores of Ray's bookkeeping beside one for each model: for fetching, and for its own tasks, which
would wait without end. They mostly wait for the network."""


class Fetch:
    """Adds a batch's photos as bytes; keeps its connections."""

    def __init__(self) -> None:
        self._fetcher = Fetcher()

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        import numpy as np

        photos = [photo.result() for photo in self._fetcher.start(batch["url"].tolist())]
        return {"url": batch["url"], "photo": np.array(photos, dtype=object)}


class Score:
    """Scores and stores a batch; returns only the URLs."""

    def __init__(self, database: str, mode: str) -> None:
        self._work = PhotoWork(database, mode)

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        self._work.score_and_store(batch["url"].tolist(), batch["photo"].tolist())
        return {"url": batch["url"]}


def main() -> None:
    """Start Ray, wait for "go", run the pipeline over the photos of the task, and say so."""
    import ray

    task = read_task()
    urls = task["urls"]
    ray.init(
        num_cpus=PROCESSES + SPARE_CORES,
        object_store_memory=OBJECT_STORE_BYTES,
        include_dashboard=False,
        _temp_dir=task["folder"],
    )
    send_answer({"ready": len(urls)})
    wait_for_go()
    # A driver that outlives the bench would go on working: Ray's processes end with it.
    threading.Thread(target=wait_for_end, args=(lambda: os._exit(1),), daemon=True).start()
    blocks = max(PROCESSES, len(urls) // BATCH_PHOTOS)
    scored = (
        ray.data.from_items([{"url": url} for url in urls], override_num_blocks=blocks)
        .map_batches(Fetch, batch_size=BATCH_PHOTOS, compute=ray.data.ActorPoolStrategy(size=1))
        .map_batches(
            Score,
            fn_constructor_args=(task["database"], task["mode"]),
            batch_size=BATCH_PHOTOS,
            compute=ray.data.ActorPoolStrategy(size=PROCESSES),
        )
    )
    done = sum(len(batch["url"]) for batch in scored.iter_batches())
    ray.shutdown()
    send_answer({"done": done})


if __name__ == "__main__":
    main()
