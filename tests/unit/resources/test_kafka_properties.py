"""Kafka's properties by librdkafka's names: in variables, in a file, and what is refused."""

import logging
import os
from pathlib import Path

import pytest

from ops.errors import ConfigurationError
from resources.kafka_properties import PROPERTIES, SECURITY_PROPERTIES, read_properties
from resources.settings import Settings, changed_settings, load_settings

SECRET = "s3cret-p4ss"


@pytest.fixture(autouse=True)
def no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [it for it in os.environ if it.startswith("LALAFO_")]:
        monkeypatch.delenv(name)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "client.properties"


def test_every_property_is_a_setting() -> None:
    """The name with underscores; the secrets are masked."""
    for it in PROPERTIES.values():
        assert it.field in Settings.model_fields, it.name
    settings = Settings.model_validate(
        {it.field: SECRET for it in SECURITY_PROPERTIES if it.secret}
    )
    assert SECRET not in f"{settings!r} {settings} {settings.model_dump()}"
    assert SECRET not in settings.model_dump_json()


def test_a_file_is_read_as_librdkafka_reads_it(file: Path) -> None:
    """Comments, spaces around, `=` in a value, an empty value, a byte order mark."""
    file.write_text(
        "\ufeff# a comment\n\n! another\n  security.protocol = SASL_SSL \n"
        "sasl.mechanisms=PLAIN\nsasl.password=a=b # c\nsasl.oauthbearer.scope=\n"
    )
    assert read_properties(file) == {
        "security.protocol": "SASL_SSL",
        "sasl.mechanism": "PLAIN",
        "sasl.password": "a=b # c",
        "sasl.oauthbearer.scope": "",
    }


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (
            f"sasl.pasword={SECRET}",
            "line 2: sasl.pasword is not a property .* nearest is sasl.passw",
        ),
        (
            f"sasl.jaas.config={SECRET}",
            "sasl.jaas.config .* Java's: use sasl.username and sasl.pas",
        ),
        ("ssl.truststore.location=/t.jks", "ssl.truststore.location .* use ssl.ca.location"),
        ("enable.ssl.certificate.verification=false", "certificates are always checked"),
        ("session.timeout.ms=45000", "session.timeout.ms is not a property"),
        (f"sasl.password {SECRET}", "line 2: expected key=value"),
        (f"sasl.password: {SECRET}=", "line 2: expected key=value"),
        (f"security.protocol={SECRET}", "security.protocol is given twice"),
    ],
)
def test_a_property_that_is_not_taken_is_named_at_start(
    file: Path, line: str, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With its line and the nearest that is known, and never with a value."""
    file.write_text(f"security.protocol=SASL_SSL\n{line}\n")
    monkeypatch.setenv("LALAFO_KAFKA_CONFIG", str(file))
    with pytest.raises(ConfigurationError, match=message) as error:
        load_settings()
    assert SECRET not in str(error.value)


def test_a_file_that_is_missing_or_not_text_is_named(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LALAFO_KAFKA_CONFIG", str(file))
    with pytest.raises(ConfigurationError, match=r"LALAFO_KAFKA_CONFIG=.*No such file"):
        load_settings()
    file.write_bytes(b"sasl.password=\xff\xfe")
    with pytest.raises(ConfigurationError, match="not UTF-8"):
        load_settings()


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("LALAFO_KAFKA_SASL_PASWORD", "did you mean LALAFO_KAFKA_SASL_PASSWORD"),
        ("LALAFO_KAFKA_SASL_MECHANISMS", "did you mean LALAFO_KAFKA_SASL_MECHANISM"),
        ("LALAFO_KAFKA_SASL_JAAS_CONFIG", "use sasl.username and sasl.password"),
        ("LALAFO_KAFKA_BOOTSTRAP_SERVERS", "did you mean LALAFO_KAFKA_BOOTSTRAP"),
    ],
)
def test_a_variable_of_kafka_that_is_not_a_setting_is_named(
    name: str, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A misspelt password would otherwise be ignored."""
    monkeypatch.setenv(name, SECRET)
    with pytest.raises(ConfigurationError, match=f"{name} .*{message}") as error:
        load_settings()
    assert SECRET not in str(error.value)


def test_the_address_may_be_in_the_file(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A variable, and an argument, win over it."""
    file.write_text("bootstrap.servers=file:9092\n")
    monkeypatch.setenv("LALAFO_KAFKA_CONFIG", str(file))
    assert load_settings().kafka_bootstrap == "file:9092"
    monkeypatch.setenv("LALAFO_KAFKA_BOOTSTRAP", "variable:9092")
    assert load_settings().kafka_bootstrap == "variable:9092"
    assert changed_settings({"kafka_bootstrap": "argument:9092"}).kafka_bootstrap == "argument:9092"


def test_an_invalid_secret_is_not_shown(caplog: pytest.LogCaptureFixture) -> None:
    """Not even a value of the wrong type, in a message or in the error that caused it."""
    with caplog.at_level(logging.DEBUG), pytest.raises(ConfigurationError) as error:
        changed_settings({"kafka_sasl_password": [SECRET]})
    assert "LALAFO_KAFKA_SASL_PASSWORD" in str(error.value)
    assert SECRET not in f"{error.value} {error.value.__cause__} {caplog.text}"
