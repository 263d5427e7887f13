"""Kafka connection settings, client creation, time limits, error translation and log levels.

Owns the translation of kafka-python's errors: an unreachable broker is reported within seconds as
a RetryableError that names the setting. A refused log-in is a ConfigurationError until the
credentials have worked in this process; after that it is waited out as an outage is, because
passwords are replaced while sessions run. Does not depend on what is read or written.
"""

import contextlib
import logging
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, TypeVar

from ops.errors import ConfigurationError, LalafoError, RetryableError
from resources.kafka.security.access import KafkaAccess
from resources.kafka.security.refusals import is_denied, why_refused
from resources.settings import Settings

CONNECT_TIMEOUT_S = 3.0
REQUEST_TIMEOUT_S = 5.0
_RECONNECT_MAX_MS = 1_000  # with kafka-python's default of 30 s, a restart costs half a minute

Client = TypeVar("Client")


def feedback_topic(ads_topic: str) -> str:
    """Return the name of the topic that receives corrections of results, for a topic of ads."""
    return f"{ads_topic}.feedback"


def scored_topic(ads_topic: str) -> str:
    """Return the name of the topic to which results are published, for a topic of ads."""
    return f"{ads_topic}.scored"


@dataclass(frozen=True, slots=True)
class StreamConfig:
    """Broker addresses and topic names, created from the settings in one place."""

    bootstrap: str  # host:port[,host:port]
    api_version: tuple[int, ...] | None  # None: negotiated
    stream_id: str  # "": derived from the cluster id and the topic id
    ads_topic: str
    dlq_topic: str
    group: str = "lalafo"  # the consumer group under which lag tools see the committed offsets
    access: KafkaAccess = field(default_factory=KafkaAccess, compare=False)

    @classmethod
    def from_settings(cls, settings: Settings) -> "StreamConfig":
        """Create the configuration from the settings.

        Raises:
            ConfigurationError: LALAFO_KAFKA_BOOTSTRAP, LALAFO_KAFKA_API_VERSION or a setting of
                encryption or log-in is invalid.
        """
        bootstrap = settings.require("kafka_bootstrap")
        _addresses(bootstrap)
        return cls(
            bootstrap=bootstrap,
            api_version=_api_version(settings.kafka_api_version),
            stream_id=settings.stream_id,
            ads_topic=settings.ads_topic,
            dlq_topic=settings.dlq_topic,
            access=KafkaAccess.from_settings(settings),
        )

    @property
    def feedback_topic(self) -> str:
        """The topic that receives corrections of results."""
        return feedback_topic(self.ads_topic)

    @property
    def scored_topic(self) -> str:
        """The topic to which results are published."""
        return scored_topic(self.ads_topic)

    @property
    def answers_late(self) -> bool:
        """Whether this is librdkafka's test broker, which answers a fetch only after max wait."""
        return self.api_version is not None

    def client_options(self) -> dict[str, Any]:
        """The options that every kafka-python client gets; they have the password."""
        return {
            **self.access.kafka_python_options(),
            "bootstrap_servers": self.bootstrap.split(","),
            "api_version": self.api_version,
            "client_id": "lalafo",
            "bootstrap_timeout_ms": int(CONNECT_TIMEOUT_S * 1000),
            "request_timeout_ms": int(REQUEST_TIMEOUT_S * 1000),
            "reconnect_backoff_max_ms": _RECONNECT_MAX_MS,
        }

    def librdkafka_options(self) -> dict[str, str]:
        """The options that every librdkafka client gets; they have the password."""
        return {"bootstrap.servers": self.bootstrap, **self.access.librdkafka_options()}


def open_client(config: StreamConfig, create: Callable[..., Client], **options: object) -> Client:
    """Create a kafka-python client; fails after CONNECT_TIMEOUT_S per unreachable server.

    Raises:
        RetryableError: no server can be reached, or none answers.
        ConfigurationError: the client rejects the configuration, or the broker the log-in.
    """
    from resources.kafka.security.manager import net_client

    _quiet_kafka()
    check_reachable(config)
    config.access.refresh()
    if config.access.tokens is not None:
        _check_token(config.access)
    connections: list[Any] = []

    def connection(**arguments: object) -> Any:
        connections.append(net_client(config.access, **arguments))
        return connections[-1]

    with broker_errors(config, "connecting"):
        try:
            client = create(**config.client_options(), kafka_client=connection, **options)
        except BaseException:
            # kafka-python 3.0.12 leaks a client's sockets and thread when its constructor fails.
            for opened in connections:
                opened.close()
            raise
    config.access.has_connected = True
    return client


def _check_token(access: KafkaAccess) -> None:
    """Get a token now, in this thread: kafka-python's would wait for the endpoint meanwhile."""
    assert access.tokens is not None
    try:
        access.tokens.token()
    except ConfigurationError as error:
        raise (RetryableError(str(error)) if access.has_connected else error) from error


@contextlib.contextmanager
def broker_errors(config: StreamConfig, doing: str) -> Iterator[None]:
    """Translate kafka-python's errors into a LalafoError that names the setting and the address.

    Args:
        doing: the operation, as the message names it: "publishing to ads".

    Raises:
        ConfigurationError: repeating the operation cannot succeed.
        RetryableError: any other error of the client or of the network.
    """
    from kafka import errors as kafka_errors

    permanent = (
        kafka_errors.IncompatibleBrokerVersion,
        kafka_errors.InvalidTopicError,
        kafka_errors.KafkaConfigurationError,
        kafka_errors.UnsupportedVersionError,
    )
    too_large = (kafka_errors.MessageSizeTooLargeError, kafka_errors.RecordListTooLargeError)
    try:
        yield
    except LalafoError:
        raise
    except permanent as error:
        raise ConfigurationError(_message(config, doing, error)) from error
    except too_large as error:
        raise ConfigurationError(
            f"{_message(config, doing, error)} Raise max.message.bytes of the topic, or send less."
        ) from error
    except (kafka_errors.KafkaError, OSError) as error:
        raise _refused_or_unavailable(config, doing, error) from error


def _refused_or_unavailable(config: StreamConfig, doing: str, error: Exception) -> LalafoError:
    """A broker's refusal with its reason and the fix, or else an outage."""
    reason = why_refused(config.access, error)
    if reason is None:
        return RetryableError(_message(config, doing, error))
    text = f"Kafka at {config.bootstrap} (LALAFO_KAFKA_BOOTSTRAP), {doing}: {reason}"
    if is_denied(error) or not config.access.has_connected:
        return ConfigurationError(text)
    return RetryableError(text)


def _message(config: StreamConfig, doing: str, error: Exception) -> str:
    name, text = type(error).__name__, str(error).strip(" :.")
    reason = text if name in text else f"{name}: {text}"
    return f"Kafka at {config.bootstrap} (LALAFO_KAFKA_BOOTSTRAP), {doing}: {reason}."


def check_reachable(config: StreamConfig) -> None:
    """Raise RetryableError unless one of the servers accepts a connection.

    kafka-python itself reports an unreachable broker only after a long time.
    """
    refusals = []
    for host, port in _addresses(config.bootstrap):
        try:
            socket.create_connection((host, port), timeout=CONNECT_TIMEOUT_S).close()
            return
        except OSError as error:
            refusals.append(f"{host}:{port} {error.strerror or error}")
    raise RetryableError(
        f"No Kafka broker answers ({'; '.join(refusals)}). Check that it is running and that "
        f"LALAFO_KAFKA_BOOTSTRAP={config.bootstrap} is correct."
    )


def _addresses(bootstrap: str) -> list[tuple[str, int]]:
    addresses = []
    for server in bootstrap.split(","):
        host, colon, port = server.strip().rpartition(":")
        if colon == "" or host == "" or not port.isdigit():
            raise ConfigurationError(
                f"LALAFO_KAFKA_BOOTSTRAP={bootstrap!r}: expected host:port[,host:port]."
            )
        addresses.append((host.strip("[]"), int(port)))
    return addresses


def _api_version(text: str) -> tuple[int, ...] | None:
    if text == "":
        return None
    parts = text.split(".")
    if not all(part.isdigit() for part in parts) or len(parts) < 2:
        raise ConfigurationError(
            f"LALAFO_KAFKA_API_VERSION={text!r}: expected a version such as 2.0, or empty to "
            "negotiate it."
        )
    return tuple(int(part) for part in parts)


def _quiet_kafka() -> None:
    """Silence kafka-python's log of every reconnect attempt; `broker_errors` reports failures."""
    for name, level in (("kafka", logging.ERROR), ("kafka.net", logging.CRITICAL)):
        logger = logging.getLogger(name)
        if logger.level == logging.NOTSET:  # a level that is already set stays
            logger.setLevel(level)
    for name in ("kafka.net.connection", "kafka.protocol.parser"):  # their DEBUG has passwords
        logger = logging.getLogger(name)
        logger.setLevel(max(logger.getEffectiveLevel(), logging.INFO))
