"""Checks of Kafka's security properties at start: what is missing, and files that can't be used.

Connects to nothing. A message names the property's source and never has a secret.
"""

import ssl
from collections.abc import Callable, Mapping
from pathlib import Path

from pydantic import SecretStr

from ops.errors import ConfigurationError

PROTOCOLS = ("PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL")
MECHANISMS = ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "OAUTHBEARER")

Named = Callable[..., str]
"""Where properties come from, for messages."""


def check_properties(properties: Mapping[str, str | SecretStr], named: Named) -> None:
    """Check that the properties fit together and that their files can be used.

    Args:
        properties: property to value; none is empty.

    Raises:
        ConfigurationError: names the property and what was expected.
    """
    texts = {name: value for name, value in properties.items() if isinstance(value, str)}
    protocol = _one_of(texts, "security.protocol", PROTOCOLS, named)
    if protocol == "":
        _refuse_without_protocol(properties, named)
        return
    if protocol.startswith("SASL_"):
        _check_login(properties, texts, protocol, named)
    if protocol in ("SSL", "SASL_SSL"):
        _one_of(texts, "ssl.endpoint.identification.algorithm", ("HTTPS", "NONE"), named)
        _check_files(properties, texts, named)


def _one_of(texts: Mapping[str, str], name: str, allowed: tuple[str, ...], named: Named) -> str:
    """The value in capitals; "" if it is not given."""
    value = texts.get(name, "").upper()
    if value != "" and value not in allowed:
        raise ConfigurationError(
            f"{named(name)} is {texts[name]!r}: expected {', '.join(allowed[:-1])} or "
            f"{allowed[-1]}."
        )
    return value


def _refuse_without_protocol(properties: Mapping[str, object], named: Named) -> None:
    """A log-in or a certificate without a protocol would be ignored, and sent to nobody."""
    for name in properties:
        if name.startswith(("sasl.", "ssl.")):
            raise ConfigurationError(
                f"{named(name)} is set, and security.protocol is not: without it, clients neither "
                f"encrypt nor log in. Set {named('security.protocol')} to SASL_SSL or SSL."
            )


def _check_login(
    properties: Mapping[str, object], texts: Mapping[str, str], protocol: str, named: Named
) -> None:
    mechanism = texts.get("sasl.mechanism", "")
    if mechanism not in MECHANISMS:
        found = f"is {mechanism!r}" if mechanism != "" else "is not set"
        raise ConfigurationError(
            f"{named('sasl.mechanism')} {found}: {protocol} needs one of {', '.join(MECHANISMS)}."
        )
    required = ["sasl.username", "sasl.password"]
    if mechanism == "OAUTHBEARER":
        _one_of(texts, "sasl.oauthbearer.method", ("OIDC",), named)
        prefix = "sasl.oauthbearer"
        required = [
            f"{prefix}.token.endpoint.url",
            *(f"{prefix}.client.id", f"{prefix}.client.secret"),
        ]
    missing = [name for name in required if name not in properties]
    if missing:
        raise ConfigurationError(f"{named(*missing)} must be set: {mechanism} needs it.")
    url = texts.get("sasl.oauthbearer.token.endpoint.url", "")
    if mechanism == "OAUTHBEARER" and not url.startswith(("https://", "http://")):
        raise ConfigurationError(f"{named(required[0])} is not a URL: expected https://…")


def _check_files(
    properties: Mapping[str, str | SecretStr], texts: Mapping[str, str], named: Named
) -> None:
    """Load the certificates as a connection will."""
    certificate, key = texts.get("ssl.certificate.location"), texts.get("ssl.key.location")
    if (certificate is None) != (key is None):
        given, other = "ssl.certificate.location", "ssl.key.location"
        if certificate is None:
            given, other = other, given
        raise ConfigurationError(f"{named(given)} is set, and {named(other)} is not: set both.")
    for name in ("ssl.ca.location", "ssl.crl.location"):
        if name in texts:
            _load_ca(Path(texts[name]), named(name))
    if certificate is not None and key is not None:
        password = properties.get("ssl.key.password", "")
        secret = password.get_secret_value() if isinstance(password, SecretStr) else password
        _readable(Path(certificate), named("ssl.certificate.location"))
        _readable(Path(key), named("ssl.key.location"))
        try:
            ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_cert_chain(certificate, key, secret)
        except (ssl.SSLError, ValueError) as error:
            raise ConfigurationError(
                f"{named('ssl.certificate.location', 'ssl.key.location')} can't be used "
                f"({_reason(error)}): expected a PEM certificate, its own key, and the key's "
                f"password in {named('ssl.key.password')} if it is encrypted."
            ) from None


def _load_ca(path: Path, name: str) -> None:
    _readable(path, name)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    try:
        if path.is_dir():
            context.load_verify_locations(capath=path)
        else:
            context.load_verify_locations(cafile=path)
    except ssl.SSLError as error:
        raise ConfigurationError(
            f"{name}={str(path)!r} can't be used ({_reason(error)}): expected PEM certificates."
        ) from None


def _readable(path: Path, name: str) -> None:
    try:
        if path.is_dir():
            next(path.iterdir(), None)
        else:
            with path.open("rb"):
                pass
    except OSError as error:
        raise ConfigurationError(
            f"{name}={str(path)!r} can't be read: {error.strerror}. Expected a PEM file."
        ) from None


def _reason(error: Exception) -> str:
    """OpenSSL's reason in words: `PEM lib`, `key values mismatch`."""
    reason = getattr(error, "reason", None)
    return str(reason).replace("_", " ").lower() if reason else type(error).__name__
