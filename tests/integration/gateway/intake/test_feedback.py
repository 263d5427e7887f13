"""Feedback goes the whole way round: from a person to the topic, the labels, a training set."""

import json
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from resources.embedded.broker import EmbeddedBroker
from resources.kafka.topics import AdStream
from resources.postgres.database import Database
from resources.settings import Settings
from resources.training.labels import read_labelled
from resources.training.train import freeze_training_set
from tests.conftest import BrokerUnderTest
from tests.support.gateway_live import live_gateway
from tests.support.labelled import Labelled, goods, guessing_release
from tests.support.topic_records import everything_on
from tests.support.working_sessions import until


@pytest.fixture
def settings(database: Database, embedded_broker: EmbeddedBroker, tmp_path: Path) -> Settings:
    broker = BrokerUnderTest("embedded", embedded_broker.exports())
    return broker.settings(
        home=tmp_path,
        database_url=database.url.render_as_string(),
        gateway_auth="off",
        model_mode="eager",
        training_min_photos=2,
    )


@pytest.fixture
def catalogue(database: Database, settings: Settings) -> Labelled:
    """Twelve ads of three categories, scored; the live release guesses."""
    made = Labelled(database, settings)
    made.activate(guessing_release())
    made.commit(goods(4, photos=1))
    return made


@pytest.fixture
def stream(settings: Settings) -> Iterator[AdStream]:
    with AdStream.from_settings(settings) as stream:
        stream.ensure_topics()
        yield stream


@pytest.fixture
def client(settings: Settings, stream: AdStream) -> Iterator[httpx.Client]:
    with live_gateway(settings) as gateway, httpx.Client(base_url=gateway.url) as client:
        yield client


def pending(catalogue: Labelled) -> int:
    """Records that the feedback topic is owed; sessions owe others."""
    query = "SELECT count(*) FROM lalafo.outbox WHERE topic LIKE '%%.feedback'"
    return int(catalogue.rows(query)[0][0])


def test_feedback_goes_the_whole_way_round(
    catalogue: Labelled, client: httpx.Client, stream: AdStream
) -> None:
    """A correction is on `ads.feedback` under the ad's key, among the labels as a person's, and in
    the next training set in the place of what the seller filed."""
    said = {"task": "category", "label": "lamp", "given_by": "moderator-7"}
    answer = client.post("/v1/ads/kg/chair-00/feedback", json=said)
    assert answer.status_code == 200, answer.text
    assert answer.json() == {
        **{"catalog": "kg", "ad_id": "chair-00", "task": "category", "label": "lamp"},
        **{"known": True, "published": True},
    }
    (record,) = everything_on(stream, stream.config.feedback_topic)
    assert record.key == b"kg/chair-00" and record.value is not None
    message = json.loads(record.value)
    assert message.pop("given_at").endswith("+00:00")
    assert message == {"schema": 1, "catalog": "kg", "ad_id": "chair-00", **said}
    ((backbone,),) = catalogue.rows("SELECT backbone FROM lalafo.releases")
    labelled = read_labelled(catalogue.database, ["category"], backbone, most=1_000)
    of_it = [(p.label, p.source) for p in labelled if p.ad_id == "chair-00"]
    assert of_it == [("lamp", "person")]
    frozen = freeze_training_set(catalogue.database, catalogue.stores, catalogue.settings)
    by_ad = {e.photo.ad_id: (e.photo.label, e.photo.source) for e in frozen.content.examples}
    assert by_ad["chair-00"] == ("lamp", "person")
    assert by_ad["chair-01"] == ("chair", "seller")
    until(lambda: pending(catalogue) == 0)


def test_the_last_word_counts(catalogue: Labelled, client: httpx.Client) -> None:
    """One label an ad and task; one that the release can't say yet is kept, and told to be new."""
    for label, known in (("lamp", True), ("armchair", False)):
        said = {"label": label, "given_by": label}
        answer = client.post("/v1/ads/kg/chair-00/feedback", json=said)
        assert (answer.status_code, answer.json()["known"]) == (200, known)
    rows = catalogue.rows("SELECT ad_id, task, label, given_by FROM lalafo.labels")
    assert rows == [("chair-00", "category", "armchair", "armchair")]


def test_feedback_on_what_is_not_there_changes_nothing(
    catalogue: Labelled, client: httpx.Client
) -> None:
    """No such ad: 404. No such task: 422 with those that there are."""
    said = {"label": "lamp", "given_by": "m"}
    answer = client.post("/v1/ads/kg/nobody/feedback", json=said)
    assert (answer.status_code, answer.json()["type"]) == (404, "urn:lalafo:problem:no_such_ad")
    answer = client.post("/v1/ads/kg/chair-00/feedback", json={**said, "task": "price"})
    assert answer.status_code == 422 and answer.json()["tasks"] == ["category"]
    answer = client.post("/v1/ads/kg/chair-00/feedback", json={**said, "task": "a\x00"})
    assert answer.status_code == 422
    assert client.post("/v1/ads/kg/%00/feedback", json=said).status_code == 422
    assert catalogue.rows("SELECT count(*) FROM lalafo.labels") == [(0,)]
    assert pending(catalogue) == 0


def test_an_ad_that_waits_to_be_scored_takes_feedback(
    catalogue: Labelled, client: httpx.Client
) -> None:
    """Accepted is known; and an id may hold '/', and end as the route does."""
    for ad_id in ("new/1", "new/feedback"):
        assert client.post("/v1/ads", json={"catalog": "kg", "ad_id": ad_id}).status_code == 202
        said = {"label": "lamp", "given_by": "m"}
        assert client.post(f"/v1/ads/kg/{ad_id}/feedback", json=said).status_code == 200
    labels = catalogue.rows("SELECT ad_id FROM lalafo.labels ORDER BY 1")
    assert labels == [("new/1",), ("new/feedback",)]
