"""The original's first design: Tornado, a pool of two threads, and the model in the handler.

The release, the photos, their preparation and the arithmetic are ours; what differs is the shape. A
photo is fetched, decoded and embedded within the request, the answer is kept in memory alone, and
whoever asked waits. There is no queue, no database, no record of failures and no second process:
what those cost us is the distance to it, and what they bring is seen where it is overrun or ended.
"""

import asyncio
import gc
import http.client
import json
import sys
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from tornado.httpserver import HTTPServer
from tornado.netutil import bind_sockets
from tornado.web import Application, RequestHandler

from lalafo_assets.bench.harness.workers import Worker, read_task, tell
from ops.models.heads import class_probabilities
from ops.photos.rendition import make_rendition
from resources.processes.environment import TUNING

HOST = "127.0.0.1"
THREADS = 2
MAX_PIXELS = 50_000_000


def start_peer(*, mode: str, log_file: Path) -> "tuple[Worker, str]":
    """The peer in a process of its own: the worker, and its URL.

    Args:
        mode: of the model, as `model_mode` in the settings.
    """
    worker = Worker(__name__, {"mode": mode}, log_file=log_file, environment=TUNING)
    try:
        return worker, f"http://{HOST}:{worker.answer()['port']}"
    except BaseException:
        worker.stop()
        raise


class Model:
    """The release, with an embedder and a connection to the photo host a thread."""

    def __init__(self, mode: Any) -> None:
        from lalafo_assets.starter import load_starter
        from ops.models.embed import Embedder

        release = load_starter()
        self.head = release.heads["category"]
        self.preprocessing = release.manifest.preprocessing
        self._embedders = [
            Embedder(release.backbone, device="cpu", threads=1, mode=mode) for _ in range(THREADS)
        ]
        for embedder in self._embedders:
            embedder.warm_up()
        self._local = threading.local()
        self.results: dict[str, dict[str, Any]] = {}

    def begin(self) -> None:
        """At the start of each thread."""
        self._local.embedder = self._embedders.pop()
        self._local.connections = {}

    def classify(self, ad_id: str, urls: Sequence[str]) -> dict[str, Any]:
        """Fetch, decode, embed and judge; the ad's category."""
        from ops.models.embed import prepare

        images = []
        for url in urls:
            made = make_rendition(self._fetch(url), max_pixels=MAX_PIXELS, proven=False)
            images.append(prepare(made.data, self.preprocessing))
        chances = class_probabilities(self._local.embedder.embed(images), self.head).mean(axis=0)
        order = chances.argsort()[::-1]
        best = int(order[0])
        result = {
            "category": self.head.labels[best],
            "score": float(chances[best]),
            "top": [[self.head.labels[n], float(chances[n])] for n in map(int, order[:5])],
        }
        self.results[ad_id] = result
        return result

    def _fetch(self, url: str) -> bytes:
        """Over this thread's own connection to the host."""
        parts = urlsplit(url)
        connection = self._local.connections.get(parts.netloc)
        if connection is None:
            connection = http.client.HTTPConnection(parts.hostname or "", parts.port)
            self._local.connections[parts.netloc] = connection
        connection.request("GET", parts.path)
        answer = connection.getresponse()
        data: bytes = answer.read()
        if answer.status != 200:
            raise RuntimeError(f"{url}: {answer.status}")
        return data


class Classify(RequestHandler):
    """`POST /classify`: {"ad_id", "photos"}; answered when the model has spoken."""

    def initialize(self, model: Model, pool: ThreadPoolExecutor) -> None:
        """Tornado's way to hand things to a handler."""
        self.model, self.pool = model, pool

    async def post(self) -> None:
        """Wait for a thread, and for what it says."""
        asked = json.loads(self.request.body)
        work = self.pool.submit(self.model.classify, asked["ad_id"], asked["photos"])
        self.write({"status": "Success", "results": await asyncio.wrap_future(work)})


async def _serve(model: Model) -> None:
    loop = asyncio.get_running_loop()
    with ThreadPoolExecutor(THREADS, "model", initializer=model.begin) as pool:
        handed = {"model": model, "pool": pool}
        server = HTTPServer(Application([("/classify", Classify, handed)], log_function=_quiet))
        sockets = bind_sockets(0, HOST)
        server.add_sockets(sockets)
        ended = asyncio.Event()

        class Watch(asyncio.Protocol):
            def connection_lost(self, error: Exception | None) -> None:
                ended.set()

        await loop.connect_read_pipe(Watch, sys.stdin)
        tell({"port": sockets[0].getsockname()[1]})
        await ended.wait()
        server.stop()
        pool.shutdown(wait=False, cancel_futures=True)


def _quiet(_: RequestHandler) -> None:
    """A line a request would cost what nobody reads."""


def main() -> None:
    """Load, say so, and serve until the bench ends."""
    model = Model(read_task()["mode"])
    gc.collect()
    gc.freeze()
    asyncio.run(_serve(model))


if __name__ == "__main__":
    main()
