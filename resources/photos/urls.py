"""Checks which URLs may be fetched, and what a request sends, before any host name is resolved.

Owns the rules for scheme, host, port, credentials and length, and the request target: the bytes of
the URL as they came. Does not depend on addresses and HTTP.

    http and https only, and no credentials: photos are public
    ports 80, 443 and 1024 upwards: lower ports speak other protocols, and a fetcher that connects
    to them could be abused, for example to talk to mail servers
    nothing is encoded or decoded again, since a signature covers the URL as it was signed: only
    characters that no URL may contain are percent-encoded, as UTF-8
"""

import ipaddress
import re
from dataclasses import dataclass

from yarl import URL

from ops.errors import BadInputError, Reason

MAX_URL_CHARS = 8_192
_PORTS = {"http": 80, "https": 443}
_SURROUNDING = "".join(map(chr, range(33)))  # spaces and control characters, as browsers strip them

# RFC 3986, appendix B; a query keeps its question mark, since an empty one is sent too.
_PARTS = re.compile(
    r"(?:(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*):)?"
    r"(?://(?P<authority>[^/?#]*))?"
    r"(?P<path>[^?#]*)(?P<query>\?[^#]*)?"
)
_AUTHORITY = re.compile(r"(?P<host>\[[^\[\]]*\]|[^:\[\]]*)(?::(?P<port>[0-9]{0,5}))?")
_ASCII_HOST = re.compile(r"(?:[a-z0-9_-]{1,63}\.)*[a-z0-9_-]{1,63}\.?")
_MAX_HOST_CHARS = 253
# Outside the characters of RFC 3986, section 2, or a percent sign that encodes nothing.
_NOT_ALLOWED = re.compile(rb"[^A-Za-z0-9._~:/?#\[\]@!$&'()*+,;=%-]|%(?![0-9A-Fa-f]{2})")


@dataclass(frozen=True, slots=True)
class PhotoUrl:
    """A checked URL.

    Attributes:
        scheme: "http" or "https".
        host: ASCII in lower case; an IPv6 address without brackets.
        port: the port to connect to.
        target: path and query, as the request line has them; ASCII, begins with a slash.
    """

    scheme: str
    host: str
    port: int
    target: str

    @property
    def request(self) -> URL:
        """The URL for aiohttp, which sends `target` byte for byte."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        # The whole target is given as the path: yarl drops the question mark of an empty query.
        return URL.build(
            scheme=self.scheme, authority=f"{host}:{self.port}", path=self.target, encoded=True
        )


def checked_url(url: str) -> PhotoUrl:
    """The parsed URL.

    Raises:
        BadInputError: FETCH_BAD_URL.
    """
    return _checked(url, None, "strict")


def redirect_url(location: bytes, base: PhotoUrl) -> PhotoUrl:
    """The target of a redirect: a Location header, relative to the URL that was requested.

    Bytes that are not ASCII are percent-encoded as they came, whatever their encoding.

    Raises:
        BadInputError: FETCH_BAD_URL.
    """
    return _checked(location.decode("utf-8", "surrogateescape"), base, "surrogateescape")


def host_of(url: PhotoUrl) -> str:
    """The host, cut to 100 characters, for messages: the rest of a URL may contain secrets."""
    return url.host[:100]


def _checked(text: str, base: PhotoUrl | None, surrogates: str) -> PhotoUrl:
    if len(text) > MAX_URL_CHARS:
        raise _bad(f"the URL has {len(text)} characters; {MAX_URL_CHARS} are allowed")
    parts = _PARTS.match(text.strip(_SURROUNDING))
    assert parts is not None, "the pattern matches any text"
    scheme = (parts["scheme"] or ("" if base is None else base.scheme)).lower()
    if scheme not in _PORTS:
        raise _bad("expected http://host/… or https://host/…")
    path, query = parts["path"], parts["query"]
    if parts["authority"] is None:
        if base is None or parts["scheme"] is not None:
            raise _bad("expected http://host/… or https://host/…")
        host, port = base.host, base.port
        path, query = _resolved(path, query, base.target)
    else:
        host, port = _host_and_port(parts["authority"], scheme)
    try:
        target = _quoted(_without_dots(path) + (query or ""), surrogates)
    except UnicodeEncodeError as error:
        raise _bad("it contains half of a UTF-16 surrogate pair") from error
    return PhotoUrl(scheme, host, port, target)


def _host_and_port(authority: str, scheme: str) -> tuple[str, int]:
    if "@" in authority:
        raise _bad("credentials in a URL are not supported")
    parts = _AUTHORITY.fullmatch(authority)
    if parts is None:
        raise _bad("its host or port can't be parsed")
    port = int(parts["port"] or _PORTS[scheme])
    if port not in _PORTS.values() and not 1024 <= port <= 65_535:
        raise _bad(f"port {port} is not allowed; 80, 443 and 1024 to 65535 are")
    return _host(parts["host"]), port


def _host(text: str) -> str:
    """The host as it is looked up: an address, or a name in ASCII."""
    try:
        if text.startswith("["):
            address = ipaddress.IPv6Address(text[1:-1])
            if address.scope_id is not None:  # is meaningful on one machine only
                raise _bad("an IPv6 address with a zone is not supported")
            return address.compressed
        host = URL.build(scheme="http", host=text).raw_host or ""
        for label in host.split("."):
            if label.startswith("xn--"):
                # Decoded by IDNA as a check. The dot: yarl decodes nothing that ends with a digit.
                _ = URL.build(scheme="http", host=f"{label}.").host
    except ValueError as error:  # includes IDNA's UnicodeError
        raise _bad("its host is not a valid name or address") from error
    if len(host.rstrip(".")) > _MAX_HOST_CHARS or _ASCII_HOST.fullmatch(host) is None:
        raise _bad("its host is not a valid name or address")
    return host


def _resolved(path: str, query: str | None, target: str) -> tuple[str, str | None]:
    """Path and query of a relative reference (RFC 3986, 5.2.2) to a request target."""
    base_path, mark, base_query = target.partition("?")
    if path.startswith("/"):
        return path, query
    if path != "":
        return f"{base_path.rpartition('/')[0]}/{path}", query
    return base_path, mark + base_query if query is None else query


def _without_dots(path: str) -> str:
    """The path without its segments "." and ".." (RFC 3986, 5.2.4); it begins with a slash."""
    if "." not in path:
        return path if path != "" else "/"
    segments = path.split("/")[1:]
    kept: list[str] = []
    for segment in segments:
        if segment == "..":
            del kept[-1:]
        elif segment != ".":
            kept.append(segment)
    if segments[-1] in (".", ".."):
        kept.append("")
    return "/" + "/".join(kept)


def _quoted(target: str, surrogates: str) -> str:
    raw = target.encode("utf-8", surrogates)
    return _NOT_ALLOWED.sub(lambda found: b"%%%02X" % found[0][0], raw).decode("ascii")


def _bad(detail: str) -> BadInputError:
    return BadInputError(Reason.FETCH_BAD_URL, detail)
