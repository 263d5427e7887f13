"""The sensor `new_ads` on a Kafka with a log-in."""

import uuid

import dagster as dg
import pytest

from resources.kafka.topics import AdStream
from resources.postgres.database import Database
from resources.settings import load_settings
from tests.integration.sensors.test_new_ads import tick
from tests.support.batches import put_test_release
from tests.support.secured_kafka import PASSWORD, SecuredKafka, exports

pytestmark = pytest.mark.kafka


def test_the_sensor_logs_in_and_its_runs_have_no_password(
    secured: SecuredKafka, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It requests a session; a run takes the log-in from its own process's environment."""
    topic = f"ads-{uuid.uuid4().hex[:8]}"
    environment = exports(secured.login()) | {
        "LALAFO_ADS_TOPIC": topic,
        "LALAFO_DLQ_TOPIC": f"{topic}.dlq",
        "LALAFO_DATABASE_URL": database.url.render_as_string(),
        "LALAFO_CODE_VERSION": "v1",
    }
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with AdStream.from_settings(load_settings()) as stream:
        stream.ensure_topics(1)
    put_test_release(database)  # no session starts before a release is live
    with dg.DagsterInstance.ephemeral() as instance:
        (request,) = tick(instance)
        assert isinstance(request, dg.RunRequest)
        assert PASSWORD not in repr(request)
