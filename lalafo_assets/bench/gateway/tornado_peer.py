"""The peer of `lalafo bench gateway`: Tornado, a pool of two threads, and the model in the handler.

This is the first design of the original service. It uses the release, the photos, the preprocessing
and the scoring of the session; only the architecture differs. A photo is fetched, decoded and
embedded within the request, the caller waits, and the result is kept in memory only. There is no
queue, database, record of failures or second process. The difference in latency is what those cost;
what they are for shows when the peer is overloaded or stopped.
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

from lalafo_assets.bench.harness.workers import Worker, read_task, send_answer
from ops.models.heads import class_probabilities
from ops.photos.rendition import make_rendition
from resources.processes.environment import TUNING

HOST = "127.0.0.1"
THREADS = 2
MAX_PIXELS = 50_000_000


def start_peer(*, mode: str, log_file: Path) -> "tuple[Worker, str]":
    """Start the peer in its own process; returns the worker and the peer's URL.

    Args:
        mode: the model's mode, as `model_mode` in the settings.
    """
    worker = Worker(__name__, {"mode": mode}, log_file=log_file, environment=TUNING)
    try:
        return worker, f"http://{HOST}:{worker.answer()['port']}"
    except BaseException:
        worker.stop()
        raise


class Model:
    """The release, with one embedder and one connection to the photo host per thread."""

    def __init__(self, mode: Any) -> None:
        from lalafo_assets.starter import load_starter
        from ops.models.embed import Embedder

        release = load_starter()
        self.head = release.linear_heads["category"]
        self.preprocessing = release.manifest.preprocessing
        self._embedders = [
            Embedder(release.backbone, device="cpu", threads=1, mode=mode) for _ in range(THREADS)
        ]
        for embedder in self._embedders:
            embedder.warm_up()
        self._local = threading.local()
        self.results: dict[str, dict[str, Any]] = {}

    def init_thread(self) -> None:
        """Give the calling thread its embedder; called once at the start of each thread."""
        self._local.embedder = self._embedders.pop()
        self._local.connections = {}

    def classify(self, ad_id: str, urls: Sequence[str]) -> dict[str, Any]:
        """Fetch, decode, embed and score an ad's photos; returns its category."""
        from ops.models.embed import prepare

        images = []
        for url in urls:
            rendition = make_rendition(self._fetch(url), max_pixels=MAX_PIXELS, verify=False)
            images.append(prepare(rendition.data, self.preprocessing))
        vectors = self._local.embedder.embed(images)
        probabilities = class_probabilities(vectors, self.head).mean(axis=0)
        order = probabilities.argsort()[::-1]
        best = int(order[0])
        result = {
            "category": self.head.labels[best],
            "score": float(probabilities[best]),
            "top": [[self.head.labels[n], float(probabilities[n])] for n in map(int, order[:5])],
        }
        self.results[ad_id] = result
        return result

    def _fetch(self, url: str) -> bytes:
        """GET over this thread's own connection to the host."""
        parts = urlsplit(url)
        connection = self._local.connections.get(parts.netloc)
        if connection is None:
            connection = http.client.HTTPConnection(parts.hostname or "", parts.port)
            self._local.connections[parts.netloc] = connection
        connection.request("GET", parts.path)
        response = connection.getresponse()
        data: bytes = response.read()
        if response.status != 200:
            raise RuntimeError(f"{url}: status {response.status}, expected 200")
        return data


class Classify(RequestHandler):
    """`POST /classify`: {"ad_id", "photos"}; answers with the ad's category."""

    def initialize(self, model: Model, pool: ThreadPoolExecutor) -> None:
        """Receive the application's arguments, as Tornado calls it."""
        self.model, self.pool = model, pool

    async def post(self) -> None:
        """Classify the ad in a thread of the pool and wait for the result."""
        ad = json.loads(self.request.body)
        work = self.pool.submit(self.model.classify, ad["ad_id"], ad["photos"])
        self.write({"status": "Success", "results": await asyncio.wrap_future(work)})


async def _serve(model: Model) -> None:
    loop = asyncio.get_running_loop()
    with ThreadPoolExecutor(THREADS, "model", initializer=model.init_thread) as pool:
        arguments = {"model": model, "pool": pool}
        server = HTTPServer(Application([("/classify", Classify, arguments)], log_function=_quiet))
        sockets = bind_sockets(0, HOST)
        server.add_sockets(sockets)
        ended = asyncio.Event()

        class Watch(asyncio.Protocol):
            def connection_lost(self, error: Exception | None) -> None:
                ended.set()

        await loop.connect_read_pipe(Watch, sys.stdin)
        send_answer({"port": sockets[0].getsockname()[1]})
        await ended.wait()
        server.stop()
        pool.shutdown(wait=False, cancel_futures=True)


def _quiet(_: RequestHandler) -> None:
    """Log no requests: a line for each would cost time, and nobody reads it."""


def main() -> None:
    """Load the model, report the port, and serve until the bench ends."""
    model = Model(read_task()["mode"])
    gc.collect()
    gc.freeze()
    asyncio.run(_serve(model))


if __name__ == "__main__":
    main()
