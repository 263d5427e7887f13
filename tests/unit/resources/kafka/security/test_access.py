"""Which properties fit together, and the options that each client library gets."""

import logging
from pathlib import Path

import pytest
import trustme

from ops.errors import ConfigurationError
from resources.kafka.connection import StreamConfig, _quiet_kafka
from resources.kafka.security.access import KafkaAccess
from resources.settings import Settings

SECRET = "s3cret-p4ss"
LOGIN = {
    "security.protocol": "SASL_PLAINTEXT",
    "sasl.mechanism": "PLAIN",
    "sasl.username": "shop",
    "sasl.password": SECRET,
}
OAUTH = {
    "security.protocol": "SASL_PLAINTEXT",
    "sasl.mechanism": "OAUTHBEARER",
    "sasl.oauthbearer.token.endpoint.url": "https://id.example.org/token",
    "sasl.oauthbearer.client.id": "shop",
    "sasl.oauthbearer.client.secret": SECRET,
}


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("certificates")
    ca = trustme.CA()
    one, other = ca.issue_cert("one.example.org"), ca.issue_cert("other.example.org")
    ca.cert_pem.write_to_path(folder / "ca.pem")
    one.cert_chain_pems[0].write_to_path(folder / "one.crt")
    one.private_key_pem.write_to_path(folder / "one.key")
    other.private_key_pem.write_to_path(folder / "other.key")
    (folder / "text.pem").write_text("not a certificate")
    return {it.name: str(it) for it in folder.iterdir()}


def test_nothing_set_is_plaintext() -> None:
    """As before there were such settings."""
    assert KafkaAccess().kafka_python_options() == {"security_protocol": "PLAINTEXT"}
    assert KafkaAccess().librdkafka_options() == {"security.protocol": "plaintext"}


def test_an_explicit_plaintext_ignores_the_rest() -> None:
    """A server of our own is used in an environment with another one's log-in."""
    access = KafkaAccess({**LOGIN, "security.protocol": "PLAINTEXT", "ssl.ca.location": "/none"})
    assert access.kafka_python_options() == {"security_protocol": "PLAINTEXT"}
    assert access.librdkafka_options() == {"security.protocol": "plaintext"}


@pytest.mark.parametrize(
    ("properties", "message"),
    [
        ({"sasl.username": "shop"}, "SASL_USERNAME is set, and security.protocol is not"),
        ({"ssl.ca.location": "/ca.pem"}, "SSL_CA_LOCATION is set, and security.protocol is not"),
        ({"security.protocol": "TLS"}, "SECURITY_PROTOCOL is 'TLS': expected PLAINTEXT, SSL"),
        (
            {"security.protocol": "SASL_SSL"},
            "SASL_MECHANISM is not set: SASL_SSL needs one of PLAIN",
        ),
        ({**LOGIN, "sasl.mechanism": "GSSAPI"}, "SASL_MECHANISM is 'GSSAPI': .* SCRAM-SHA-512"),
        ({**LOGIN, "sasl.mechanism": "OAUTHBEARER"}, "TOKEN_ENDPOINT_URL and .* must be set"),
        ({k: v for k, v in LOGIN.items() if k != "sasl.password"}, "SASL_PASSWORD must be set"),
        ({**OAUTH, "sasl.oauthbearer.method": "default"}, "OAUTHBEARER_METHOD is 'default'"),
        ({**OAUTH, "sasl.oauthbearer.extensions": "a"}, "expected key=value,key=value"),
        (
            {**OAUTH, "sasl.oauthbearer.token.endpoint.url": "id.example.org"},
            "TOKEN_ENDPOINT_URL is not a URL",
        ),
        (
            {"security.protocol": "SSL", "ssl.endpoint.identification.algorithm": "ldaps"},
            "IDENTIFICATION_ALGORITHM is 'ldaps': expected",
        ),
    ],
)
def test_properties_that_do_not_fit_are_refused(properties: dict[str, str], message: str) -> None:
    """The message names the variable and what was expected."""
    with pytest.raises(ConfigurationError, match=message) as error:
        KafkaAccess(properties)
    assert SECRET not in str(error.value)


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"ssl.ca.location": "/none/ca.pem"}, "SSL_CA_LOCATION=.* can't be read: No such file"),
        ({"ssl.ca.location": "text.pem"}, "SSL_CA_LOCATION=.* can't be used"),
        (
            {"ssl.key.location": "one.key"},
            "SSL_KEY_LOCATION is set, and .*CERTIFICATE_LOCATION is no",
        ),
        (
            {"ssl.certificate.location": "one.crt", "ssl.key.location": "other.key"},
            "key values mismatch",
        ),
        ({"ssl.certificate.location": "text.pem", "ssl.key.location": "one.key"}, "can't be used"),
    ],
)
def test_files_are_loaded_at_start(
    files: dict[str, str], message: str, certificates: dict[str, str]
) -> None:
    """A connection would report them seconds later, and less clearly."""
    named = {name: certificates.get(value, value) for name, value in files.items()}
    with pytest.raises(ConfigurationError, match=message):
        KafkaAccess({"security.protocol": "SSL", **named})


def test_the_host_name_is_checked_unless_it_is_switched_off(certificates: dict[str, str]) -> None:
    """`https` is the default of librdkafka and of Kafka."""
    tls = {"security.protocol": "ssl", "ssl.ca.location": certificates["ca.pem"]}
    assert KafkaAccess(tls).kafka_python_options()["ssl_check_hostname"] is True
    off = {**tls, "ssl.endpoint.identification.algorithm": "none"}
    assert KafkaAccess(off).kafka_python_options()["ssl_check_hostname"] is False


def test_a_setting_wins_over_the_file_and_a_changed_file_is_read_again(tmp_path: Path) -> None:
    """What is invalid for a moment, as a file that is half written, changes nothing."""
    file = tmp_path / "client.properties"
    lines = "security.protocol=SASL_PLAINTEXT\nsasl.mechanism=PLAIN\nsasl.username=file\n"
    file.write_text(f"{lines}sasl.password=one\n")
    access = KafkaAccess({"sasl.username": "setting"}, file)

    def login() -> tuple[str, str]:
        options = access.kafka_python_options()
        return options["sasl_plain_username"], options["sasl_plain_password"]

    assert login() == ("setting", "one")
    assert access.named("sasl.password") == f"sasl.password in {file}"
    assert access.named("sasl.username") == "LALAFO_KAFKA_SASL_USERNAME"
    file.write_text(lines)
    access.refresh()
    assert login() == ("setting", "one")
    file.write_text(f"{lines}sasl.password=longer\n")
    access.refresh()
    assert login() == ("setting", "longer")


def test_no_representation_has_a_secret() -> None:
    """Objects end up in logs and tracebacks."""
    settings = Settings.model_validate(
        {"kafka_bootstrap": "kafka:9092"}
        | {f"kafka_{name.replace('.', '_')}": value for name, value in OAUTH.items()}
    )
    config = StreamConfig.from_settings(settings)
    assert config.access.tokens is not None
    shown = (config, config.access, config.access.tokens, config.access.tokens.oidc, settings)
    assert SECRET not in " ".join(f"{it!r} {it}" for it in shown)
    assert config.librdkafka_options()["sasl.oauthbearer.client.secret"] == SECRET


def test_no_log_of_kafka_python_has_a_secret() -> None:
    """Its DEBUG shows requests, and one of them has the password: two loggers stay above it."""
    logger = logging.getLogger("kafka")
    before = logger.level
    try:
        logger.setLevel(logging.DEBUG)
        _quiet_kafka()
        for name in ("kafka.net.connection", "kafka.protocol.parser"):
            assert not logging.getLogger(name).isEnabledFor(logging.DEBUG)
    finally:
        logger.setLevel(before)
