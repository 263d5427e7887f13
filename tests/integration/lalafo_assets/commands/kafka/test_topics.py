"""`lalafo topics` on both brokers: what is missing, created, or not as it should be."""

import json

import pytest
from typer.testing import CliRunner, Result

from lalafo_assets.bench.kafka.server import KafkaServer
from lalafo_assets.cli import app
from resources.kafka.topics import AdStream
from resources.settings import Settings
from tests.conftest import BrokerUnderTest


@pytest.fixture
def settings(broker: BrokerUnderTest, tmp_path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    return exported(broker, tmp_path, monkeypatch)


def exported(broker: BrokerUnderTest, home, monkeypatch: pytest.MonkeyPatch) -> Settings:
    settings = broker.settings()
    for name in ("ads_topic", "dlq_topic", "kafka_bootstrap", "kafka_api_version"):
        monkeypatch.setenv(f"LALAFO_{name.upper()}", getattr(settings, name))
    monkeypatch.setenv("LALAFO_HOME", str(home))
    monkeypatch.setenv("COLUMNS", "200")
    return settings


def run(*args: str) -> Result:
    return CliRunner().invoke(app, ["topics", *args])


def test_missing_topics_are_named_and_created(settings: Settings) -> None:
    """Status 1 and the command while one is missing; status 0 after it was created."""
    missing = run()
    assert missing.exit_code == 1, missing.output
    assert missing.output.count("missing") == 4
    assert "lalafo topics --create" in missing.output
    document = json.loads(run("--json").stdout)
    assert {row["state"] for row in document["topics"]} == {"missing"}
    assert document["to_correct"] == ["lalafo topics --create"]
    created = run("--create")
    assert created.exit_code == 0, created.output
    assert created.output.count("created") >= 4
    again = run("--json")
    assert again.exit_code == 0
    assert {row["state"] for row in json.loads(again.stdout)["topics"]} == {"ok"}
    with AdStream.from_settings(settings) as stream:
        assert len(stream.partitions()) == 4


@pytest.mark.kafka
def test_a_topic_that_differs_is_reported_and_not_changed(
    kafka_server: KafkaServer, tmp_path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each setting with the wanted value, and Kafka's command that sets it."""
    from kafka import KafkaAdminClient

    broker = BrokerUnderTest("kafka", kafka_server.exports())
    settings = exported(broker, tmp_path, monkeypatch)
    configs = {"cleanup.policy": "compact", "retention.ms": "3600000", "max.message.bytes": "1000"}
    admin = KafkaAdminClient(bootstrap_servers=settings.kafka_bootstrap)
    admin.create_topics({settings.ads_topic: {"num_partitions": 2, "configs": configs}})
    done = run("--create", "--partitions", "3")
    assert done.exit_code == 1
    text = " ".join(done.output.replace("│", " ").split())
    for part in (
        "2 partitions, expected 3",
        "cleanup.policy is compact, expected delete",
        "retention.ms is 3600000, expected 604800000",
        "max.message.bytes is 1000, expected 1048588",
        f"kafka-topics.sh --bootstrap-server {settings.kafka_bootstrap} --topic "
        f"{settings.ads_topic} --alter --partitions 3",
        "--add-config cleanup.policy=delete,max.message.bytes=1048588,retention.ms=604800000",
    ):
        assert part in text, text
    with AdStream.from_settings(settings) as stream:
        found = stream.found_topic(settings.ads_topic)
        created = stream.found_topic(settings.dlq_topic)
    admin.close()
    assert found is not None and created is not None
    assert (found.partitions, found.configs["cleanup.policy"]) == (2, "compact")
    assert (created.partitions, created.configs["retention.ms"]) == (1, "2592000000")
