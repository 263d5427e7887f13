"""Clients of Apache Kafka with TLS, log-in and ACLs; each refusal is one clear line."""

import os
import re
import subprocess
import sys
import traceback
import uuid
from pathlib import Path

import pytest

from ops.errors import ConfigurationError, LalafoError, RetryableError
from resources.kafka.connection import StreamConfig
from resources.kafka.rights import all_operations, session_operations
from resources.kafka.topics import AdStream
from resources.settings import Settings, load_settings
from tests.support.secured_kafka import (
    CLIENT_SECRET,
    KEY_PASSWORD,
    PASSWORD,
    SecuredKafka,
    exports,
)
from tests.support.working_sessions import until

pytestmark = pytest.mark.kafka

SECRETS = (PASSWORD, CLIENT_SECRET, KEY_PASSWORD, "wrong-s3cret")


def settings_of(settings: dict[str, str]) -> Settings:
    topic = f"ads-{uuid.uuid4().hex[:8]}"
    return Settings.model_validate({**settings, "ads_topic": topic, "dlq_topic": f"{topic}.dlq"})


def stream_of(settings: dict[str, str]) -> AdStream:
    return AdStream.from_settings(settings_of(settings))


def use_every_client(stream: AdStream) -> None:
    """Admin, publisher and consumer: create, write, read, and write group offsets."""
    stream.ensure_topics(1)
    assert ":" in stream.stream_id()
    with stream.publisher() as publisher, stream.consumer() as consumer:
        assert publisher.publish(stream.config.ads_topic, b"k", b"v").result(10) == (0, 0)
        consumer.assign({0: 0})
        found = []
        until(lambda: found.extend(consumer.poll(max_records=9, timeout_s=0.5)) or found)
        assert [record.value for record in found] == [b"v"]

    def committed() -> bool:
        try:
            stream.commit_group_offsets({0: 1})
        except RetryableError:  # the coordinator is being elected
            return False
        return True

    until(committed)


LOGINS = {
    "PLAIN": lambda kafka: kafka.login("PLAIN"),
    "SCRAM-SHA-256": lambda kafka: kafka.login("SCRAM-SHA-256"),
    "SCRAM-SHA-512": lambda kafka: kafka.login("SCRAM-SHA-512"),
    "a user with = and ,": lambda kafka: kafka.login(user="a=b,c"),
    "OAUTHBEARER": lambda kafka: kafka.token_login(),
    "mutual TLS": lambda kafka: kafka.mutual(),
    "lower case": lambda kafka: {**kafka.login(), "kafka_security_protocol": "sasl_ssl"},
    "another name": lambda kafka: {
        **kafka.tls("ELSEWHERE"),
        "kafka_ssl_endpoint_identification_algorithm": "none",
    },
}


@pytest.mark.parametrize("name", LOGINS)
def test_every_client_logs_in(name: str, secured: SecuredKafka) -> None:
    """Each mechanism, by settings: topics are created, written and read."""
    with stream_of(LOGINS[name](secured)) as stream:
        use_every_client(stream)


@pytest.mark.parametrize("name", ["PLAIN", "SCRAM-SHA-512", "OAUTHBEARER", "mutual TLS"])
def test_the_benches_clients_log_in(name: str, secured: SecuredKafka) -> None:
    """librdkafka takes the same settings under its own names."""
    from confluent_kafka.admin import AdminClient

    config = StreamConfig.from_settings(settings_of(LOGINS[name](secured)))
    client = AdminClient(config.librdkafka_options())
    until(lambda: client.poll(0.1) is not None and client.list_topics(timeout=10).brokers)


def test_a_properties_file_is_enough(
    secured: SecuredKafka, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A downloaded client.properties with librdkafka's names, with the address, and a variable
    that wins over it."""
    file = tmp_path / "client.properties"
    file.write_text(
        "# from the console\n"
        f"bootstrap.servers = {secured.server.address('LOGIN')}\n"
        "security.protocol=SASL_SSL\n"
        "sasl.mechanisms=PLAIN\n"
        f"ssl.ca.location={secured.certificates.ca}\n"
        "! the log-in\n"
        "sasl.username=nobody\n"
        f"sasl.password={PASSWORD}\n"
    )
    for name in [it for it in os.environ if it.startswith("LALAFO_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("LALAFO_KAFKA_CONFIG", str(file))
    monkeypatch.setenv("LALAFO_KAFKA_SASL_USERNAME", "alice")
    monkeypatch.setenv("LALAFO_ADS_TOPIC", f"ads-{uuid.uuid4().hex[:8]}")
    with AdStream.from_settings(load_settings()) as stream:
        use_every_client(stream)


REFUSED = {
    "wrong password": (
        lambda kafka: kafka.login(password="wrong-s3cret"),
        "refuses the log-in of 'alice' by SCRAM-SHA-512 .* Check LALAFO_KAFKA_SASL_USERNAME and "
        "LALAFO_KAFKA_SASL_PASSWORD",
    ),
    "wrong password by PLAIN": (
        lambda kafka: kafka.login("PLAIN", password="wrong-s3cret"),
        "refuses the log-in of 'alice' by PLAIN .* Check LALAFO_KAFKA_SASL_USERNAME",
    ),
    "a mechanism that is not taken": (
        lambda kafka: {
            **kafka.login("PLAIN"),
            "kafka_bootstrap": kafka.server.address("PLAINLOGIN"),
            "kafka_security_protocol": "SASL_PLAINTEXT",
        },
        "does not take the log-in PLAIN: it takes SCRAM-SHA-512. Set LALAFO_KAFKA_SASL_MECHANISM",
    ),
    "unknown CA": (
        lambda kafka: {**kafka.login(), "kafka_ssl_ca_location": kafka.certificates.other_ca},
        "is of an unknown CA .* Set LALAFO_KAFKA_SSL_CA_LOCATION",
    ),
    "expired certificate": (lambda kafka: kafka.tls("EXPIRED"), "has expired. Renew it"),
    "wrong host name": (
        lambda kafka: kafka.tls("ELSEWHERE"),
        "does not name 127.0.0.1. Use a name that is in it",
    ),
    "no client certificate": (
        lambda kafka: kafka.tls("MUTUAL"),
        "needs a client certificate. Set LALAFO_KAFKA_SSL_CERTIFICATE_LOCATION",
    ),
    "client certificate of another CA": (
        lambda kafka: kafka.mutual("stranger"),
        r"does not accept this client's certificate \(certificate unknown\)",
    ),
    "expired client certificate": (
        lambda kafka: kafka.mutual("expired"),
        r"does not accept this client's certificate \(certificate ",
    ),
    "TLS to a plaintext port": (
        lambda kafka: {**kafka.tls("MUTUAL"), "kafka_bootstrap": kafka.server.bootstrap},
        "speaks plaintext, and LALAFO_KAFKA_SECURITY_PROTOCOL is SSL",
    ),
    "plaintext to a TLS port": (
        lambda kafka: {"kafka_bootstrap": kafka.server.address("LOGIN")},
        "speaks TLS, and LALAFO_KAFKA_SECURITY_PROTOCOL is PLAINTEXT",
    ),
    "no log-in": (
        lambda kafka: {"kafka_bootstrap": kafka.server.address("PLAINLOGIN")},
        "takes no connection without a log-in. Set LALAFO_KAFKA_SECURITY_PROTOCOL to "
        "SASL_PLAINTEXT, and LALAFO_KAFKA_SASL_MECHANISM to one of SCRAM-SHA-512",
    ),
    "no log-in over TLS": (
        lambda kafka: kafka.tls("LOGIN"),
        "takes no connection without a log-in. Set LALAFO_KAFKA_SECURITY_PROTOCOL to SASL_SSL",
    ),
    "a log-in that nobody asks for": (
        lambda kafka: {**kafka.mutual(), **_login_over(kafka.mutual())},
        "does not take the log-in PLAIN: it takes none. Set LALAFO_KAFKA_SASL_MECHANISM, or "
        "LALAFO_KAFKA_SECURITY_PROTOCOL",
    ),
    "wrong client secret": (
        lambda kafka: kafka.token_login("wrong-s3cret"),
        "refuses the client 'service': 401 invalid_client. Check LALAFO_KAFKA_SASL_OAUTHBEARER_CLI",
    ),
}


def _login_over(settings: dict[str, str]) -> dict[str, str]:
    """The client keeps its certificate: the listener asks for one."""
    return {
        **settings,
        "kafka_security_protocol": "SASL_SSL",
        "kafka_sasl_mechanism": "PLAIN",
        "kafka_sasl_username": "alice",
        "kafka_sasl_password": PASSWORD,
    }


@pytest.mark.parametrize("name", REFUSED)
def test_each_refusal_says_what_to_do(name: str, secured: SecuredKafka) -> None:
    """The start fails with one line about the cause and the setting, without a secret."""
    settings, expected = REFUSED[name]
    stream = stream_of(settings(secured))
    starts = [stream.stream_id]
    if name in ("wrong password", "unknown CA"):  # the others wait for seconds
        starts += [stream.publisher, stream.consumer]
    for start in starts:
        with pytest.raises(ConfigurationError) as raised:
            start()
        message = str(raised.value)
        assert re.search(expected, message), message
        assert "\n" not in message
        shown = "".join(traceback.format_exception(raised.value)) + repr(stream.config)
        assert not [secret for secret in SECRETS if secret in shown]


def test_a_token_that_the_broker_refuses(
    secured: SecuredKafka, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The broker's reason, and what to check: the endpoint gave a token for another service."""
    monkeypatch.setattr(secured.tokens, "audience", "billing")
    with pytest.raises(ConfigurationError, match=r"refuses the token of 'service' .*audience"):
        stream_of(secured.token_login()).stream_id()


def test_a_token_endpoint_that_fails_is_an_outage(
    secured: SecuredKafka, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A 503 is waited out; once it answers, the same stream connects."""
    stream = stream_of(secured.token_login())
    monkeypatch.setattr(secured.tokens, "status", 503)
    with pytest.raises(RetryableError, match=r"token endpoint .* answers 503"):
        stream.stream_id()
    monkeypatch.setattr(secured.tokens, "status", 200)
    with stream:
        use_every_client(stream)


def test_tokens_are_renewed_while_a_client_lives(
    secured: SecuredKafka, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Kafka ends a connection with its token: the clients log in again before, and lose nothing."""
    monkeypatch.setattr(secured.tokens, "lifetime_s", 3.0)
    with stream_of(secured.token_login()) as stream:
        stream.ensure_topics(1)
        with stream.publisher() as publisher, stream.consumer() as consumer:
            consumer.assign({0: 0})
            before, found, sent = secured.tokens.asked, [], 0
            while secured.tokens.asked < before + 3:
                publisher.publish(stream.config.ads_topic, b"k", str(sent).encode()).result(10)
                sent += 1
                found += consumer.poll(max_records=100, timeout_s=0.2)
            until(
                lambda: (
                    found.extend(consumer.poll(max_records=9, timeout_s=0.2)) or len(found) == sent
                )
            )
    assert [int(record.value) for record in found] == list(range(sent))


def test_a_password_may_change_under_a_running_client(
    secured: SecuredKafka, tmp_path: Path
) -> None:
    """From the moment that Kafka has another password, reading is an outage that names the log-in;
    it goes on once the properties file has the new one."""
    file = tmp_path / "client.properties"
    secured.set_password("rotated", PASSWORD)

    def write(password: str) -> None:
        unfinished = tmp_path / "unfinished"
        unfinished.write_text(
            f"security.protocol=sasl_plaintext\nsasl.mechanism=SCRAM-SHA-512\n"
            f"sasl.username=rotated\nsasl.password={password}\n"
        )
        unfinished.replace(file)

    write(PASSWORD)
    address = secured.server.address("PLAINLOGIN")
    with stream_of({"kafka_bootstrap": address, "kafka_config": str(file)}) as stream:
        stream.ensure_topics(1)
        publisher = stream.publisher()
        publisher.publish(stream.config.ads_topic, b"k", b"before").result(10)
        with stream.consumer() as consumer:
            consumer.assign({0: 0})
            found, errors = [], []

            def read() -> list:
                try:
                    found.extend(consumer.poll(max_records=9, timeout_s=0.2))
                except RetryableError as error:
                    errors.append(str(error))
                return found

            until(read)
            secured.set_password("rotated", "another-s3cret")
            until(lambda: read() and [it for it in errors if "refuses the log-in" in it])
            assert f"Check sasl.username in {file} and sasl.password in {file}" in errors[-1]
            write("another-s3cret")

            def published() -> bool:
                try:
                    publisher.publish(stream.config.ads_topic, b"k", b"after").result(10)
                except RetryableError:
                    return False
                return True

            until(published, within_s=60)
            until(lambda: read() and found[-1].value == b"after", within_s=60)
        publisher.close()
    assert found[0].value == b"before"


# ACLs --------------------------------------------------------------------------------------------


@pytest.fixture
def limited(secured: SecuredKafka) -> AdStream:
    """A stream of a user without rights, whose topics exist."""
    settings = settings_of(secured.login(user="limited"))
    with AdStream.from_settings(settings.model_copy(update=secured.login())) as admin:
        admin.ensure_topics(1)
    return AdStream.from_settings(settings)


def test_each_denied_operation_is_named(secured: SecuredKafka, limited: AdStream) -> None:
    """Describe, read and write of a topic: the user, the topic, and what to grant."""
    ads = limited.config.ads_topic
    denied = rf"ACLs deny it to the user 'limited' \({ads}"
    with limited:
        with pytest.raises(ConfigurationError, match=denied):
            limited.partitions()
        with pytest.raises(ConfigurationError, match=denied):
            limited.ensure_topics()
        secured.allow("limited", (ads, "DESCRIBE"))
        assert limited.partitions() == [0]
        with limited.consumer() as consumer:
            consumer.assign({0: 0})
            with pytest.raises(ConfigurationError, match=denied):
                until(lambda: consumer.poll(max_records=1, timeout_s=0.2))
        with limited.publisher() as publisher:
            with pytest.raises(ConfigurationError, match=r"deny it to .*Grant Write on the topic"):
                publisher.publish(ads, b"k", b"v").result(10)
            secured.allow("limited", (f"{ads}.scored", "WRITE"))
            assert publisher.publish(f"{ads}.scored", b"k", b"v").result(10) == (0, 0)
            with pytest.raises(ConfigurationError, match=denied):
                publisher.publish(ads, b"k", b"v").result(10)
            assert publisher.publish(f"{ads}.scored", b"k", b"v").result(10) == (0, 1)


def test_rights_are_checked_without_using_them(secured: SecuredKafka, limited: AdStream) -> None:
    """Every missing operation is named at once, before a session loads its models."""
    config = limited.config
    with limited:
        with pytest.raises(ConfigurationError) as raised:
            limited.check_rights(all_operations(config))
        ads = config.ads_topic
        for operation in ("Read", "Write"):
            assert f"{operation} on {ads}" in str(raised.value)
        for topic in (f"{ads}.feedback", f"{ads}.scored", f"{ads}.dlq"):
            assert f"Write on {topic}" in str(raised.value)
        secured.allow("limited", (ads, "READ"), (f"{ads}.scored", "WRITE"), (f"{ads}.dlq", "WRITE"))
        limited.check_rights(session_operations(config))
        with pytest.raises(ConfigurationError, match=rf"deny Write on {ads}, Write on {ads}.feed"):
            limited.check_rights(all_operations(config))


def test_existing_topics_need_no_right_to_create(secured: SecuredKafka, limited: AdStream) -> None:
    """`lalafo up` works for a user that may only use the topics."""
    ads = limited.config.ads_topic
    topics = (ads, f"{ads}.feedback", f"{ads}.scored", f"{ads}.dlq")
    secured.allow("limited", *((topic, "DESCRIBE") for topic in topics))
    with limited:
        limited.ensure_topics()


def test_the_group_is_optional(secured: SecuredKafka, limited: AdStream) -> None:
    """Without a right to the group, lag tools see nothing; a session goes on."""
    secured.allow("limited", (limited.config.ads_topic, "READ"))
    with limited, pytest.raises(RetryableError, match="Grant Read on the group"):
        limited.commit_group_offsets({0: 0})


def test_a_refused_log_in_of_a_running_process_is_waited_out(secured: SecuredKafka) -> None:
    """Once the credentials have worked in this process, their refusal is an outage."""
    secured.set_password("rotated", PASSWORD)
    with stream_of(secured.login(user="rotated")) as stream:
        stream.ensure_topics(1)
        secured.set_password("rotated", "another-s3cret")
        with pytest.raises(RetryableError, match="refuses the log-in of 'rotated'"):
            stream.consumer()
        secured.set_password("rotated", PASSWORD)
        stream.consumer().close()


def test_an_encrypted_key_is_never_asked_for_at_the_terminal(secured: SecuredKafka) -> None:
    """Without its password the start fails; OpenSSL does not prompt."""
    settings = exports({**secured.mutual(), "kafka_ssl_key_password": ""})
    program = (
        "from resources.kafka.topics import AdStream\n"
        "from resources.settings import load_settings\n"
        "AdStream.from_settings(load_settings())"
    )
    started = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, **settings},
        capture_output=True,
        text=True,
        timeout=60,
        stdin=subprocess.DEVNULL,
        check=False,
    )
    assert "PEM pass phrase" not in started.stdout + started.stderr
    assert "LALAFO_KAFKA_SSL_KEY_PASSWORD if it is encrypted" in started.stderr


def test_errors_are_of_the_project(secured: SecuredKafka) -> None:
    """A host that does not resolve is an outage, with TLS as without."""
    with pytest.raises(LalafoError, match="No Kafka broker answers"):
        stream_of({**secured.login(), "kafka_bootstrap": "kafka.invalid:9093"}).stream_id()
