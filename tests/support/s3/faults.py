"""A front before an S3 server: it forwards requests, or answers them with a fault."""

import http.client
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Self

Fault = Callable[[BaseHTTPRequestHandler], bool]
"""Answers a request and returns True, or returns False to have it forwarded."""


def refusing(status: int, code: str, message: str = "Try again.") -> Fault:
    """Answer with an error of S3."""

    def answer(request: BaseHTTPRequestHandler) -> bool:
        body = f"<Error><Code>{code}</Code><Message>{message}</Message></Error>".encode()
        request.send_response(status)
        request.send_header("Content-Type", "application/xml")
        request.send_header("Content-Length", str(len(body)))
        request.end_headers()
        if request.command != "HEAD":
            request.wfile.write(body)
        return True

    return answer


def delaying(seconds: float) -> Fault:
    """Forward the request later."""

    def wait(request: BaseHTTPRequestHandler) -> bool:
        threading.Event().wait(seconds)
        return False

    return wait


def closing(request: BaseHTTPRequestHandler) -> bool:
    """Close the connection without an answer."""
    request.close_connection = True
    return True


class Front:
    """Forwards to a server on this machine, and counts the requests.

    Attributes:
        faults: the next requests get these, one each; then `fault` if it is set.
        release: ends what `freezing` holds.
    """

    def __init__(self, port: int) -> None:
        self.faults: list[Fault] = []
        self.fault: Fault | None = None
        self.requests: list[str] = []
        self.release = threading.Event()
        front = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def _serve(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                front.requests.append(f"{self.command} {self.path}")
                fault = front.faults.pop(0) if front.faults else front.fault
                if fault is None or not fault(self):
                    self._forward(body)

            do_GET = do_PUT = do_HEAD = do_DELETE = do_POST = _serve

            def _forward(self, body: bytes) -> None:
                server = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
                try:
                    server.request(self.command, self.path, body, dict(self.headers))
                    got = server.getresponse()
                    answer = got.read()
                finally:
                    server.close()
                self.send_response_only(got.status)
                for name, value in got.getheaders():
                    if name.lower() not in ("transfer-encoding", "content-length", "connection"):
                        self.send_header(name, value)
                length = got.getheader("Content-Length") if self.command == "HEAD" else None
                self.send_header("Content-Length", length or str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, format: str, *args: object) -> None:
                """Log nothing."""

        class Server(ThreadingHTTPServer):
            daemon_threads = True

        self._server = Server(("127.0.0.1", 0), Handler)
        self.port = int(self._server.server_address[1])
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)

    def freezing(self, request: BaseHTTPRequestHandler) -> bool:
        """Keep the connection and send nothing until `release` is set."""
        self.release.wait(60)
        request.close_connection = True
        return True

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.release.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
