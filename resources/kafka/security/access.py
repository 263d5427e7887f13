"""How this process's Kafka clients encrypt and log in: librdkafka's properties, checked at start.

Owns the precedence (a setting wins over the properties file) and the options of each client
library. The file is read again when it has changed, so that a password or certificate can be
replaced under a running session. Never shows a secret.
"""

import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import SecretStr

from ops.errors import ConfigurationError
from resources.kafka.security.checks import check_properties
from resources.kafka.security.tokens import TokenSource, oidc_of
from resources.kafka_properties import PROPERTIES, SECURITY_PROPERTIES, read_properties
from resources.settings import Settings


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why the last connection to a broker failed."""

    host: str
    port: int
    error: BaseException


class KafkaAccess:
    """Encryption and log-in of the clients of one broker. Thread-safe; copies of a `StreamConfig`
    share it.

    Args:
        explicit: property to value; wins over the file.
        file: a properties file, or None.

    Raises:
        ConfigurationError: a property is unknown, missing, or does not fit the others; or a file
            that one names can't be used.
    """

    def __init__(
        self, explicit: Mapping[str, str | SecretStr] | None = None, file: Path | None = None
    ) -> None:
        self.refusal: Refusal | None = None  # until the next connection that works
        self.has_connected = False  # whether these credentials have worked in this process
        self.file = file
        self._explicit = {} if explicit is None else dict(explicit)
        self._lock = threading.Lock()
        self._version = self._file_version()
        self._properties = self._read()
        self._tokens = self._new_tokens()

    @classmethod
    def from_settings(cls, settings: Settings) -> "KafkaAccess":
        """Create it from the settings; raises as the constructor does."""
        explicit: dict[str, str | SecretStr] = {}
        for it in SECURITY_PROPERTIES:
            value = getattr(settings, it.field)
            if (value.get_secret_value() if isinstance(value, SecretStr) else value) != "":
                explicit[it.name] = value
        file = Path(settings.kafka_config) if settings.kafka_config != "" else None
        return cls(explicit, file)

    @property
    def protocol(self) -> str:
        """PLAINTEXT, SSL, SASL_PLAINTEXT or SASL_SSL."""
        return self._text("security.protocol").upper() or "PLAINTEXT"

    @property
    def encrypts(self) -> bool:
        """Whether connections are encrypted."""
        return self.protocol in ("SSL", "SASL_SSL")

    @property
    def mechanism(self) -> str:
        """How clients log in: PLAIN, SCRAM-SHA-256, SCRAM-SHA-512, OAUTHBEARER; "" if not."""
        return self._text("sasl.mechanism") if self.protocol.startswith("SASL_") else ""

    @property
    def principal(self) -> str:
        """Who logs in, for messages: the user, or the OAuth client's id; "" if nobody does."""
        if self.mechanism == "OAUTHBEARER":
            return self._text("sasl.oauthbearer.client.id")
        return self._text("sasl.username") if self.mechanism != "" else ""

    @property
    def has_certificate(self) -> bool:
        """Whether the client has a certificate for mutual TLS."""
        return self._text("ssl.certificate.location") != ""

    @property
    def tokens(self) -> TokenSource | None:
        """The source of OAUTHBEARER's tokens; None for the other mechanisms."""
        return self._tokens

    def named(self, *names: str) -> str:
        """Where these properties come from, for messages: variables, or names in the file."""
        texts = [
            f"{name} in {self.file}"
            if self.file is not None and name not in self._explicit
            else PROPERTIES[name].variable
            for name in names
        ]
        return " and ".join(texts)

    def refresh(self) -> None:
        """Read the file again if it has changed. What is invalid is ignored until it is valid."""
        with self._lock:
            version = self._file_version()
            if version == self._version:
                return
            try:
                self._properties = self._read()
            except ConfigurationError:
                return  # half written, or wrong: the next connection looks again
            self._version = version
            self._tokens = self._new_tokens()

    def kafka_python_options(self) -> dict[str, Any]:
        """The options of kafka-python's clients; has secrets."""
        options: dict[str, Any] = {"security_protocol": self.protocol}
        if self.mechanism != "":
            options["sasl_mechanism"] = self.mechanism
        if self._tokens is not None:
            from resources.kafka.security.kafka_tokens import token_provider

            options["sasl_oauth_token_provider"] = token_provider(self._tokens)
        elif self.mechanism != "":
            user = self._text("sasl.username")
            # RFC 5802; kafka-python 3.0.12 sends the name as it is.
            scram = user.replace("=", "=3D").replace(",", "=2C")
            options["sasl_plain_username"] = user if self.mechanism == "PLAIN" else scram
            options["sasl_plain_password"] = self._text("sasl.password")
        if self.encrypts:
            options |= {
                "ssl_check_hostname": self._checks_hostname(),
                "ssl_cafile": self._text("ssl.ca.location") or None,
                "ssl_crlfile": self._text("ssl.crl.location") or None,
                "ssl_certfile": self._text("ssl.certificate.location") or None,
                "ssl_keyfile": self._text("ssl.key.location") or None,
                # Not None: OpenSSL would ask for an encrypted key's password at the terminal.
                "ssl_password": self._text("ssl.key.password"),
            }
        return options

    def librdkafka_options(self) -> dict[str, str]:
        """The options of librdkafka's clients, `bootstrap.servers` aside; has secrets."""
        used: tuple[str, ...] = ("ssl.",) if self.encrypts else ()
        if self.mechanism != "":
            used += ("sasl.", "https.")
        options = {it: self._text(it) for it in self._properties if it.startswith(used)}
        options |= {"security.protocol": self.protocol.lower()}
        if self.mechanism == "OAUTHBEARER":
            options["sasl.oauthbearer.method"] = "oidc"
        if self.mechanism != "":
            options["sasl.mechanism"] = self.mechanism
        return options

    def __repr__(self) -> str:
        return f"KafkaAccess({self.protocol}, {self.mechanism or 'no log-in'})"

    def _checks_hostname(self) -> bool:
        return self._text("ssl.endpoint.identification.algorithm").lower() != "none"

    def _text(self, name: str) -> str:
        value = self._properties.get(name, "")
        return value.get_secret_value() if isinstance(value, SecretStr) else value

    def _read(self) -> dict[str, str | SecretStr]:
        """The properties, checked; a setting wins over the file."""
        from_file = {} if self.file is None else read_properties(self.file)
        merged: dict[str, str | SecretStr] = {
            it.name: SecretStr(from_file[it.name]) if it.secret else from_file[it.name]
            for it in SECURITY_PROPERTIES
            if from_file.get(it.name, "") != ""
        } | self._explicit
        check_properties(merged, self.named)
        return merged

    def _new_tokens(self) -> TokenSource | None:
        if self.mechanism != "OAUTHBEARER":
            return None
        return TokenSource(
            oidc_of({name: self._text(name) for name in self._properties}), self.named
        )

    def _file_version(self) -> tuple[int, int, int] | None:
        if self.file is None:
            return None
        try:
            found = self.file.stat()
        except OSError:
            return None
        return found.st_mtime_ns, found.st_ino, found.st_size
