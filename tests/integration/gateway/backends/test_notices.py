"""What the gateway says about the stack: over HTTP, on what real sessions and releases wrote."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import httpx
import pytest

from gateway.backends.notices import DRAWN_ONLY
from gateway.client import LalafoClient
from gateway.edge.keys import make
from lalafo_assets.starter import load_starter
from ops.training.provenance import (
    STARTER_SOURCE,
    learned_from_drawn_photos,
    training_photos,
)
from resources.sessions.group.members import write_failure
from tests.support.gateway_live import LiveGateway, live_gateway
from tests.support.live_session import Live, ad
from tests.support.odd_photos import jpeg, noisy
from tests.support.working_sessions import until

pytestmark = pytest.mark.parametrize("broker", ["embedded"], indirect=True)


@pytest.fixture
def gateway(live: Live) -> Iterator[LiveGateway]:
    with live_gateway(live.settings.model_copy(update={"gateway_auth": "off"})) as gateway:
        yield gateway


def notices(gateway: LiveGateway, **headers: str) -> dict[str, dict[str, Any]]:
    """Return the notices by code; `/readyz` has the same."""
    answer = httpx.get(f"{gateway.url}/v1/notices", headers=headers)
    assert answer.status_code == 200, answer.text
    return {notice["code"]: notice for notice in answer.json()["notices"]}


def await_codes(gateway: LiveGateway, *codes: str) -> None:
    until(lambda: list(notices(gateway)) == list(codes))


def test_nothing_is_said_where_all_is_well(live: Live, gateway: LiveGateway) -> None:
    """A release is live, and every event is scored."""
    live.publish(ad("1", []))
    live.drain()
    await_codes(gateway)
    with LalafoClient(gateway.url, key="") as client:
        assert client.notices() == []


def test_without_a_release_the_gateway_is_ready_and_says_so(
    live: Live, gateway: LiveGateway
) -> None:
    """Ads are accepted and wait; the notice has the command that helps, as `/readyz` has."""
    with live.database.cursor() as cursor:
        cursor.execute("DELETE FROM lalafo.active_releases")
    live.publish(ad("1", []))
    await_codes(gateway, "no_release")
    notice = notices(gateway)["no_release"]
    assert notice["severity"] == "error"
    assert notice["action"] == "lalafo releases install starter"
    ready = httpx.get(f"{gateway.url}/readyz")
    assert (ready.status_code, ready.json()["status"]) == (200, "ready")
    assert ready.json()["notices"] == [notice]


def test_a_release_that_has_seen_drawn_photos_only_is_named(
    live: Live, gateway: LiveGateway
) -> None:
    """In the notices, and beside each of its predictions."""
    await_codes(gateway)
    name = live.make_live(load_starter())
    await_codes(gateway, "synthetic_release")
    assert name in notices(gateway)["synthetic_release"]["message"]
    live.publish(ad("1", [live.photo("1.jpg", jpeg(noisy(40, 30, 1)))]))
    live.drain()
    answer = httpx.get(f"{gateway.url}/v1/ads/kg/1").json()
    assert answer["predictions"]["category"]["release"]["drawn_only"] is True


@pytest.mark.parametrize(
    ("source", "metrics", "only_drawn"),
    [
        (STARTER_SOURCE, {}, True),
        (STARTER_SOURCE, {"training_set": "5f"}, False),
        ("torchvision", {}, False),
        ("torchvision", training_photos(drawn=9, real=0), True),
        (STARTER_SOURCE, training_photos(drawn=9, real=1), False),
    ],
)
def test_the_database_and_the_manifest_have_one_rule(
    live: Live, source: str, metrics: dict[str, Any], only_drawn: bool
) -> None:
    """The gateway reads the manifest in PostgreSQL; training reads the file."""
    manifest = replace(load_starter().manifest, weights_source=source, metrics=metrics)
    assert learned_from_drawn_photos(manifest) is only_drawn
    query = f"SELECT {DRAWN_ONLY.format('m')} FROM (SELECT %s::jsonb AS m) AS rows"
    assert live.rows(query, manifest.to_json()) == [(only_drawn,)]


def test_the_last_sessions_error_is_said_until_a_session_has_worked(
    live: Live, gateway: LiveGateway
) -> None:
    """Also of a session that failed before it joined; the first reason of a run stays."""
    topic = live.settings.ads_topic
    write_failure(live.database, "early", topic, "ConfigurationError: the topic is missing")
    write_failure(live.database, "early", topic, "Failed by the sensor")
    await_codes(gateway, "session_failed")
    notice = notices(gateway)["session_failed"]
    assert "ConfigurationError: the topic is missing" in notice["message"]
    assert notice["at"] is not None
    live.drain(run_id="later")
    await_codes(gateway)
    write_failure(live.database, "later", topic, "RetryableError: Kafka was unavailable")
    await_codes(gateway, "session_failed")
    assert "Kafka was unavailable" in notices(gateway)["session_failed"]["message"]


def test_events_that_no_session_reads_are_counted(live: Live, gateway: LiveGateway) -> None:
    """Those on the topic as well as those that the gateway accepted."""
    live.publish(ad("1", []), ad("2", []))
    await_codes(gateway, "no_sessions")
    assert "2 events wait" in notices(gateway)["no_sessions"]["message"]
    body = {"catalog": "kg", "ad_id": "3", "title": "a chair"}
    assert httpx.post(f"{gateway.url}/v1/ads", json=body).status_code == 202
    until(lambda: "3 events wait" in notices(gateway)["no_sessions"]["message"])
    live.drain()
    await_codes(gateway)


def test_sessions_of_another_stream_are_named(live: Live, gateway: LiveGateway) -> None:
    """Such a session lives, and scores none of this stack's ads."""
    with live.database.cursor() as cursor:
        cursor.execute(
            "INSERT INTO lalafo.sessions (run_id, stream_id, topic, state, code_version, host, "
            "pid, metrics_url, backend_pid, backend_start, due_at, expires_at) VALUES ('left', "
            "'embedded-1', %s, 'ready', 'v1', 'a-host', 4711, '', 0, now(), now(), "
            "now() + interval '1 hour')",
            (live.settings.ads_topic,),
        )
    await_codes(gateway, "other_sessions")
    assert "process 4711 on a-host" in notices(gateway)["other_sessions"]["message"]
    live.publish(ad("1", []))
    until(lambda: list(notices(gateway)) == ["no_sessions", "other_sessions"])


def test_errors_are_for_keys_of_all_catalogs(live: Live) -> None:
    """A key that is limited to some, and `/readyz`, get the notice without the error's text."""
    every = make(live.database, "every", scopes=["read"]).text
    some = make(live.database, "some", scopes=["read"], catalogs=["kg"]).text
    write_failure(live.database, "one", live.settings.ads_topic, "db.internal did not answer")
    with live_gateway(live.settings) as gateway:
        assert httpx.get(f"{gateway.url}/v1/notices").status_code == 401

        def message(key: str) -> str:
            found = notices(gateway, Authorization=f"Bearer {key}")
            return str(found["session_failed"]["message"])

        assert "db.internal" in message(every)
        assert "db.internal" not in message(some)
        ready = httpx.get(f"{gateway.url}/readyz")
        assert ready.json()["notices"][0]["code"] == "session_failed"
        assert "db.internal" not in ready.text
