"""kafka-python's connections, with what a refused one says, and credentials that may change.

kafka-python 3.0.12 reports a wrong password or certificate only as a timeout, connects again at
once after it, drops what a broker sent just before it closed the connection (why it refuses), does
not close the socket of an attempt that failed, and never fetches again from a node to which a
request could not be sent. Imports kafka-python: import this module inside functions only.
"""

import ssl
import time
from typing import Any

from kafka.errors import (
    IllegalSaslStateError,
    KafkaConnectionError,
    KafkaError,
    SaslAuthenticationFailedError,
    UnsupportedSaslMechanismError,
)
from kafka.future import Future
from kafka.net.compat import KafkaNetClient
from kafka.net.inet import KafkaNetSocket
from kafka.net.manager import KafkaConnectionManager
from kafka.net.selector import NetworkSelector
from kafka.net.transport import KafkaSSLTransport, KafkaTCPTransport

from resources.kafka.security.access import KafkaAccess, Refusal

LOGIN_ERRORS = (
    IllegalSaslStateError,
    SaslAuthenticationFailedError,
    UnsupportedSaslMechanismError,
)
_REPORT_FOR_S = 1.0


class TlsError(KafkaConnectionError):  # type: ignore[misc] # kafka-python has no types
    """The TLS handshake failed; the cause is OpenSSL's error."""


class _LastWords:
    """A transport that passes on what came together with the end of the connection."""

    def _sock_recv(self) -> tuple[bytes, BaseException | None]:
        data, error = super()._sock_recv()  # type: ignore[misc] # of kafka-python's transport
        return (data, None) if data else (data, error)  # the next read meets the error again


class _Plaintext(_LastWords, KafkaTCPTransport):  # type: ignore[misc] # as above
    pass


class _Tls(_LastWords, KafkaSSLTransport):  # type: ignore[misc] # as above
    pass


class Manager(KafkaConnectionManager):  # type: ignore[misc] # as above
    """The connections of one client.

    Args:
        access: gets the refusal of a connection, and gives the credentials of new ones.
    """

    def __init__(self, net: Any, access: KafkaAccess, **configs: Any) -> None:
        self._access = access
        self._refused: dict[Any, tuple[BaseException, float]] = {}  # by node, with the time
        super().__init__(net, **configs)

    def get_connection(self, node_id: Any, *args: Any, **options: Any) -> Any:
        """A node's connection; a new one logs in with the current credentials."""
        known = self._conns.get(node_id)
        if known is None and self._access.file is not None:
            self._access.refresh()
            self.config.update(self._access.kafka_python_options())
        connection = super().get_connection(node_id, *args, **options)
        if connection is not known:
            connection.init_future.add_callback(lambda _: self._connected(node_id))
            connection.init_future.add_errback(lambda error: self._failed(node_id, error))
            connection.close_future.add_errback(lambda error: self._failed(node_id, error))
        return connection

    def maybe_raise_auth_failure(self, node_id: Any) -> None:
        """Report a refused log-in or certificate for a second; after that, connect again.

        kafka-python's own would refuse the node until the client is closed.
        """
        error, at = self._refused.get(node_id, (None, 0.0))
        if error is not None and time.monotonic() - at < _REPORT_FOR_S:
            raise error

    def send(self, request: Any, *args: Any, **options: Any) -> Any:
        """Send a request; the future has the error of a node that can't be used.

        kafka-python's own raises it, and the fetcher then waits for that node's answer.
        """
        try:
            return super().send(request, *args, **options)
        except KafkaError as error:
            return Future().failure(error)

    async def _build_transport(self, node: Any, timeout_at: float | None = None) -> Any:
        sock = await self._open_socket(node, timeout_at)
        try:
            if self.ssl_enabled:
                options = {k: v for k, v in self.config.items() if k.startswith("ssl_")}
                transport = _Tls(self._net, sock, host=node.host, **options)
            else:
                transport = _Plaintext(self._net, sock, host=node.host)
        except Exception as error:
            sock.close()
            raise TlsError(str(error)) from error
        try:
            await transport.handshake()
        except Exception as error:
            transport.close()
            raise TlsError(f"TLS handshake failed: {error}") from error
        except BaseException:  # the client is closed meanwhile
            transport.close()
            raise
        return transport

    async def _open_socket(self, node: Any, timeout_at: float | None) -> Any:
        """Connect to the first address that answers."""
        factory = KafkaNetSocket()
        last: Exception = KafkaConnectionError("DNS Resolution failure")
        for family, kind, proto, _, address in factory.dns_lookup(node.host, node.port):
            sock = factory.socket(family, kind, proto)
            try:
                sock.setblocking(False)
                for option in self.config["socket_options"]:
                    sock.setsockopt(*option)
                return await factory.sock_connect(self._net, sock, address, timeout_at=timeout_at)
            except (OSError, KafkaError) as error:
                sock.close()
                last = KafkaConnectionError(str(error))
            except BaseException:  # the client is closed meanwhile
                sock.close()
                raise
        raise last

    async def _connect(self, node: Any, conn: Any, *args: Any, **options: Any) -> None:
        """Keep the back-off of a node that was reached and refused the log-in."""
        before = self._backoff.get(node.node_id)
        await super()._connect(node, conn, *args, **options)
        if conn.init_future.failed() and node.node_id not in self._backoff:
            if before is not None:
                self._backoff[node.node_id] = before
            self.update_backoff(node.node_id)

    def _connected(self, node_id: Any) -> None:
        self._refused.pop(node_id, None)
        self._access.refusal = None

    def _failed(self, node_id: Any, error: BaseException) -> None:
        node = self.cluster.broker_metadata(node_id)
        if node is None or self.closed:
            return
        self._access.refusal = Refusal(node.host, node.port, error)
        if isinstance(error, LOGIN_ERRORS) or isinstance(
            error.__cause__, ssl.SSLCertVerificationError
        ):
            self._refused[node_id] = (error, time.monotonic())


def net_client(access: KafkaAccess, **arguments: Any) -> KafkaNetClient:
    """What kafka-python's option `kafka_client` creates, with these connections."""
    net = NetworkSelector(**arguments)
    return KafkaNetClient(net=net, manager=Manager(net, access, **arguments))
