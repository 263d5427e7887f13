"""librdkafka's properties that the product takes, by name, and the file that may hold them.

Owns which names are known, and what is said about the others. Does not depend on what the values
mean: `resources/kafka/security/access.py` checks those. Never shows a value: it may be a password.
"""

import re
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

from ops.errors import ConfigurationError

ENV_PREFIX = "LALAFO_"
KAFKA_PREFIX = "LALAFO_KAFKA_"
BOOTSTRAP = "bootstrap.servers"
_KEY = re.compile(r"[A-Za-z][A-Za-z0-9._-]*")


@dataclass(frozen=True, slots=True)
class Property:
    """One of librdkafka's properties: its name, and whether the value is a secret."""

    name: str
    secret: bool = False

    @property
    def field(self) -> str:
        """The field of `Settings` with this value."""
        return field_of(self.name)

    @property
    def variable(self) -> str:
        """The environment variable with this value."""
        return f"{ENV_PREFIX}{self.field.upper()}"


def field_of(name: str) -> str:
    """The field of `Settings` for a property: its name with underscores."""
    return "kafka_bootstrap" if name == BOOTSTRAP else f"kafka_{name.replace('.', '_')}"


PROPERTIES = {
    it.name: it
    for it in (
        Property(BOOTSTRAP),
        Property("security.protocol"),
        Property("sasl.mechanism"),
        Property("sasl.username"),
        Property("sasl.password", secret=True),
        Property("sasl.oauthbearer.method"),
        Property("sasl.oauthbearer.token.endpoint.url"),
        Property("sasl.oauthbearer.client.id"),
        Property("sasl.oauthbearer.client.secret", secret=True),
        Property("sasl.oauthbearer.scope"),
        Property("sasl.oauthbearer.extensions"),
        Property("https.ca.location"),
        Property("ssl.ca.location"),
        Property("ssl.crl.location"),
        Property("ssl.certificate.location"),
        Property("ssl.key.location"),
        Property("ssl.key.password", secret=True),
        Property("ssl.endpoint.identification.algorithm"),
    )
}
"""Every property that the product takes, in the order of a log-in."""

SECURITY_PROPERTIES = tuple(it for it in PROPERTIES.values() if it.name != BOOTSTRAP)

_ALIASES = {"sasl.mechanisms": "sasl.mechanism"}  # librdkafka takes both
_PEM = "the PEM files ssl.ca.location, ssl.certificate.location and ssl.key.location"
_HINTS = {  # Java's names, and librdkafka's that are not supported
    "sasl.jaas.config": "this is Java's: use sasl.username and sasl.password",
    "sasl.login.callback.handler.class": "this is Java's: use sasl.oauthbearer.method=oidc",
    "sasl.client.callback.handler.class": "this is Java's: use sasl.oauthbearer.method=oidc",
    "ssl.truststore.location": "this is Java's: use ssl.ca.location, a PEM file",
    "ssl.truststore.password": "this is Java's: use ssl.ca.location, a PEM file",
    "ssl.truststore.type": "this is Java's: use ssl.ca.location, a PEM file",
    "ssl.truststore.certificates": "this is Java's: use ssl.ca.location, a PEM file",
    "ssl.keystore.location": f"use {_PEM}",
    "ssl.keystore.password": f"use {_PEM}",
    "ssl.keystore.type": f"this is Java's: use {_PEM}",
    "ssl.keystore.key": f"this is Java's: use {_PEM}",
    "ssl.keystore.certificate.chain": f"this is Java's: use {_PEM}",
    "ssl.ca.pem": "write it to a file and name that in ssl.ca.location",
    "ssl.certificate.pem": "write it to a file and name that in ssl.certificate.location",
    "ssl.key.pem": "write it to a file and name that in ssl.key.location",
    "enable.ssl.certificate.verification": "certificates are always checked: name the CA in "
    "ssl.ca.location",
    "metadata.broker.list": f"use {BOOTSTRAP}",
}


def read_properties(file: Path) -> dict[str, str]:
    """Read a properties file: `key=value` lines; `#` and `!` begin a comment.

    Raises:
        ConfigurationError: the file can't be read, a line has no `=`, or a property is unknown or
            given twice. The message never has a value.
    """
    try:
        text = file.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise ConfigurationError(
            f"{KAFKA_PREFIX}CONFIG={str(file)!r} can't be read: {reason}. Expected a file of "
            "key=value lines."
        ) from None  # the text of a UnicodeDecodeError has the bytes
    found: dict[str, str] = {}
    for number, line in enumerate(text.splitlines(), 1):
        stripped = line.strip()
        if stripped == "" or stripped[0] in "#!":
            continue
        key, separator, value = stripped.partition("=")
        name = _ALIASES.get(key.strip(), key.strip())
        place = f"{file}, line {number}"
        if separator == "" or _KEY.fullmatch(name) is None:
            raise ConfigurationError(f"{place}: expected key=value.")
        if name not in PROPERTIES:
            raise ConfigurationError(f"{place}: {unknown_property(name)}")
        if name in found:
            raise ConfigurationError(f"{place}: {name} is given twice; keep one of the lines.")
        found[name] = value.strip()
    return found


def unknown_property(name: str) -> str:
    """What to say about a property that the product does not take."""
    if name in _HINTS:
        return f"{name} is not supported: {_HINTS[name]}."
    nearest = get_close_matches(name, PROPERTIES, n=1, cutoff=0.5)
    hint = f"the nearest is {nearest[0]}" if nearest else f"known are {', '.join(PROPERTIES)}"
    return f"{name} is not a property that is supported here; {hint}."


def hint_for_variable(name: str) -> str | None:
    """What to say about a variable for a property of Kafka that is known, but not supported."""
    hints = {f"{KAFKA_PREFIX}{it.upper().replace('.', '_')}": it for it in _HINTS}
    key = hints.get(name.upper())
    return None if key is None else unknown_property(key).rstrip(".")
