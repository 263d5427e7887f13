"""How this process reaches Kafka: the configuration, time limits, errors and log levels of clients.

Decides that a broker that is away is told within seconds and by the setting's name, whatever
kafka-python raises for it. Refuses to know what is read or written.
"""

import contextlib
import logging
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

from ops.errors import ConfigurationError, LalafoError, RetryableError
from resources.settings import Settings

CONNECT_TIMEOUT_S = 3.0
REQUEST_TIMEOUT_S = 5.0
_RECONNECT_MAX_MS = 1_000  # kafka-python's 30 s would sit out a broker's restart

Client = TypeVar("Client")


def feedback_topic(ads_topic: str) -> str:
    """Where corrections of results come in, beside a topic of ads."""
    return f"{ads_topic}.feedback"


@dataclass(frozen=True, slots=True)
class StreamConfig:
    """Which brokers and topics; made from the settings, so that they are read in one place."""

    bootstrap: str  # host:port[,host:port]
    api_version: tuple[int, ...] | None  # None: negotiated
    stream_id: str  # "": cluster id and topic id
    ads_topic: str
    dlq_topic: str
    group: str = "lalafo"  # under which lag tools see the committed offsets

    @classmethod
    def from_settings(cls, settings: Settings) -> "StreamConfig":
        """Raises ConfigurationError naming LALAFO_KAFKA_BOOTSTRAP or LALAFO_KAFKA_API_VERSION."""
        bootstrap = settings.require("kafka_bootstrap")
        _addresses(bootstrap)
        return cls(
            bootstrap=bootstrap,
            api_version=_api_version(settings.kafka_api_version),
            stream_id=settings.stream_id,
            ads_topic=settings.ads_topic,
            dlq_topic=settings.dlq_topic,
        )

    @property
    def feedback_topic(self) -> str:
        """Where corrections of results come in."""
        return feedback_topic(self.ads_topic)

    @property
    def scored_topic(self) -> str:
        """Where results go out."""
        return f"{self.ads_topic}.scored"

    @property
    def answers_late(self) -> bool:
        """Whether this is librdkafka's test broker: its fetch answers only after the whole wait."""
        return self.api_version is not None

    def client_options(self) -> dict[str, Any]:
        """What every kafka-python client is given."""
        return {
            "bootstrap_servers": self.bootstrap.split(","),
            "api_version": self.api_version,
            "client_id": "lalafo",
            "bootstrap_timeout_ms": int(CONNECT_TIMEOUT_S * 1000),
            "request_timeout_ms": int(REQUEST_TIMEOUT_S * 1000),
            "reconnect_backoff_max_ms": _RECONNECT_MAX_MS,
        }


def open_client(config: StreamConfig, make: Callable[..., Client], **options: object) -> Client:
    """Make a kafka-python client; a broker that is away is told in CONNECT_TIMEOUT_S a server.

    Raises:
        RetryableError: no server can be reached, or none answers.
        ConfigurationError: the client's own refusal.
    """
    from kafka.net.compat import KafkaNetClient

    _quiet_kafka()
    check_reachable(config)
    connections: list[Any] = []

    def connection(**given: object) -> Any:
        connections.append(KafkaNetClient(**given))
        return connections[-1]

    with broker_errors(config, "connecting"):
        try:
            return make(**config.client_options(), kafka_client=connection, **options)
        except BaseException:
            # kafka-python 3.0.12 leaves a client's sockets and thread behind when its
            # constructor fails.
            for opened in connections:
                opened.close()
            raise


@contextlib.contextmanager
def broker_errors(config: StreamConfig, doing: str) -> Iterator[None]:
    """Turn kafka-python's errors into ours, with the setting and the address that was tried."""
    from kafka import errors as kafka_errors

    wrong = (
        kafka_errors.AuthorizationError,
        kafka_errors.IncompatibleBrokerVersion,
        kafka_errors.InvalidTopicError,
        kafka_errors.KafkaConfigurationError,
        kafka_errors.SaslAuthenticationFailedError,
        kafka_errors.UnsupportedVersionError,
    )
    too_large = (kafka_errors.MessageSizeTooLargeError, kafka_errors.RecordListTooLargeError)
    try:
        yield
    except LalafoError:
        raise
    except wrong as error:
        raise ConfigurationError(_told(config, doing, error)) from error
    except too_large as error:
        raise ConfigurationError(
            f"{_told(config, doing, error)} Raise max.message.bytes of the topic, or send less."
        ) from error
    except (kafka_errors.KafkaError, OSError) as error:
        raise RetryableError(_told(config, doing, error)) from error


def _told(config: StreamConfig, doing: str, error: Exception) -> str:
    name, said = type(error).__name__, str(error).strip(" :.")
    reason = said if name in said else f"{name}: {said}"
    return f"Kafka at {config.bootstrap} (LALAFO_KAFKA_BOOTSTRAP), {doing}: {reason}."


def check_reachable(config: StreamConfig) -> None:
    """Raise RetryableError unless a server accepts a connection: kafka-python tells it late."""
    refusals = []
    for host, port in _addresses(config.bootstrap):
        try:
            socket.create_connection((host, port), timeout=CONNECT_TIMEOUT_S).close()
            return
        except OSError as error:
            refusals.append(f"{host}:{port} {error.strerror or error}")
    raise RetryableError(
        f"No Kafka broker answers ({'; '.join(refusals)}). Is it started, and is "
        f"LALAFO_KAFKA_BOOTSTRAP={config.bootstrap} right?"
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
            f"LALAFO_KAFKA_API_VERSION={text!r}: expected a version such as 2.0, or nothing."
        )
    return tuple(int(part) for part in parts)


def _quiet_kafka() -> None:
    """kafka-python logs every attempt to reconnect; what it tries for, we raise ourselves."""
    for name, level in (("kafka", logging.ERROR), ("kafka.net", logging.CRITICAL)):
        logger = logging.getLogger(name)
        if logger.level == logging.NOTSET:  # somebody's own choice stays
            logger.setLevel(level)
