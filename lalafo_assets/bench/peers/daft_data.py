"""Daft as a peer of `lalafo bench peers`: its own download, and a class in two processes."""

import os
import threading
from typing import Any

from lalafo_assets.bench.harness.workers import read_task, send_answer, wait_for_end, wait_for_go
from lalafo_assets.bench.peers.options import PROCESSES
from lalafo_assets.bench.peers.photo_work import BATCH_PHOTOS, PhotoWork


def scored_urls(task: dict[str, Any]) -> Any:
    """The query: a data frame of the URLs whose photos were scored and stored."""
    import daft

    @daft.cls(max_concurrency=PROCESSES, use_process=True)
    class Score:
        def __init__(self, database: str, mode: str) -> None:
            self.work = PhotoWork(database, mode)

        @daft.method.batch(  # type: ignore[untyped-decorator]  # mypy does not follow Daft
            return_dtype=daft.DataType.string(), batch_size=BATCH_PHOTOS
        )
        def stored(self, urls: Any, photos: Any) -> Any:
            self.work.score_and_store(urls.to_pylist(), photos.to_pylist())
            return urls

    score = Score(task["database"], task["mode"])
    photos = daft.from_pydict({"url": task["urls"]}).with_column(
        "photo", daft.col("url").download()
    )
    return photos.select(score.stored(daft.col("url"), daft.col("photo")).alias("url"))


def main() -> None:
    """Plan the query, wait for "go", run it over the photos of the task, and say so."""
    import daft

    task = read_task()
    daft.set_runner_native()
    query = scored_urls(task)
    send_answer({"ready": len(task["urls"])})
    wait_for_go()
    threading.Thread(target=wait_for_end, args=(lambda: os._exit(1),), daemon=True).start()
    send_answer({"done": len(query.to_pydict()["url"])})


if __name__ == "__main__":
    main()
