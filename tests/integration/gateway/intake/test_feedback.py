"""Feedback from end to end: from a person to the topic, the labels and a training set."""

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from ops.tasks import all_tasks
from resources.embedded.broker import EmbeddedBroker
from resources.kafka.topics import AdStream
from resources.postgres.database import Database
from resources.releases.installed_tasks import record_tasks
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
    """Twelve scored ads of three categories; the live release guesses."""
    labelled = Labelled(database, settings)
    labelled.make_live(guessing_release())
    labelled.commit(goods(4, photos=1))
    return labelled


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
    """The number of unpublished feedback records; sessions have other records in the outbox."""
    query = "SELECT count(*) FROM lalafo.outbox WHERE topic LIKE '%%.feedback'"
    return int(catalogue.rows(query)[0][0])


def test_feedback_reaches_the_topic_the_labels_and_a_training_set(
    catalogue: Labelled, client: httpx.Client, stream: AdStream
) -> None:
    """A correction is published to `ads.feedback` with the ad's key, is a person's label, and
    replaces the seller's category in the next training set."""
    feedback = {"task": "category", "label": "lamp", "given_by": "moderator-7"}
    answer = client.post("/v1/ads/kg/chair-00/feedback", json=feedback)
    assert answer.status_code == 200, answer.text
    assert answer.json() == {
        **{"catalog": "kg", "ad_id": "chair-00", "task": "category", "label": "lamp"},
        **{"known": True, "published": True},
    }
    (record,) = everything_on(stream, stream.config.feedback_topic)
    assert record.key == b"kg/chair-00" and record.value is not None
    value = json.loads(record.value)
    assert value.pop("given_at").endswith("+00:00")
    assert value == {"schema": 1, "catalog": "kg", "ad_id": "chair-00", **feedback}
    ((backbone,),) = catalogue.rows("SELECT backbone FROM lalafo.releases")
    labelled = read_labelled(catalogue.database, ["category"], backbone, most=1_000)
    labels = [(p.label, p.source) for p in labelled if p.ad_id == "chair-00"]
    assert labels == [("lamp", "person")]
    frozen = freeze_training_set(catalogue.database, catalogue.stores, catalogue.settings)
    by_ad = {e.photo.ad_id: (e.photo.label, e.photo.source) for e in frozen.content.examples}
    assert by_ad["chair-00"] == ("lamp", "person")
    assert by_ad["chair-01"] == ("chair", "seller")
    until(lambda: pending(catalogue) == 0)


def test_the_last_label_replaces_earlier_ones(catalogue: Labelled, client: httpx.Client) -> None:
    """There is one label per ad and task; one that the release can't predict is stored too, with
    `known` false."""
    for label, known in (("lamp", True), ("armchair", False)):
        feedback = {"label": label, "given_by": label}
        answer = client.post("/v1/ads/kg/chair-00/feedback", json=feedback)
        assert (answer.status_code, answer.json()["known"]) == (200, known)
    rows = catalogue.rows("SELECT ad_id, task, label, given_by FROM lalafo.labels")
    assert rows == [("chair-00", "category", "armchair", "armchair")]


def test_feedback_that_is_sent_again_does_not_replace_a_later_label(
    catalogue: Labelled, client: httpx.Client
) -> None:
    """With an Idempotency-Key: the first answer, no second event; other feedback is refused."""
    path, headers = "/v1/ads/kg/chair-00/feedback", {"Idempotency-Key": "one"}
    first = {"label": "lamp", "given_by": "a"}
    sent = client.post(path, json=first, headers=headers)
    client.post(path, json={"label": "chair", "given_by": "b"}).raise_for_status()
    again = client.post(path, json=first, headers=headers)
    assert again.status_code == 200
    assert {**again.json(), "published": True} == {**sent.json(), "published": True}
    assert list(again.json()) == list(sent.json())
    assert again.headers["Idempotency-Replayed"] == "true"
    other = client.post(path, json={**first, "label": "sofa"}, headers=headers)
    elsewhere = client.post("/v1/ads/kg/chair-01/feedback", json=first, headers=headers)
    for answer in (other, elsewhere):
        assert answer.json()["type"] == "urn:lalafo:problem:idempotency_key_reused"
    ad = client.post("/v1/ads", json={"catalog": "kg", "ad_id": "x"}, headers=headers)
    assert ad.json()["type"] == "urn:lalafo:problem:idempotency_key_reused"
    rows = catalogue.rows("SELECT ad_id, label, given_by FROM lalafo.labels")
    assert rows == [("chair-00", "chair", "b")]


def test_concurrent_feedback_with_one_key_is_given_once(
    catalogue: Labelled, client: httpx.Client
) -> None:
    """Each request gets the same answer; one of them has given the label."""
    body, headers = {"label": "lamp", "given_by": "a"}, {"Idempotency-Key": "many"}

    def give(_: int) -> httpx.Response:
        return client.post("/v1/ads/kg/chair-00/feedback", json=body, headers=headers)

    with ThreadPoolExecutor(6) as pool:
        answers = list(pool.map(give, range(6)))
    assert {answer.status_code for answer in answers} == {200}
    assert sum("Idempotency-Replayed" not in answer.headers for answer in answers) == 1


def test_a_label_may_name_an_inner_node(catalogue: Labelled, client: httpx.Client) -> None:
    """Where the categories are a tree, the nodes above them can be answered, so they are known."""
    with catalogue.database.cursor() as cursor:
        cursor.execute(
            "UPDATE lalafo.releases SET manifest = manifest || "
            """'{"taxonomy": {"category": ["food/apple/gala", "food/kiwi", "hat"]}}'"""
        )
    for tree in (False, True):
        for label, known in (("food/apple", tree), ("food/app", False), ("food/kiwi", True)):
            feedback = {"label": label, "given_by": "me"}
            answer = client.post("/v1/ads/kg/chair-00/feedback", json=feedback)
            assert (answer.status_code, answer.json()["known"]) == (200, known), label
        with catalogue.database.cursor() as cursor:
            cursor.execute(
                "UPDATE lalafo.releases SET manifest = manifest || "
                """'{"heads": {"category": {"thresholds": {"leaf": 0.5, "parent": 0.5}}}}'"""
            )


def test_feedback_on_an_unknown_ad_or_task_changes_nothing(
    catalogue: Labelled, client: httpx.Client
) -> None:
    """Unknown ad: 404. Unknown task: 422 with the known ones."""
    feedback = {"label": "lamp", "given_by": "m"}
    answer = client.post("/v1/ads/kg/nobody/feedback", json=feedback)
    assert (answer.status_code, answer.json()["type"]) == (404, "urn:lalafo:problem:no_such_ad")
    answer = client.post("/v1/ads/kg/chair-00/feedback", json={**feedback, "task": "price"})
    assert answer.status_code == 422 and answer.json()["tasks"] == ["category"]
    answer = client.post("/v1/ads/kg/chair-00/feedback", json={**feedback, "task": "a\x00"})
    assert answer.status_code == 422
    assert client.post("/v1/ads/kg/%00/feedback", json=feedback).status_code == 422
    assert catalogue.rows("SELECT count(*) FROM lalafo.labels") == [(0,)]
    assert pending(catalogue) == 0


def test_an_ad_that_is_not_scored_yet_accepts_feedback(
    catalogue: Labelled, client: httpx.Client
) -> None:
    """An accepted ad is known; and an id may contain '/', and end like the route's path."""
    for ad_id in ("new/1", "new/feedback"):
        assert client.post("/v1/ads", json={"catalog": "kg", "ad_id": ad_id}).status_code == 202
        feedback = {"label": "lamp", "given_by": "m"}
        assert client.post(f"/v1/ads/kg/{ad_id}/feedback", json=feedback).status_code == 200
    labels = catalogue.rows("SELECT ad_id FROM lalafo.labels ORDER BY 1")
    assert labels == [("new/1",), ("new/feedback",)]


def test_a_task_is_taught_before_a_release_has_it(
    catalogue: Labelled, client: httpx.Client
) -> None:
    """Its first labels are what the first release with it is trained on: they are in the training
    set. A task that learns nothing takes none."""
    record_tasks(catalogue.database, all_tasks())
    for ad, label in (("chair-00", "allowed"), ("lamp-00", "weapons"), ("lamp-01", "allowed")):
        feedback = {"task": "forbidden", "label": label, "given_by": "me"}
        answer = client.post(f"/v1/ads/kg/{ad}/feedback", json=feedback)
        assert (answer.status_code, answer.json()["known"]) == (200, False)
    frozen = freeze_training_set(catalogue.database, catalogue.stores, catalogue.settings)
    taught = [e.photo for e in frozen.content.examples if e.photo.task == "forbidden"]
    assert sorted(photo.label for photo in taught) == ["allowed", "allowed", "weapons"]
    answer = client.post(
        "/v1/ads/kg/chair-00/feedback",
        json={"task": "quality", "label": "good", "given_by": "me"},
    )
    assert answer.status_code == 422
    assert answer.json()["tasks"] == ["category", "forbidden"]
