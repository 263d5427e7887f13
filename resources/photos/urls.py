"""Which URLs may be fetched at all, before any name is looked up.

Decides scheme, credentials, port and length; refuses to know addresses and HTTP.

    http and https only, and no credentials: a photo is public
    ports 80, 443 and 1024 upwards: those below speak other protocols, and a fetcher that can be
    sent to them is a tool for talking to mail servers
"""

import re

from yarl import URL

from ops.errors import BadInputError, Reason

MAX_URL_CHARS = 8_192
_HOST = re.compile(r"[\w.:%-]+")


def checked_url(url: str, base: URL | None = None) -> URL:
    """The URL, relative to `base` if given, or FETCH_BAD_URL."""
    if len(url) > MAX_URL_CHARS:
        raise BadInputError(
            Reason.FETCH_BAD_URL, f"a URL of {len(url)} characters; {MAX_URL_CHARS} are allowed"
        )
    try:
        parsed = URL(url.strip()) if base is None else base.join(URL(url.strip()))
        port = parsed.port
    except ValueError as error:
        raise BadInputError(Reason.FETCH_BAD_URL, "it can't be parsed as a URL") from error
    host = parsed.host or ""
    if parsed.scheme not in ("http", "https") or _HOST.fullmatch(host) is None or port is None:
        raise BadInputError(Reason.FETCH_BAD_URL, "neither http://host/… nor https://host/…")
    if parsed.user is not None or parsed.password is not None:
        raise BadInputError(Reason.FETCH_BAD_URL, "credentials in a URL are not supported")
    if port not in (80, 443) and port < 1024:
        raise BadInputError(
            Reason.FETCH_BAD_URL, f"port {port}; 80, 443 and those from 1024 on are allowed"
        )
    return parsed.with_fragment(None)


def host_of(url: URL) -> str:
    """The host, cut to what fits a message; the rest of a URL may hold secrets."""
    return (url.host or "")[:100]
