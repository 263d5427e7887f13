"""A JSON POST to somebody's webhook: sent a few times within seconds, or an error that says so.

Decides time limits, and that an address's path is a secret: webhooks carry their key there.
Refuses to follow redirects, which would turn the POST into a GET.
"""

import json
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from email.message import Message
from http.client import HTTPException
from typing import IO
from urllib.parse import urlsplit

from ops.errors import ConfigurationError, LalafoError, RetryableError

TIMEOUT_S = 5.0
PAUSE_S = 0.5
_ASK_AGAIN = frozenset({408, 425, 429})


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(
        self,
        req: urllib.request.Request,
        fp: IO[bytes],
        code: int,
        msg: str,
        headers: Message,
        newurl: str,
    ) -> None:
        return None  # urllib raises the answer as an HTTPError then


def post_json(
    url: str,
    body: Mapping[str, object],
    *,
    attempts: int,
    pause: Callable[[float], None] = time.sleep,
) -> None:
    """Returns once the webhook has answered 2xx; TIMEOUT_S an attempt.

    A webhook that got the body and was too late with its answer gets it again.

    Raises:
        RetryableError: it is away, too slow, or answers 5xx, 408, 425 or 429, every time.
        ConfigurationError: it is no http(s) address, or it refuses (any other answer): at once.
    """
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ConfigurationError(
            "LALAFO_FAILURE_WEBHOOK_URL is no http:// or https:// address; leave it empty for none"
        )
    request = urllib.request.Request(  # noqa: S310 - the scheme was judged above
        url,
        data=json.dumps(body).encode(),
        headers={"Content-Type": "application/json", "User-Agent": "lalafo-vision"},
        method="POST",
    )
    opener = urllib.request.build_opener(_NoRedirect)
    for left in range(attempts - 1, -1, -1):
        try:
            opener.open(request, timeout=TIMEOUT_S).close()
            return
        except (OSError, HTTPException) as error:
            failure = _failure(parts.hostname, error)
            if left == 0 or isinstance(failure, ConfigurationError):
                raise failure from None  # the cause's text may hold the whole address
        pause(PAUSE_S * (attempts - left))


def _failure(host: str, error: OSError | HTTPException) -> LalafoError:
    what = f"the webhook at {host} (LALAFO_FAILURE_WEBHOOK_URL)"
    if isinstance(error, urllib.error.HTTPError):
        message = f"{what} answered {error.code}"
        error.close()
        if error.code >= 500 or error.code in _ASK_AGAIN:
            return RetryableError(message)
        return ConfigurationError(f"{message}: is the address right?")
    reason = error.reason if isinstance(error, urllib.error.URLError) else error
    return RetryableError(f"{what} did not answer: {type(reason).__name__}")
