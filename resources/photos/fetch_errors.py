"""Maps errors of a fetch to failure reasons, and to whether a retry can help.

Owns the distinction between temporary and permanent failures. Never repeats the text of servers or
of the operating system, since it may contain addresses of the internal network.
"""

import errno
import socket

import aiohttp

from ops.errors import BadInputError, Reason
from resources.photos.addresses import AddressRefusedError

_TEMPORARY_STATUSES = frozenset({408, 425, 429})


class TemporaryFetchError(Exception):
    """A failure that a retry may avoid.

    Args:
        failure: what to report if there is no further attempt.
        retry_after_s: the seconds in the server's Retry-After header, if it sent one.
    """

    def __init__(self, failure: BadInputError, retry_after_s: float | None = None) -> None:
        super().__init__(str(failure))
        self.failure = failure
        self.retry_after_s = retry_after_s


def status_failure(
    status: int, host: str, retry_after_s: float | None
) -> BadInputError | TemporaryFetchError:
    """The failure for an HTTP status other than success."""
    detail = f"{host} answered {status}"
    if status in (404, 410):
        return BadInputError(Reason.FETCH_NOT_FOUND, detail)
    if status >= 500 or status in _TEMPORARY_STATUSES:
        return TemporaryFetchError(BadInputError(Reason.FETCH_HTTP_ERROR, detail), retry_after_s)
    return BadInputError(Reason.FETCH_HTTP_REFUSED, detail)


def failure_of(error: Exception, host: str) -> BadInputError | TemporaryFetchError:
    """The failure for an error of aiohttp or of the operating system."""
    cause = error.os_error if isinstance(error, aiohttp.ClientConnectorError) else error
    if isinstance(cause, AddressRefusedError):
        return BadInputError(Reason.FETCH_ADDRESS_REFUSED, f"{host} {cause}")
    if isinstance(cause, socket.gaierror):
        failure = BadInputError(Reason.FETCH_UNREACHABLE, f"{host} has no address")
        return TemporaryFetchError(failure) if cause.errno == socket.EAI_AGAIN else failure
    if isinstance(error, aiohttp.ClientSSLError):
        return BadInputError(Reason.FETCH_UNREACHABLE, f"no trusted TLS connection to {host}")
    if isinstance(error, TimeoutError):
        return TemporaryFetchError(
            BadInputError(Reason.FETCH_TIMEOUT, f"{host} did not accept the connection in time")
        )
    if isinstance(error, aiohttp.ClientPayloadError):
        return TemporaryFetchError(
            BadInputError(Reason.FETCH_UNREACHABLE, f"{host} closed the connection within the body")
        )
    if isinstance(error, aiohttp.ClientConnectionError | OSError):
        code = errno.errorcode.get(getattr(cause, "errno", None) or 0, "closed")
        return TemporaryFetchError(
            BadInputError(Reason.FETCH_UNREACHABLE, f"no connection to {host} ({code})")
        )
    if isinstance(error, ValueError):  # InvalidURL, and IDNA's errors for impossible names
        return BadInputError(Reason.FETCH_BAD_URL, f"{host} is not a valid host name or address")
    return BadInputError(Reason.FETCH_HTTP_ERROR, f"{host} sent a response that is not HTTP")
