"""Generate thousands of realistic and faulty events, and the outcome they must have.

Ads are created, updated, updated out of order, redelivered and deleted; every hundredth record is
invalid; some photos are missing or corrupt. The expected outcome is computed from the events alone,
independently of the pipeline's code.
"""

import json
import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from resources.kafka.topics import AdStream

PHOTOS = 150
MISSING = "gone.jpg"  # the host answers 404
CORRUPT = "corrupt.jpg"  # the host serves a truncated file


@dataclass(frozen=True)
class Message:
    """One record of the topic."""

    key: bytes | None
    value: bytes
    reason: str | None = None  # of a dead letter; None for an event


@dataclass(frozen=True)
class Expected:
    """The expected final state of an ad."""

    revision: int
    status: str
    reasons: tuple[str, ...]  # of its photos, in order; "" where there is a photo


@dataclass
class Corpus:
    """Messages in the order of publishing, and their expected outcome."""

    messages: list[Message] = field(default_factory=list)

    @property
    def poison(self) -> Counter[str]:
        return Counter(m.reason for m in self.messages if m.reason is not None)

    def expected(self) -> dict[str, Expected]:
        """Return the expected state by ad: its highest revision; of equal ones, the first sent."""
        best: dict[str, dict] = {}
        for message in self.messages:
            if message.reason is not None:
                continue
            event = json.loads(message.value)
            highest = best.get(event["ad_id"])
            if highest is None or event["revision"] > highest["revision"]:
                best[event["ad_id"]] = event
        return {ad_id: _expected(event) for ad_id, event in best.items()}


def make_corpus(count: int, urls: Sequence[str], missing: str, corrupt: str, seed: int) -> Corpus:
    """Generate `count` messages about a quarter as many ads."""
    rng = random.Random(seed)
    ads = [f"{number:05d}" for number in range(max(1, count // 4))]
    revisions = dict.fromkeys(ads, 0)
    sent: list[Message] = []
    for number in range(count):
        if number % 100 == 99:
            sent.append(_poison(rng, number))
        elif number % 10 == 7 and any(m.reason is None for m in sent[-50:]):
            # Redelivered, as by an at-least-once producer.
            sent.append(rng.choice([m for m in sent[-50:] if m.reason is None]))
        else:
            ad_id = ads[number // 4] if rng.random() < 0.7 else rng.choice(ads[: number // 4 + 1])
            revisions[ad_id] += 1
            # One in eight arrives late: its revision is below one that was sent before.
            late = rng.random() < 0.125
            revision = max(1, revisions[ad_id] - rng.randint(1, 3)) if late else revisions[ad_id]
            photos = [rng.choice(urls) for _ in range(rng.randint(0, 3))]
            if rng.random() < 0.05:
                photos.append(rng.choice([missing, corrupt]))
            kind = "deleted" if rng.random() < 0.08 else "upserted"
            sent.append(_event(ad_id, revision, kind, photos, number))
    return Corpus(sent)


def publish(stream: AdStream, messages: Sequence[Message]) -> None:
    """Publish the messages in order, and wait until all are acknowledged."""
    with stream.publisher() as publisher:
        for message in messages:
            publisher.publish(stream.config.ads_topic, key=message.key, value=message.value)
        publisher.flush(60)


def _event(ad_id: str, revision: int, kind: str, photos: Sequence[str], number: int) -> Message:
    fields = {
        "schema": 1,
        "event_id": f"e{number}",
        "kind": kind,
        "catalog": "kg",
        "ad_id": ad_id,
        "revision": revision,
        "occurred_at": "2026-05-01T12:00:00+00:00",
        "title": f"ad {ad_id} at {revision}, message {number}",
        "photos": [{"url": url} for url in photos],
    }
    return Message(f"kg/{ad_id}".encode(), json.dumps(fields).encode())


def _poison(rng: random.Random, number: int) -> Message:
    key = f"kg/p{number}".encode()
    good = json.loads(_event(f"p{number}", 1, "upserted", [], number).value)
    kinds = {
        "event_not_json": b"\xff\xfe not json",
        "event_unknown_schema": json.dumps({**good, "schema": 7}).encode(),
        "event_bad_revision": json.dumps({**good, "revision": "one"}).encode(),
        "event_unknown_kind": json.dumps({**good, "kind": "moved"}).encode(),
        "event_wrong_type": json.dumps({**good, "photos": "none"}).encode(),
    }
    reason = rng.choice(sorted(kinds))
    return Message(key, kinds[reason], reason)


def _expected(event: dict) -> Expected:
    if event["kind"] == "deleted":
        return Expected(event["revision"], "deleted", ())
    reasons = tuple(_reason(photo["url"]) for photo in event["photos"])
    if not reasons:
        return Expected(event["revision"], "no_photos", ())
    status = "scored" if "" in reasons else "unscored"
    return Expected(event["revision"], status, reasons)


def _reason(url: str) -> str:
    if url.endswith(MISSING):
        return "fetch_not_found"
    return "photo_truncated" if url.endswith(CORRUPT) else ""
