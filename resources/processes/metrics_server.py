"""Serves a process's Prometheus metrics on the first free port from LALAFO_METRICS_PORT on."""

import socket
from typing import Any

from prometheus_client import CollectorRegistry, start_http_server

from ops.errors import ConfigurationError

PORTS_TRIED = 50


class MetricsServer:
    """The HTTP server of one registry; it serves between `start` and `stop`.

    Args:
        port: the first to try; 0: it serves nothing.
    """

    def __init__(self, registry: CollectorRegistry, host: str, port: int) -> None:
        self._registry, self._host, self._port = registry, host, port
        self._server: Any = None

    def start(self) -> str:
        """Serve the metrics, and return their URL; "" without a port.

        Raises:
            ConfigurationError: the port and the 49 after it are in use.
        """
        if self._port == 0:
            return ""
        for port in range(self._port, min(self._port + PORTS_TRIED, 65_536)):
            try:
                self._server, _ = start_http_server(port, self._host, registry=self._registry)
            except OSError:
                continue
            return f"http://{self._host}:{port}/metrics"
        raise ConfigurationError(
            f"LALAFO_METRICS_PORT={self._port}: this port and the {PORTS_TRIED - 1} after it are "
            f"in use on {self._host} ({socket.gethostname()})"
        )

    def stop(self) -> None:
        """Serve nothing more; a repeated call does nothing."""
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None
