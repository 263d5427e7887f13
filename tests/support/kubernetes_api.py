"""Records what dagster-k8s sends to Kubernetes' API over HTTP; nothing runs it.

It answers each POST with the object that came, as the API server does, and admits everything: what
is right is checked by Kubernetes' schemas (`manifests.py`).
"""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import kubernetes


class RecordedApi:
    """The objects that were created, by path, and the answer to every request for one."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.created: list[tuple[str, dict[str, Any]]] = []
        self.answer: tuple[int, dict[str, Any]] = (404, {"kind": "Status"})

    def jobs(self) -> list[dict[str, Any]]:
        return [body for path, body in self.created if path.endswith("/jobs")]

    def configure(self) -> None:
        """In the place of `load_incluster_config`, which needs a pod's token."""
        client = kubernetes.client.Configuration()
        client.host = self.address
        kubernetes.client.Configuration.set_default(client)


@contextmanager
def recorded_api() -> Iterator[RecordedApi]:
    """An API server on loopback."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            api.created.append((self.path, body))
            self.send(201, body)

        def do_GET(self) -> None:
            self.send(*api.answer)

        def send(self, status: int, body: dict[str, Any]) -> None:
            sent = json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(sent)))
            self.end_headers()
            self.wfile.write(sent)

        def log_message(self, format: str, *args: Any) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    api = RecordedApi(f"http://127.0.0.1:{server.server_port}")
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield api
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
