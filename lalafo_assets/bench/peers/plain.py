"""One of the plain processes of `lalafo bench peers`: no framework, a fixed share of the photos.

While a batch is computed, the next one is fetched.
"""

from lalafo_assets.bench.harness.workers import read_task, send_answer, wait_for_go
from lalafo_assets.bench.peers.photo_work import BATCH_PHOTOS, Fetcher, PhotoWork


def main() -> None:
    """Load the model, wait for "go", process the photos of the task, and say so."""
    task = read_task()
    urls = task["urls"]
    fetcher, work = Fetcher(), PhotoWork(task["database"], task["mode"])
    send_answer({"ready": len(urls)})
    wait_for_go()
    fetching = fetcher.start(urls[:BATCH_PHOTOS])
    for start in range(0, len(urls), BATCH_PHOTOS):
        stop = start + BATCH_PHOTOS
        fetched = [photo.result() for photo in fetching]
        fetching = fetcher.start(urls[stop : stop + BATCH_PHOTOS])
        work.score_and_store(urls[start:stop], fetched)
    send_answer({"done": len(urls)})


if __name__ == "__main__":
    main()
