"""`lalafo doctor` on a Kafka with TLS, log-in and ACLs."""

import uuid

import pytest

from lalafo_assets.commands.doctor import Diagnosis, Grade, diagnose
from resources.kafka.topics import AdStream
from resources.settings import load_settings
from tests.support.secured_kafka import PASSWORD, SecuredKafka, exports

pytestmark = pytest.mark.kafka


@pytest.fixture
def topic(monkeypatch: pytest.MonkeyPatch) -> str:
    name = f"ads-{uuid.uuid4().hex[:8]}"
    monkeypatch.setenv("LALAFO_ADS_TOPIC", name)
    monkeypatch.setenv("LALAFO_DLQ_TOPIC", f"{name}.dlq")
    return name


def diagnosis(monkeypatch: pytest.MonkeyPatch, settings: dict[str, str]) -> Diagnosis:
    for name, value in exports(settings).items():
        monkeypatch.setenv(name, value)
    (found,) = [it for it in diagnose() if it.subject == "Kafka"]
    return found


def test_a_log_in_that_works_is_shown(
    secured: SecuredKafka, topic: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """How it is encrypted, who logs in, and that the topics are there."""
    for name, value in exports(secured.login()).items():
        monkeypatch.setenv(name, value)
    with AdStream.from_settings(load_settings()) as stream:
        stream.ensure_topics(3)
    found = diagnosis(monkeypatch, secured.login())
    address = secured.server.address("LOGIN")
    expected = f"{address}, SASL_SSL, SCRAM-SHA-512 as alice, 3 partitions"
    assert (found.grade, found.found) == (Grade.OK, expected)
    mutual = diagnosis(monkeypatch, secured.mutual())
    assert mutual.found == f"{secured.server.address('MUTUAL')}, SSL, 3 partitions"


def test_each_thing_that_is_missing_is_a_line(
    secured: SecuredKafka, topic: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The log-in, the topic, the rights; in this order, and without the password."""
    wrong = diagnosis(monkeypatch, secured.login(password="wrong-s3cret"))
    missing = diagnosis(monkeypatch, secured.login())
    with AdStream.from_settings(load_settings()) as stream:
        stream.ensure_topics(1)
    secured.allow("limited", (topic, "READ"))
    denied = diagnosis(monkeypatch, secured.login(user="limited"))
    assert {it.grade for it in (wrong, missing, denied)} == {Grade.FAILED}
    assert "refuses the log-in of 'alice'" in wrong.found
    assert f"has no topic {topic}" in missing.found
    assert f"deny Write on {topic}, Write on {topic}.dlq" in denied.found
    assert "wrong-s3cret" not in wrong.found + wrong.fix
    assert PASSWORD not in denied.found + denied.fix
