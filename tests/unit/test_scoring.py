"""The scoring: every record ends as an ad, as superseded or as a dead letter; photos likewise."""

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, timedelta

import numpy as np

from ops.errors import Reason
from ops.events import EventLimits
from ops.ready_release import ReadyRelease
from ops.release import Head, Preprocessing
from ops.scoring import BatchScorer, LoadedPhoto, ReceiptRule
from ops.tasks import all_tasks
from ops.types import AdKey, AdStatus, Failure, PhotoRef, StreamRecord
from tests.batches import sha

DAY = date(2026, 1, 1)


class Backbone:
    """Two dimensions: dark photos point one way, bright ones the other."""

    dimension = 2

    def __init__(self) -> None:
        self.calls: list[int] = []

    def embed(self, images: Sequence[np.ndarray]) -> np.ndarray:
        self.calls.append(len(images))
        rows = [[1, 0] if image.mean() < 128 else [0, 1] for image in images]
        return np.array(rows, np.float16).reshape(-1, 2)


class Photos:
    """A photo's URL says what it is: dark-N, bright-N, or bad-N."""

    def load(
        self, refs: Sequence[PhotoRef], backbones: Mapping[str, Preprocessing]
    ) -> dict[PhotoRef, LoadedPhoto | Failure]:
        return {ref: self._load(str(ref.url), backbones) for ref in refs}

    def _load(self, url: str, backbones: Mapping[str, Preprocessing]) -> LoadedPhoto | Failure:
        if url.startswith("bad"):
            return Failure(Reason.FETCH_NOT_FOUND, "no such photo")
        image = np.full((4, 4, 3), 0 if url.startswith("dark") else 255, np.uint8)
        return LoadedPhoto(sha(url), None, {}, dict.fromkeys(backbones, image))


def ready(name: str, backbone: str, embedder: Backbone, labels: tuple[str, str]) -> ReadyRelease:
    head = Head("category", labels, np.eye(2, dtype=np.float32) * 8, np.zeros(2, np.float32))
    return ReadyRelease(name, backbone, Preprocessing(), embedder, {"category": head})


def scorer(*releases: ReadyRelease, held: Mapping[AdKey, int] | None = None) -> BatchScorer:
    return BatchScorer(
        releases=releases,
        tasks=all_tasks(),
        photos=Photos(),
        revisions=lambda keys: {} if held is None else held,
        limits=EventLimits(),
        receipts=ReceiptRule(DAY),
    )


def record(offset: int, ad_id: str, urls: Sequence[str], revision: int = 1, **more: object):
    event = {
        "schema": 1,
        "event_id": f"e{offset}",
        "kind": "upserted",
        "catalog": "kg",
        "ad_id": ad_id,
        "revision": revision,
        "occurred_at": "2026-05-01T12:00:00Z",
        "photos": [{"url": url} for url in urls],
        **more,
    }
    return StreamRecord("ads", 0, offset, 1_777_636_800_000, None, json.dumps(event).encode())


def live() -> tuple[Backbone, ReadyRelease]:
    backbone = Backbone()
    return backbone, ready("r1", "b1", backbone, ("dark", "bright"))


def test_an_ad_is_scored_on_its_good_photos() -> None:
    """Failed photos are kept with their reasons; the status says what is left."""
    _, release = live()
    batch = scorer(release).score(
        [
            record(0, "1", ["dark-1", "bad-1"]),
            record(1, "2", ["bad-2"]),
            record(2, "3", []),
            record(3, "4", [], kind="deleted"),
        ]
    )
    assert [ad.status for ad in batch.ads] == [
        AdStatus.SCORED,
        AdStatus.UNSCORED,
        AdStatus.NO_PHOTOS,
        AdStatus.DELETED,
    ]
    (prediction,) = batch.ads[0].predictions["r1"]
    assert prediction.label == "dark"
    assert all(ad.predictions["r1"] == () for ad in batch.ads[1:])
    assert batch.ads[0].photos[1].failure == Failure(Reason.FETCH_NOT_FOUND, "no such photo")


def test_a_score_is_the_mean_over_the_distinct_photos() -> None:
    """A photo that an ad brings twice counts once: 2 bright against 1 dark, not 2 against 2."""
    _, release = live()
    twice = ["dark-1", "dark-1", "bright-1", "bright-2"]
    batch = scorer(release).score([record(0, "1", twice)])
    (prediction,) = batch.ads[0].predictions["r1"]
    sure = 1 / (1 + np.exp(-8))  # softmax of (8, 0)
    assert prediction.label == "bright"
    assert np.isclose(prediction.score, (2 * sure + (1 - sure)) / 3, atol=1e-5)


def test_only_the_highest_revision_of_an_ad_is_worked_on() -> None:
    """Others in the batch, and those not above what is held, are superseded, and counted."""
    _, release = live()
    batch = scorer(release, held={AdKey("kg", "2"): 7}).score(
        [
            record(0, "1", ["dark-1"], revision=2),
            record(1, "1", ["bright-1"], revision=3),
            record(2, "1", ["dark-2"], revision=1),
            record(3, "2", ["dark-3"], revision=7),
        ]
    )
    assert [(ad.event.key.ad_id, ad.event.revision) for ad in batch.ads] == [("1", 3)]
    assert batch.superseded == 3
    assert batch.events == 4
    assert batch.next_offsets == {0: 4}
    assert batch.first_offsets == {0: 0}


def test_releases_that_share_a_backbone_embed_once() -> None:
    """Two heads, one pass; another backbone gets its own."""
    shared = Backbone()
    other = Backbone()
    batch = scorer(
        ready("r1", "b1", shared, ("dark", "bright")),
        ready("r2", "b1", shared, ("night", "day")),
        ready("r3", "b2", other, ("x", "y")),
    ).score([record(0, "1", ["dark-1", "bright-1"]), record(1, "2", ["dark-1"])])
    assert shared.calls == [2]
    assert other.calls == [2]
    assert {(item.backbone, item.sha256) for item in batch.embeddings} == {
        (backbone, sha(url)) for backbone in ("b1", "b2") for url in ("dark-1", "bright-1")
    }
    assert [p.label for p in batch.ads[1].predictions["r2"]] == ["night"]


def test_a_record_that_is_no_event_is_a_dead_letter() -> None:
    """It keeps its place and its bytes; the batch goes on."""
    _, release = live()
    bad = StreamRecord("ads", 1, 5, 0, None, b"nonsense")
    batch = scorer(release).score([record(0, "1", ["dark-1"]), bad])
    (letter,) = batch.dead_letters
    assert (letter.record, letter.failure.reason) == (bad, Reason.EVENT_NOT_JSON)
    assert batch.next_offsets == {0: 1, 1: 6}


def test_an_empty_poll_is_an_empty_batch() -> None:
    """Nothing in, nothing out, nothing asked of the model."""
    backbone, release = live()
    batch = scorer(release).score([])
    assert (batch.events, batch.next_offsets) == (0, {})
    assert sum(backbone.calls) == 0


def test_impossible_timestamps_fall_back_to_the_receipt() -> None:
    """Kafka's time is believed from the first day to five minutes from now."""
    now = datetime(2026, 5, 1, 12, tzinfo=UTC)
    rule = ReceiptRule(DAY)

    def at(moment: datetime) -> tuple[datetime, bool, date]:
        raw = StreamRecord("ads", 0, 0, int(moment.timestamp() * 1e3), None, None)
        made = rule.receipt(raw, now)
        return made.kafka_at, made.timestamp_trusted, made.day

    early = datetime(2026, 1, 1, tzinfo=UTC)
    assert at(early) == (early, True, DAY)
    assert at(now + timedelta(minutes=4)) == (now + timedelta(minutes=4), True, now.date())
    for wrong in (early - timedelta(seconds=1), now + timedelta(minutes=6)):
        assert at(wrong) == (now, False, now.date())
