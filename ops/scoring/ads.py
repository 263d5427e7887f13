"""From records to results: what is done to an ad, and nothing about when.

Decides what a record is (an event, or a dead letter) and, once its photos are loaded, what an ad's
predictions and status are. Every photo of an ad ends as a photo or as a failure with its reason.
"""

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta

import numpy as np
from numpy.typing import NDArray

from ops.errors import BadInputError
from ops.events.parse import EventLimits, parse_event
from ops.models.release import Preprocessing
from ops.outcomes import (
    AdOutcome,
    DeadLetter,
    PhotoEmbedding,
    PhotoOutcome,
    Receipt,
    StageTimes,
)
from ops.scoring.ready_release import ReadyRelease, Vector, predict_ads
from ops.tasks import Task
from ops.types import (
    AdEvent,
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


@dataclass(frozen=True, slots=True)
class LoadedPhotos:
    """An ad's photos, each as a photo or as the reason why it is none."""

    by_ref: Mapping[PhotoRef, LoadedPhoto | Failure]
    fetch_ms: float = 0.0
    photos_ms: float = 0.0


@dataclass(frozen=True, slots=True)
class LoadedAd:
    """An ad that waits for the model."""

    event: AdEvent
    receipt: Receipt
    photos: LoadedPhotos
    queued_ms: float = 0.0

    def queued(self, queued_ms: float) -> "LoadedAd":
        """The same, having waited for the model for so long."""
        return replace(self, queued_ms=queued_ms)

    def ready_for(self, backbones: Iterable[str]) -> bool:
        """Whether every photo is embedded or prepared for each of these."""
        wanted = set(backbones)
        return all(
            wanted <= photo.vectors.keys() | photo.images.keys()
            for photo in self.photos.by_ref.values()
            if isinstance(photo, LoadedPhoto)
        )


@dataclass(frozen=True, slots=True)
class Scored:
    """What the model made of some ads."""

    ads: tuple[AdOutcome, ...]
    renditions: tuple[Rendition, ...]
    embeddings: tuple[PhotoEmbedding, ...]


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


@dataclass(frozen=True, slots=True)
class RecordReader:
    """What a record is."""

    limits: EventLimits
    receipts: ReceiptRule

    def read(self, record: StreamRecord, now: datetime) -> tuple[AdEvent, Receipt] | DeadLetter:
        """The event with its receipt, or the record with the reason why it is none."""
        receipt = self.receipts.receipt(record, now)
        try:
            return parse_event(record, self.limits), receipt
        except BadInputError as error:
            return DeadLetter(record, receipt, Failure(error.reason, error.detail))


@dataclass(frozen=True, slots=True)
class AdScorer:
    """Scores ads under a set of releases, the live one first. Holds no state between batches."""

    releases: tuple[ReadyRelease, ...]
    tasks: tuple[Task, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """The set, as a commit is checked against it."""
        return tuple(release.name for release in self.releases)

    @property
    def backbones(self) -> dict[str, Preprocessing]:
        """What photos are to be prepared for."""
        return {release.backbone: release.preprocessing for release in self.releases}

    def score(self, ads: Sequence[LoadedAd]) -> Scored:
        """Predictions and statuses, in order; photos that several ads bring are embedded once.

        Every ad is `ready_for` our backbones. An empty sequence gives nothing.
        """
        photos = {
            photo.sha256: photo
            for ad in ads
            for photo in ad.photos.by_ref.values()
            if isinstance(photo, LoadedPhoto)
        }
        started = time.perf_counter()
        vectors, fresh = self._embed(photos)
        embedded_at = time.perf_counter()
        outcomes = self._outcomes(ads, vectors)
        embed_ms = (embedded_at - started) * 1e3
        predict_ms = (time.perf_counter() - embedded_at) * 1e3
        return Scored(
            ads=tuple(
                replace(outcome, times=_times(ad, embed_ms, predict_ms))
                for ad, outcome in zip(ads, outcomes, strict=True)
            ),
            renditions=tuple(p.rendition for p in photos.values() if p.rendition is not None),
            embeddings=fresh,
        )

    def _embed(
        self, photos: Mapping[bytes, LoadedPhoto]
    ) -> tuple[dict[tuple[str, bytes], Vector], tuple[PhotoEmbedding, ...]]:
        """Every photo's vector, by backbone and SHA-256; and those that are new."""
        vectors: dict[tuple[str, bytes], Vector] = {}
        fresh: list[PhotoEmbedding] = []
        for release in self.releases:
            backbone = release.backbone
            missing = []
            for sha256, photo in photos.items():
                if (backbone, sha256) in vectors:
                    continue
                if backbone in photo.vectors:
                    vectors[backbone, sha256] = photo.vectors[backbone]
                else:
                    missing.append(photo)
            made = release.embedder.embed([photo.images[backbone] for photo in missing])
            for photo, vector in zip(missing, made, strict=True):
                fresh.append(PhotoEmbedding(photo.sha256, backbone, release.name, vector))
                vectors[backbone, photo.sha256] = vector
        return vectors, tuple(fresh)

    def _outcomes(
        self, ads: Sequence[LoadedAd], vectors: Mapping[tuple[str, bytes], Vector]
    ) -> list[AdOutcome]:
        judged = [
            tuple(_photo_outcome(ref, ad.photos.by_ref[ref]) for ref in ad.event.photos)
            for ad in ads
        ]
        shas = [_distinct(items) for items in judged]
        by_release = {
            release.name: predict_ads(
                release, self.tasks, [[vectors[release.backbone, sha] for sha in of] for of in shas]
            )
            for release in self.releases
        }
        return [
            AdOutcome(
                event=ad.event,
                receipt=ad.receipt,
                status=_status(ad.event, items),
                photos=items,
                predictions={name: made[index] for name, made in by_release.items()},
            )
            for index, (ad, items) in enumerate(zip(ads, judged, strict=True))
        ]


def _times(ad: LoadedAd, embed_ms: float, predict_ms: float) -> StageTimes:
    return StageTimes(
        fetch_ms=ad.photos.fetch_ms,
        photos_ms=ad.photos.photos_ms,
        queued_ms=ad.queued_ms,
        embed_ms=embed_ms,
        predict_ms=predict_ms,
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
