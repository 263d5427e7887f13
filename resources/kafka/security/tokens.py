"""Tokens for OAUTHBEARER: OIDC's client credentials, kept until shortly before they expire.

A token that is still valid is renewed in the background, so that no connection waits for the
endpoint. Does not depend on kafka-python. Never shows the secret or a token.
"""

import base64
import json
import logging
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ops.errors import ConfigurationError, LalafoError, RetryableError

REQUEST_TIMEOUT_S = 3.0
RENEW_AT = 0.8  # of a token's lifetime, as in Kafka's own clients
_UNKNOWN_LIFETIME_S = 60.0
_REFUSED = {400, 401, 403, 404, 405}

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Oidc:
    """A client at a token endpoint."""

    url: str
    client_id: str
    secret: str = field(repr=False)
    scope: str
    extensions: Mapping[str, str]
    ca_location: str


@dataclass(frozen=True, slots=True)
class _Token:
    text: str = field(repr=False)
    renew_at: float  # monotonic seconds
    expires_at: float


def oidc_of(properties: Mapping[str, str]) -> Oidc:
    """Read the client from the properties.

    Raises:
        ConfigurationError: the extensions are not key=value,key=value.
    """
    extensions = {}
    for pair in filter(None, properties.get("sasl.oauthbearer.extensions", "").split(",")):
        key, separator, value = pair.strip().partition("=")
        if separator == "" or not key.isalpha() or key == "auth":
            raise ConfigurationError(
                "sasl.oauthbearer.extensions: expected key=value,key=value with letters in keys."
            )
        extensions[key] = value
    return Oidc(
        url=properties["sasl.oauthbearer.token.endpoint.url"],
        client_id=properties["sasl.oauthbearer.client.id"],
        secret=properties["sasl.oauthbearer.client.secret"],
        scope=properties.get("sasl.oauthbearer.scope", ""),
        extensions=extensions,
        ca_location=properties.get("https.ca.location", ""),
    )


class TokenSource:
    """The tokens of one client. Thread-safe; shared by all connections of a process."""

    def __init__(
        self,
        oidc: Oidc,
        named: Callable[..., str],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.oidc = oidc
        self._named = named
        self._clock = clock
        self._token: _Token | None = None
        self._lock = threading.Lock()
        self._renewal: threading.Thread | None = None

    def token(self) -> str:
        """A valid token; waits for the endpoint only if there is none.

        Raises:
            ConfigurationError: the endpoint refuses the client.
            RetryableError: the endpoint does not answer, or answers with an error of its own.
        """
        token, now = self._token, self._clock()
        if token is None or now >= token.expires_at:
            with self._lock:  # one request, however many connections wait for it
                if self._token is None or self._clock() >= self._token.expires_at:
                    self._token = self._request()
                token = self._token
        elif now >= token.renew_at:
            self._renew()
        return token.text

    def _renew(self) -> None:
        with self._lock:
            if self._renewal is not None and self._renewal.is_alive():
                return
            self._renewal = threading.Thread(
                target=self._try_to_renew, name="kafka-token", daemon=True
            )
            self._renewal.start()

    def _try_to_renew(self) -> None:
        try:
            self._token = self._request()
        except LalafoError as error:
            log.warning("a token for Kafka could not be renewed; the last one is valid: %s", error)

    def _request(self) -> _Token:
        import httpx

        oidc = self.oidc
        form = {"grant_type": "client_credentials"} | ({"scope": oidc.scope} if oidc.scope else {})
        verify = self._context()
        try:
            answer = httpx.post(
                oidc.url,
                data=form,
                auth=(oidc.client_id, oidc.secret),
                timeout=REQUEST_TIMEOUT_S,
                verify=verify,
            )
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise RetryableError(
                f"The token endpoint of Kafka's OAUTHBEARER, {self._where()}, is not reachable: "
                f"{error or type(error).__name__}."
            ) from None
        return self._token_of(answer)

    def _context(self) -> Any:
        import ssl

        if self.oidc.ca_location == "":
            return True
        try:
            return ssl.create_default_context(cafile=self.oidc.ca_location)
        except OSError as error:  # an SSLError is one too
            raise ConfigurationError(
                f"{self._named('https.ca.location')} can't be used: {error.strerror or error}. "
                "Expected PEM certificates."
            ) from None

    def _token_of(self, answer: Any) -> _Token:
        body = _object(answer.text)
        if answer.status_code != 200:
            reason = str(body.get("error", ""))[:100]
            said = f"{answer.status_code} {reason}".strip()
            if answer.status_code in _REFUSED:
                prefix = "sasl.oauthbearer"
                raise ConfigurationError(
                    f"The token endpoint of Kafka's OAUTHBEARER, {self._where()}, refuses the "
                    f"client {self.oidc.client_id!r}: {said}. Check "
                    f"{self._named(f'{prefix}.client.id', f'{prefix}.client.secret')} and the "
                    "scope."
                )
            raise RetryableError(
                f"The token endpoint of Kafka's OAUTHBEARER, {self._where()}, answers {said}."
            )
        text = body.get("access_token")
        if not isinstance(text, str) or text == "":
            raise ConfigurationError(
                f"{self._where()} answers without an access_token: it is not an OAuth token "
                "endpoint."
            )
        now = self._clock()
        lifetime_s = _lifetime_s(body, text)
        return _Token(text, now + lifetime_s * RENEW_AT, now + lifetime_s)

    def _where(self) -> str:
        """The endpoint without its query, which may have a secret."""
        shown = self.oidc.url.partition("?")[0]
        scheme, _, rest = shown.partition("://")
        host, slash, path = rest.partition("/")
        return f"{scheme}://{host.rpartition('@')[2]}{slash}{path}"


def _object(text: str) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _lifetime_s(body: Mapping[str, Any], token: str) -> float:
    """The seconds for which a token is valid: as the endpoint says, else by the token's `exp`."""
    said = body.get("expires_in")
    if isinstance(said, int | float) and not isinstance(said, bool) and said > 0:
        return float(said)
    parts = token.split(".")
    if len(parts) == 3:
        padded = parts[1] + "=" * (-len(parts[1]) % 4)
        try:
            expires = _object(base64.urlsafe_b64decode(padded).decode()).get("exp")
        except ValueError:
            expires = None
        if isinstance(expires, int | float):
            return max(1.0, expires - time.time())
    return _UNKNOWN_LIFETIME_S
