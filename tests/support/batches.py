"""Builds batches like those of the scoring, for tests of the commit and of what follows it."""

import hashlib
from dataclasses import replace
from datetime import UTC, datetime

import numpy as np

from ops.errors import Reason
from ops.outcomes import AdOutcome, Batch, DeadLetter, PhotoEmbedding, PhotoOutcome, Receipt
from ops.types import (
    AdEvent,
    AdKey,
    AdStatus,
    EventKind,
    Failure,
    PhotoRef,
    Prediction,
    Rendition,
    StreamRecord,
)
from resources.postgres.database import Database
from resources.releases.promotion import make_live
from resources.releases.registry import RegisteredRelease, register

NOON = datetime(2026, 5, 1, 12, tzinfo=UTC)
RELEASE = "tiny-000000000001"
BACKBONE = "tiny-aaaaaaaaaaaa"
DIMENSION = 8


def put_test_release(database: Database, name: str = RELEASE) -> None:
    """Register and activate a release without files, for tests that only commit."""
    digest = hashlib.sha256(name.encode()).hexdigest()
    register(database, RegisteredRelease(name, digest, BACKBONE, {"metrics": {}}))
    make_live(database, name)


def receipt(offset: int = 0, partition: int = 0, at: datetime = NOON) -> Receipt:
    return Receipt(
        topic="ads",
        partition=partition,
        offset=offset,
        day=at.date(),
        kafka_at=at,
        received_at=at,
        timestamp_trusted=True,
    )


def event(ad_id: str = "1", revision: int = 1, photos: int = 1, **changes: object) -> AdEvent:
    default = AdEvent(
        key=AdKey("kg", ad_id),
        kind=EventKind.UPSERTED,
        event_id=f"e-{ad_id}-{revision}",
        revision=revision,
        occurred_at=NOON,
        title=f"ad {ad_id} at {revision}",
        category="chair",
        photos=tuple(PhotoRef(url=f"https://p.example/{ad_id}/{n}.jpg") for n in range(photos)),
    )
    return replace(default, **changes)


def sha(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()


def rendition(photo: bytes) -> Rendition:
    data = b"rendition of " + photo
    return Rendition(
        photo_sha256=photo,
        sha256=hashlib.sha256(data).digest(),
        data=data,
        width=640,
        height=480,
        source_format="jpeg",
        source_width=1280,
        source_height=960,
        source_bytes=90_000,
    )


def embedding(photo: bytes) -> PhotoEmbedding:
    rng = np.random.default_rng(list(photo[:4]))
    row = rng.normal(size=DIMENSION)
    return PhotoEmbedding(photo, BACKBONE, RELEASE, (row / np.linalg.norm(row)).astype(np.float16))


def outcome(
    of: AdEvent, *, offset: int = 0, partition: int = 0, label: str = "chair", at: datetime = NOON
) -> AdOutcome:
    """A scored ad: its second photo failed, all others are usable."""
    photos = tuple(
        PhotoOutcome(ref, sha(str(ref.url)), None)
        if position != 1
        else PhotoOutcome(ref, None, Failure(Reason.FETCH_TIMEOUT, "too slow"))
        for position, ref in enumerate(of.photos)
    )
    deleted = of.kind is EventKind.DELETED
    return AdOutcome(
        event=of,
        receipt=receipt(offset, partition, at),
        status=AdStatus.DELETED if deleted else AdStatus.SCORED,
        photos=photos,
        predictions={} if deleted else {RELEASE: (Prediction("category", label, 0.75, {}),)},
    )


def batch(
    *ads: AdOutcome, letters: tuple[DeadLetter, ...] = (), releases: tuple[str, ...] = (RELEASE,)
) -> Batch:
    """A batch of these ads, with the photos that they refer to."""
    shas = {photo.sha256: None for ad in ads for photo in ad.photos if photo.sha256 is not None}
    receipts = [ad.receipt for ad in ads] + [letter.receipt for letter in letters]
    return Batch(
        releases=releases,
        ads=ads,
        dead_letters=letters,
        renditions=tuple(rendition(photo) for photo in shas),
        embeddings=tuple(embedding(photo) for photo in shas),
        partitions=frozenset(of.partition for of in receipts),
        next_offsets={of.partition: of.offset + 1 for of in receipts},
    )


def dead_letter(offset: int, value: bytes | None = b"nonsense") -> DeadLetter:
    record = StreamRecord("ads", 0, offset, int(NOON.timestamp() * 1e3), b"kg/1", value)
    return DeadLetter(record, receipt(offset), Failure(Reason.EVENT_NOT_JSON, "not JSON"))
