"""Scores ads: from Kafka records and loaded photos to the outcome of each ad.

Owns the decision whether a record is an event or a dead letter, and the predictions and status of
an ad. Does not depend on scheduling: the session and the assets call it. Every photo of an ad
ends as a usable photo or as a failure with its reason.
"""

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta

import numpy as np
from numpy.typing import NDArray

from ops.errors import BadInputError
from ops.events.parse import EventLimits, parse_event
from ops.events.traceparent import traceparent_of
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
    """A usable photo: for each backbone either embedded or prepared for embedding."""

    sha256: bytes
    rendition: Rendition | None  # None: its row exists already
    vectors: Mapping[str, Vector]  # by backbone; stored embeddings
    images: Mapping[str, Image]  # by backbone; still to be embedded


@dataclass(frozen=True, slots=True)
class LoadedPhotos:
    """An ad's photos, each as a usable photo or as a failure."""

    by_ref: Mapping[PhotoRef, LoadedPhoto | Failure]
    fetch_ms: float = 0.0
    photos_ms: float = 0.0

    @property
    def renditions(self) -> dict[PhotoRef, Rendition]:
        """The renditions of photos without a row, which must be stored before one is written."""
        return {
            ref: photo.rendition
            for ref, photo in self.by_ref.items()
            if isinstance(photo, LoadedPhoto) and photo.rendition is not None
        }


@dataclass(frozen=True, slots=True)
class LoadedAd:
    """An ad that waits for the model."""

    event: AdEvent
    receipt: Receipt
    photos: LoadedPhotos
    queued_ms: float = 0.0

    def queued(self, queued_ms: float) -> "LoadedAd":
        """A copy with the time that it waited for the model."""
        return replace(self, queued_ms=queued_ms)

    def ready_for(self, backbones: Iterable[str]) -> bool:
        """Whether every photo is embedded or prepared for each of these backbones."""
        required = set(backbones)
        return all(
            required <= photo.vectors.keys() | photo.images.keys()
            for photo in self.photos.by_ref.values()
            if isinstance(photo, LoadedPhoto)
        )


@dataclass(frozen=True, slots=True)
class Scored:
    """The results of scoring some ads."""

    ads: tuple[AdOutcome, ...]
    embeddings: tuple[PhotoEmbedding, ...]


@dataclass(frozen=True, slots=True)
class ReceiptRule:
    """The time at which an event counts as received: Kafka's timestamp, if it is plausible.

    It is plausible from `earliest_day` until `CLOCK_SKEW` after now. The ad's day is that of the
    timestamp, or `first_day` where that is later: with it the day partitions begin.
    """

    earliest_day: date
    first_day: date = date.min

    def receipt(self, record: StreamRecord, now: datetime) -> Receipt:
        """The record's receipt; an implausible timestamp is replaced by `now` and marked so."""
        earliest = datetime.combine(self.earliest_day, datetime.min.time(), UTC)
        latest = now + CLOCK_SKEW
        in_range = earliest.timestamp() * 1e3 <= record.timestamp_ms <= latest.timestamp() * 1e3
        kafka_at = datetime.fromtimestamp(record.timestamp_ms / 1e3, UTC) if in_range else now
        return Receipt(
            *(record.topic, record.partition, record.offset),
            day=max(kafka_at.date(), self.first_day),
            kafka_at=kafka_at,
            received_at=now,
            timestamp_trusted=in_range,
            traceparent=traceparent_of(record.headers) if record.headers else "",
        )


@dataclass(frozen=True, slots=True)
class RecordReader:
    """Reads records as events or dead letters."""

    limits: EventLimits
    receipts: ReceiptRule

    def read(self, record: StreamRecord, now: datetime) -> tuple[AdEvent, Receipt] | DeadLetter:
        """The event with its receipt, or a dead letter with the reason."""
        receipt = self.receipts.receipt(record, now)
        try:
            return parse_event(record, self.limits), receipt
        except BadInputError as error:
            return DeadLetter(record, receipt, Failure(error.reason, error.detail))


@dataclass(frozen=True, slots=True)
class AdScorer:
    """Scores ads under the active releases, the live one first. Keeps no state between batches."""

    releases: tuple[ReadyRelease, ...]
    tasks: tuple[Task, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """The releases, which the commit compares with the active ones."""
        return tuple(release.name for release in self.releases)

    @property
    def backbones(self) -> dict[str, Preprocessing]:
        """The backbones that photos must be prepared for, with their preprocessing."""
        return {release.backbone: release.preprocessing for release in self.releases}

    def score(self, ads: Sequence[LoadedAd]) -> Scored:
        """Score ads, in order; a photo that several ads share is embedded once.

        Every ad must be `ready_for` the backbones. An empty sequence gives an empty result.
        """
        photos = {
            photo.sha256: photo
            for ad in ads
            for photo in ad.photos.by_ref.values()
            if isinstance(photo, LoadedPhoto)
        }
        started = time.perf_counter()
        vectors, embeddings = self._embed(photos)
        embedded_at = time.perf_counter()
        outcomes = self._outcomes(ads, vectors)
        embed_ms = (embedded_at - started) * 1e3
        predict_ms = (time.perf_counter() - embedded_at) * 1e3
        return Scored(
            ads=tuple(
                replace(outcome, times=_times(ad, embed_ms, predict_ms))
                for ad, outcome in zip(ads, outcomes, strict=True)
            ),
            embeddings=embeddings,
        )

    def _embed(
        self, photos: Mapping[bytes, LoadedPhoto]
    ) -> tuple[dict[tuple[str, bytes], Vector], tuple[PhotoEmbedding, ...]]:
        """Every photo's vector, by backbone and SHA-256, and the embeddings that are new."""
        vectors: dict[tuple[str, bytes], Vector] = {}
        new: list[PhotoEmbedding] = []
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
            rows = release.embedder.embed([photo.images[backbone] for photo in missing])
            for photo, vector in zip(missing, rows, strict=True):
                new.append(PhotoEmbedding(photo.sha256, backbone, release.name, vector))
                vectors[backbone, photo.sha256] = vector
        return vectors, tuple(new)

    def _outcomes(
        self, ads: Sequence[LoadedAd], vectors: Mapping[tuple[str, bytes], Vector]
    ) -> list[AdOutcome]:
        photos = [
            tuple(_photo_outcome(ref, ad.photos.by_ref[ref]) for ref in ad.event.photos)
            for ad in ads
        ]
        shas = [_distinct(of_ad) for of_ad in photos]
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
                status=_status(ad.event, of_ad),
                photos=of_ad,
                predictions={name: answers[index] for name, answers in by_release.items()},
            )
            for index, (ad, of_ad) in enumerate(zip(ads, photos, strict=True))
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
    """The SHA-256 of an ad's usable photos, each once, in order."""
    return list(dict.fromkeys(photo.sha256 for photo in photos if photo.sha256 is not None))


def _status(event: AdEvent, photos: Sequence[PhotoOutcome]) -> AdStatus:
    if event.kind is EventKind.DELETED:
        return AdStatus.DELETED
    if not photos:
        return AdStatus.NO_PHOTOS
    return AdStatus.SCORED if _distinct(photos) else AdStatus.UNSCORED
