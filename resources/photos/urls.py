"""Checks which URLs may be fetched, before any host name is resolved.

Owns the rules for scheme, credentials, port and length. Does not depend on addresses and HTTP.

    http and https only, and no credentials: photos are public
    ports 80, 443 and 1024 upwards: lower ports speak other protocols, and a fetcher that connects
    to them could be abused, for example to talk to mail servers
"""

import re

from yarl import URL

from ops.errors import BadInputError, Reason

MAX_URL_CHARS = 8_192
_HOST = re.compile(r"[\w.:%-]+")


def checked_url(url: str, base: URL | None = None) -> URL:
    """The parsed URL, relative to `base` if given.

    Raises:
        BadInputError: FETCH_BAD_URL.
    """
    if len(url) > MAX_URL_CHARS:
        raise BadInputError(
            Reason.FETCH_BAD_URL, f"the URL has {len(url)} characters; {MAX_URL_CHARS} are allowed"
        )
    try:
        parsed = URL(url.strip()) if base is None else base.join(URL(url.strip()))
        port = parsed.port
    except ValueError as error:
        raise BadInputError(Reason.FETCH_BAD_URL, "it can't be parsed as a URL") from error
    host = parsed.host or ""
    if parsed.scheme not in ("http", "https") or _HOST.fullmatch(host) is None or port is None:
        raise BadInputError(Reason.FETCH_BAD_URL, "expected http://host/… or https://host/…")
    if parsed.user is not None or parsed.password is not None:
        raise BadInputError(Reason.FETCH_BAD_URL, "credentials in a URL are not supported")
    if port not in (80, 443) and port < 1024:
        raise BadInputError(
            Reason.FETCH_BAD_URL, f"port {port} is not allowed; 80, 443 and ports from 1024 on are"
        )
    return parsed.with_fragment(None)


def host_of(url: URL) -> str:
    """The host, cut to 100 characters, for messages: the rest of a URL may contain secrets."""
    return (url.host or "")[:100]
