"""The gateway's producer and lag on a Kafka that refuses the log-in."""

import logging
import queue
import uuid

import pytest

from gateway.backends.broker import Broker, PendingRecord
from gateway.backends.lag import LogWatch
from ops.errors import LalafoError
from resources.kafka.connection import StreamConfig
from resources.kafka.topics import AdStream
from resources.settings import Settings
from tests.support.secured_kafka import PASSWORD, SecuredKafka
from tests.support.working_sessions import until

pytestmark = pytest.mark.kafka


@pytest.fixture
def settings(secured: SecuredKafka) -> Settings:
    """Of a user whose password Kafka does not have."""
    topic = f"ads-{uuid.uuid4().hex[:8]}"
    secured.set_password("rotated", "another-s3cret")
    found = Settings.model_validate({**secured.login(user="rotated"), "ads_topic": topic})
    with AdStream.from_settings(found.model_copy(update=secured.login())) as admin:
        admin.ensure_topics(1)
    return found


def test_a_refused_log_in_is_logged_once_and_tried_again(
    secured: SecuredKafka, settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    """The gateway starts, accepts, and publishes as soon as the log-in works."""
    answers: queue.SimpleQueue[tuple[int, bool]] = queue.SimpleQueue()
    broker = Broker(StreamConfig.from_settings(settings), lambda *it: answers.put(it))
    with caplog.at_level(logging.WARNING, logger="gateway"):
        broker.start()
        until(lambda: broker.state == "unavailable")
        with pytest.raises(LalafoError, match="refuses the log-in of 'rotated'"):
            broker.check()
    lines = [it.getMessage() for it in caplog.records if "Kafka is unavailable" in it.getMessage()]
    assert len(lines) == 1
    assert "Check LALAFO_KAFKA_SASL_USERNAME and LALAFO_KAFKA_SASL_PASSWORD" in lines[0]
    assert PASSWORD not in caplog.text
    secured.set_password("rotated", PASSWORD)
    broker.check()
    broker.send(PendingRecord(7, settings.ads_topic, b"kg/1", b"{}"))
    assert answers.get(timeout=30) == (7, True)
    broker.close()


def test_lag_is_unknown_until_the_log_in_works(secured: SecuredKafka, settings: Settings) -> None:
    """Statistics answer without it, and have it afterwards."""
    watch = LogWatch(settings)
    try:
        assert watch.ends() is None
        secured.set_password("rotated", PASSWORD)
        until(watch.ends)
        found = watch.ends()
        assert found is not None and found.ends == {0: 0}
    finally:
        watch.close()
