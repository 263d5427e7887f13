"""From records to results: what the stream does to one batch, and nothing about when.

Decides the order of the stages (read, photos, embed, predict) and what an ad's status is. Every
record ends as an ad, as superseded, or as a dead letter; every photo of an ad ends as a photo or
as a failure with its reason. The outside world comes in through the ports.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from ops.errors import BadInputError
from ops.events import EventLimits, parse_event
from ops.outcomes import (
    AdOutcome,
    Batch,
    DeadLetter,
    PhotoEmbedding,
    PhotoOutcome,
    Receipt,
    StageTimes,
)
from ops.ready_release import ReadyRelease, Vector, predict_ads
from ops.release import Preprocessing
from ops.tasks import Task
from ops.types import (
    AdEvent,
    AdKey,
    AdStatus,
    EventKind,
    Failure,
    PhotoRef,
    Rendition,
    StreamRecord,
)

CLOCK_SKEW = timedelta(minutes=5)

Image = NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class LoadedPhoto:
    """A photo that can be used: stored, and either embedded already or prepared for it."""

    sha256: bytes
    rendition: Rendition | None  # None: it was stored before
    vectors: Mapping[str, Vector]  # by backbone; those known already
    images: Mapping[str, Image]  # by backbone; those still to embed


class PhotoLoading(Protocol):
    """Fetches, checks, stores and prepares photos."""

    def load(
        self, refs: Sequence[PhotoRef], backbones: Mapping[str, Preprocessing]
    ) -> Mapping[PhotoRef, LoadedPhoto | Failure]: ...


class Revisions(Protocol):
    """The highest revision held of each ad, of those that are held."""

    def __call__(self, keys: Sequence[AdKey]) -> Mapping[AdKey, int]: ...


@dataclass(frozen=True, slots=True)
class ReceiptRule:
    """When an event counts as received: Kafka's timestamp, unless it is impossible."""

    first_day: date

    def receipt(self, record: StreamRecord, now: datetime) -> Receipt:
        """The record's receipt; a timestamp out of range falls back to `now`, and says so."""
        earliest = datetime.combine(self.first_day, datetime.min.time(), UTC)
        latest = now + CLOCK_SKEW
        in_range = earliest.timestamp() * 1e3 <= record.timestamp_ms <= latest.timestamp() * 1e3
        kafka_at = datetime.fromtimestamp(record.timestamp_ms / 1e3, UTC) if in_range else now
        return Receipt(
            *(record.topic, record.partition, record.offset),
            day=kafka_at.date(),
            kafka_at=kafka_at,
            received_at=now,
            timestamp_trusted=in_range,
        )


class BatchScorer:
    """Scores batches under a set of releases, the live one first.

    Holds no state between batches: the same records give the same batch.
    """

    def __init__(
        self,
        *,
        releases: Sequence[ReadyRelease],
        tasks: Sequence[Task],
        photos: PhotoLoading,
        revisions: Revisions,
        limits: EventLimits,
        receipts: ReceiptRule,
    ) -> None:
        self.releases = tuple(releases)
        self.tasks = tuple(tasks)
        self.photos = photos
        self.revisions = revisions
        self.limits = limits
        self.receipts = receipts

    def score(self, records: Sequence[StreamRecord]) -> Batch:
        """Everything that these records change; an empty list gives an empty batch.

        Records of one partition are in the order of their offsets, as Kafka hands them out.
        """
        events, letters = self._read(records)
        ads, superseded = self._newest(events)
        started = time.perf_counter()
        refs = list(dict.fromkeys(ref for event, _ in ads for ref in event.photos))
        photos = self.photos.load(refs, self._backbones()) if refs else {}
        loaded_at = time.perf_counter()
        vectors, fresh = self._embed(photos)
        embedded_at = time.perf_counter()
        outcomes = self._outcomes(ads, photos, vectors)
        return Batch(
            releases=tuple(release.name for release in self.releases),
            ads=outcomes,
            superseded=superseded,
            dead_letters=tuple(letters),
            renditions=_new_renditions(photos),
            embeddings=fresh,
            first_offsets={record.partition: record.offset for record in reversed(records)},
            next_offsets={record.partition: record.offset + 1 for record in records},
            times=StageTimes(
                photos_ms=(loaded_at - started) * 1e3,
                embed_ms=(embedded_at - loaded_at) * 1e3,
                predict_ms=(time.perf_counter() - embedded_at) * 1e3,
            ),
        )

    def _backbones(self) -> dict[str, Preprocessing]:
        return {release.backbone: release.preprocessing for release in self.releases}

    def _read(
        self, records: Sequence[StreamRecord]
    ) -> tuple[list[tuple[AdEvent, Receipt]], list[DeadLetter]]:
        events: list[tuple[AdEvent, Receipt]] = []
        letters: list[DeadLetter] = []
        now = datetime.now(UTC)
        for record in records:
            receipt = self.receipts.receipt(record, now)
            try:
                events.append((parse_event(record, self.limits), receipt))
            except BadInputError as error:
                letters.append(DeadLetter(record, receipt, Failure(error.reason, error.detail)))
        return events, letters

    def _newest(
        self, events: Sequence[tuple[AdEvent, Receipt]]
    ) -> tuple[list[tuple[AdEvent, Receipt]], int]:
        """Each ad's highest revision, where it is higher than what is held."""
        newest: dict[AdKey, tuple[AdEvent, Receipt]] = {}
        for event, receipt in events:
            rival = newest.get(event.key)
            if rival is None or rival[0].revision < event.revision:
                # The day is that of the first event, whichever revision wins.
                first = receipt if rival is None else replace(receipt, day=rival[1].day)
                newest[event.key] = (event, first)
        held = self.revisions(list(newest)) if newest else {}
        ads = [
            (event, receipt)
            for event, receipt in newest.values()
            if event.revision > held.get(event.key, -1)
        ]
        return ads, len(events) - len(ads)

    def _embed(
        self, photos: Mapping[PhotoRef, LoadedPhoto | Failure]
    ) -> tuple[dict[tuple[str, bytes], Vector], tuple[PhotoEmbedding, ...]]:
        """Vectors by (backbone, photo), and those of them that were made now."""
        vectors: dict[tuple[str, bytes], Vector] = {}
        fresh: list[PhotoEmbedding] = []
        done: set[str] = set()
        loaded = {
            photo.sha256: photo for photo in photos.values() if isinstance(photo, LoadedPhoto)
        }
        for release in self.releases:
            backbone = release.backbone
            if backbone in done:
                continue
            done.add(backbone)
            missing = [photo for photo in loaded.values() if backbone in photo.images]
            made = release.embedder.embed([photo.images[backbone] for photo in missing])
            for photo, vector in zip(missing, made, strict=True):
                fresh.append(PhotoEmbedding(photo.sha256, backbone, release.name, vector))
                vectors[backbone, photo.sha256] = vector
            for photo in loaded.values():
                if backbone in photo.vectors:
                    vectors[backbone, photo.sha256] = photo.vectors[backbone]
        return vectors, tuple(fresh)

    def _outcomes(
        self,
        ads: Sequence[tuple[AdEvent, Receipt]],
        photos: Mapping[PhotoRef, LoadedPhoto | Failure],
        vectors: Mapping[tuple[str, bytes], Vector],
    ) -> tuple[AdOutcome, ...]:
        judged = [
            tuple(_photo_outcome(ref, photos[ref]) for ref in event.photos) for event, _ in ads
        ]
        shas = [_distinct(items) for items in judged]
        by_release = {
            release.name: predict_ads(
                release, self.tasks, [[vectors[release.backbone, sha] for sha in of] for of in shas]
            )
            for release in self.releases
        }
        return tuple(
            AdOutcome(
                event=event,
                receipt=receipt,
                status=_status(event, items),
                photos=items,
                predictions={name: made[index] for name, made in by_release.items()},
            )
            for index, ((event, receipt), items) in enumerate(zip(ads, judged, strict=True))
        )


def _photo_outcome(ref: PhotoRef, photo: LoadedPhoto | Failure) -> PhotoOutcome:
    if isinstance(photo, Failure):
        return PhotoOutcome(ref, None, photo)
    return PhotoOutcome(ref, photo.sha256, None)


def _distinct(photos: Sequence[PhotoOutcome]) -> list[bytes]:
    """An ad's photos that can be used, each once, in order."""
    return list(dict.fromkeys(photo.sha256 for photo in photos if photo.sha256 is not None))


def _status(event: AdEvent, photos: Sequence[PhotoOutcome]) -> AdStatus:
    if event.kind is EventKind.DELETED:
        return AdStatus.DELETED
    if not photos:
        return AdStatus.NO_PHOTOS
    return AdStatus.SCORED if _distinct(photos) else AdStatus.UNSCORED


def _new_renditions(photos: Mapping[PhotoRef, LoadedPhoto | Failure]) -> tuple[Rendition, ...]:
    made = {
        photo.sha256: photo.rendition
        for photo in photos.values()
        if isinstance(photo, LoadedPhoto) and photo.rendition is not None
    }
    return tuple(made.values())
