"""A gateway and a session on a Kafka with TLS, log-in and ACLs."""

import uuid
from pathlib import Path

import httpx
import pytest

from lalafo_assets.demo.photo_host import PhotoHost
from ops.errors import ConfigurationError
from ops.models.release import Release
from resources.kafka.topics import AdStream
from resources.postgres.database import Database
from resources.settings import Settings
from tests.conftest import BrokerUnderTest
from tests.support.gateway_place import NewPlace
from tests.support.live_session import live_parts
from tests.support.odd_photos import jpeg, noisy
from tests.support.secured_kafka import SecuredKafka, exports
from tests.support.working_sessions import until

pytestmark = pytest.mark.kafka


@pytest.mark.parametrize("login", ["login", "token_login", "mutual"])
def test_an_ad_goes_through_a_kafka_that_asks_for_a_log_in(
    login: str, secured: SecuredKafka, new_place: NewPlace
) -> None:
    """Posted to the gateway, published, read, scored and announced, all over TLS."""
    environment = exports(getattr(secured, login)())
    with new_place(BrokerUnderTest("secured", environment)) as place:
        url = place.live.photo("a.jpg", jpeg(noisy(80, 60, 1)))
        answer = httpx.post(
            f"{place.url}/v1/ads?wait=30",
            json={"catalog": "kg", "ad_id": "1", "photos": [{"url": url}]},
            headers={"Authorization": f"Bearer {place.key}"},
            timeout=60,
        )
        assert (answer.status_code, answer.json()["status"]) == (200, "scored"), answer.text

        def lag() -> object:
            return httpx.get(
                f"{place.url}/v1/statistics",
                headers={"Authorization": f"Bearer {place.key}"},
                timeout=30,
            ).json()["lag"]

        until(lambda: lag() is not None)  # null while Kafka takes long to answer


def test_a_session_without_rights_ends_before_it_loads_a_model(
    secured: SecuredKafka, database: Database, release: Release, tmp_path: Path
) -> None:
    """It names every right that it lacks, instead of waiting for records that it may not read."""
    topic = f"ads-{uuid.uuid4().hex[:8]}"
    settings = Settings.model_validate(
        {
            **secured.login(user="limited"),
            "ads_topic": topic,
            "dlq_topic": f"{topic}.dlq",
            "home": tmp_path,
            "database_url": database.url.render_as_string(),
        }
    )
    topics = (topic, f"{topic}.feedback", f"{topic}.scored", f"{topic}.dlq")
    (tmp_path / "photos").mkdir()
    with AdStream.from_settings(settings.model_copy(update=secured.login())) as admin:
        admin.ensure_topics(2)
    secured.allow("limited", *((it, "DESCRIBE") for it in topics))
    with PhotoHost(tmp_path / "photos") as host, AdStream.from_settings(settings) as stream:
        live = live_parts(database, settings, stream, host, release)
        expected = rf"deny Read on {topic}, Write on {topic}.dlq, Write on {topic}.scored to"
        with pytest.raises(ConfigurationError, match=expected):
            live.drain()
