"""Sends a JSON POST to a webhook, with a few attempts within seconds.

Owns the time limits. Treats the path of the URL as a secret, since webhooks carry their key there.
Does not follow redirects, which would turn the POST into a GET.
"""

import json
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from email.message import Message
from http.client import HTTPException, InvalidURL
from typing import IO
from urllib.parse import urlsplit

from ops.errors import ConfigurationError, LalafoError, RetryableError

TIMEOUT_S = 5.0
PAUSE_S = 0.5
_RETRIED_STATUSES = frozenset({408, 425, 429})


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
        return None  # urllib then raises the response as an HTTPError


def post_json(
    url: str,
    body: Mapping[str, object],
    *,
    attempts: int,
    pause: Callable[[float], None] = time.sleep,
) -> None:
    """Send the body and return once the webhook has answered 2xx.

    Each attempt has TIMEOUT_S. A webhook that got the body but answered too late gets it again.

    Raises:
        RetryableError: every attempt failed: the webhook was unreachable, too slow, or answered
            5xx, 408, 425 or 429.
        ConfigurationError: the URL is no http(s) URL, or the webhook gave any other answer; that is
            not retried.
    """
    host = _host_of(url)
    request = urllib.request.Request(  # noqa: S310 - the scheme was checked above
        url,
        data=json.dumps(body).encode(),
        headers={"Content-Type": "application/json", "User-Agent": "lalafo-vision"},
        method="POST",
    )
    opener = urllib.request.build_opener(_NoRedirect)
    for attempts_left in range(attempts - 1, -1, -1):
        try:
            opener.open(request, timeout=TIMEOUT_S).close()
            return
        except (UnicodeError, InvalidURL):  # a label that is too long, a port that is no number
            raise _bad_url() from None
        except (OSError, HTTPException) as error:
            failure = _failure(host, error)
            if attempts_left == 0 or isinstance(failure, ConfigurationError):
                raise failure from None  # the cause's text may contain the whole URL
        pause(PAUSE_S * (attempts - attempts_left))


def _host_of(url: str) -> str:
    try:
        parts = urlsplit(url)
        host = parts.hostname
    except ValueError:
        raise _bad_url() from None
    if parts.scheme not in ("http", "https") or not host or not url.isascii():
        raise _bad_url()
    return host


def _bad_url() -> ConfigurationError:
    return ConfigurationError(
        "LALAFO_FAILURE_WEBHOOK_URL is not an http:// or https:// URL in ASCII. Correct it, or "
        "leave it empty to send no alerts"
    )


def _failure(host: str, error: OSError | HTTPException) -> LalafoError:
    webhook = f"the webhook at {host} (LALAFO_FAILURE_WEBHOOK_URL)"
    if isinstance(error, urllib.error.HTTPError):
        message = f"{webhook} answered {error.code}"
        error.close()
        if error.code >= 500 or error.code in _RETRIED_STATUSES:
            return RetryableError(message)
        return ConfigurationError(f"{message}: check the URL")
    reason = error.reason if isinstance(error, urllib.error.URLError) else error
    return RetryableError(f"{webhook} did not answer: {type(reason).__name__}")
