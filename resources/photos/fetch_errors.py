"""What went wrong with a fetch, as a reason, and whether another attempt can help.

Decides between failures that pass and those that stay; refuses to repeat what servers or the
system said, since that names addresses behind our walls.
"""

import errno
import socket

import aiohttp

from ops.errors import BadInputError, Reason
from resources.photos.addresses import AddressRefusedError

_PASSING_STATUSES = frozenset({408, 425, 429})


class PassingError(Exception):
    """A failure that another attempt may not meet.

    Args:
        failure: what to report when there is no other attempt.
        retry_after_s: how long the server asked us to wait.
    """

    def __init__(self, failure: BadInputError, retry_after_s: float | None = None) -> None:
        super().__init__(str(failure))
        self.failure = failure
        self.retry_after_s = retry_after_s


def status_failure(
    status: int, host: str, retry_after_s: float | None
) -> BadInputError | PassingError:
    """The failure that an HTTP status other than success means."""
    detail = f"{host} answered {status}"
    if status in (404, 410):
        return BadInputError(Reason.FETCH_NOT_FOUND, detail)
    if status >= 500 or status in _PASSING_STATUSES:
        return PassingError(BadInputError(Reason.FETCH_HTTP_ERROR, detail), retry_after_s)
    return BadInputError(Reason.FETCH_HTTP_REFUSED, detail)


def failure_of(error: Exception, host: str) -> BadInputError | PassingError:
    """The failure that an error of aiohttp or the system means."""
    cause = error.os_error if isinstance(error, aiohttp.ClientConnectorError) else error
    if isinstance(cause, AddressRefusedError):
        return BadInputError(Reason.FETCH_ADDRESS_REFUSED, f"{host} {cause}")
    if isinstance(cause, socket.gaierror):
        failure = BadInputError(Reason.FETCH_UNREACHABLE, f"{host} has no address")
        return PassingError(failure) if cause.errno == socket.EAI_AGAIN else failure
    if isinstance(error, aiohttp.ClientSSLError):
        return BadInputError(Reason.FETCH_UNREACHABLE, f"{host} offers no TLS that can be trusted")
    if isinstance(error, TimeoutError):
        return PassingError(
            BadInputError(Reason.FETCH_TIMEOUT, f"{host} did not accept the connection in time")
        )
    if isinstance(error, aiohttp.ClientPayloadError):
        return PassingError(
            BadInputError(Reason.FETCH_UNREACHABLE, f"{host} broke off in the middle of the body")
        )
    if isinstance(error, aiohttp.ClientConnectionError | OSError):
        code = errno.errorcode.get(getattr(cause, "errno", None) or 0, "closed")
        return PassingError(
            BadInputError(Reason.FETCH_UNREACHABLE, f"no connection to {host} ({code})")
        )
    if isinstance(error, ValueError):  # InvalidURL, and IDNA's errors for impossible names
        return BadInputError(Reason.FETCH_BAD_URL, f"{host} is no name or address of a host")
    return BadInputError(Reason.FETCH_HTTP_ERROR, f"{host} answered something that is not HTTP")
