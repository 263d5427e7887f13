"""What a broker's port speaks, and which log-ins it takes: asked after a connection has failed.

Uses sockets alone, sends no credentials, and waits a second at most.
"""

import socket
import ssl
import struct
from typing import Literal

_WAIT_S = 1.0
_SASL_HANDSHAKE, _API_VERSIONS = 17, 18
_ILLEGAL_SASL_STATE = 34
_CORRELATION_ID = 7
_MAX_ANSWER_BYTES = 2**20


def protocol_of(host: str, port: int) -> Literal["TLS", "plaintext"] | None:
    """What the port speaks; None if it can't be known."""
    if _speaks_tls(host, port):
        return "TLS"
    return "plaintext" if _answers_in_plaintext(host, port) else None


def mechanisms_of(host: str, port: int, *, tls: bool) -> tuple[str, ...] | None:
    """The log-ins that the port takes; () if it takes none, None if it can't be known."""
    body = struct.pack(">h", 0)  # a mechanism without a name: the answer lists those that exist
    answer = _ask(host, port, _SASL_HANDSHAKE, 1, body, tls=tls)
    if answer is None or len(answer) < 6:
        return None
    code, count = struct.unpack(">hi", answer[:6])
    if code == _ILLEGAL_SASL_STATE:
        return ()
    names, rest = [], answer[6:]
    for _ in range(count):
        (size,) = struct.unpack(">h", rest[:2])
        names.append(rest[2 : 2 + size].decode())
        rest = rest[2 + size :]
    return tuple(sorted(names))


def _speaks_tls(host: str, port: int) -> bool:
    try:
        with _open(host, port, tls=True):
            return True
    except ssl.SSLError as error:
        return "ALERT" in (error.reason or "")  # an alert is an answer in TLS
    except OSError:
        return False


def _answers_in_plaintext(host: str, port: int) -> bool:
    """Whether it answers Kafka's first request, which needs no log-in."""
    return _ask(host, port, _API_VERSIONS, 0, b"", tls=False) is not None


def _open(host: str, port: int, *, tls: bool) -> socket.socket:
    sock = socket.create_connection((host, port), timeout=_WAIT_S)
    if not tls:
        return sock
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE  # no credentials are sent
    try:
        return context.wrap_socket(sock, server_hostname=host)
    except BaseException:
        sock.close()
        raise


def _ask(host: str, port: int, api: int, version: int, body: bytes, *, tls: bool) -> bytes | None:
    """The answer to one request of Kafka's protocol, without its header; None if none came."""
    request = struct.pack(">hhih", api, version, _CORRELATION_ID, -1) + body
    try:
        with _open(host, port, tls=tls) as sock:
            sock.sendall(struct.pack(">i", len(request)) + request)
            size, correlation_id = struct.unpack(">ii", _receive(sock, 8))
            if not 4 <= size < _MAX_ANSWER_BYTES or correlation_id != _CORRELATION_ID:
                return None
            return _receive(sock, size - 4)
    except OSError:
        return None


def _receive(sock: socket.socket, size: int) -> bytes:
    received = b""
    while len(received) < size:
        part = sock.recv(size - len(received))
        if part == b"":
            raise ConnectionResetError("closed before the whole answer")
        received += part
    return received
