"""Scores ads: from loaded photos to the outcome of each ad.

Owns the embeddings and the status of an ad; `predictions.py` runs the tasks. Does not depend on
scheduling: the session and the assets call it. Every photo of an ad ends as a usable photo or as a
failure with its reason.
"""

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from ops.models.release import Preprocessing
from ops.outcomes import (
    AdOutcome,
    PhotoEmbedding,
    PhotoOutcome,
    Receipt,
    StageTimes,
    TaskFailure,
)
from ops.scoring.predictions import AdInput, OnFault, predict_ads
from ops.scoring.ready_release import ReadyRelease, Vector
from ops.tasks import AdFields, Task
from ops.types import (
    AdEvent,
    AdStatus,
    EventKind,
    Failure,
    PhotoRef,
    Rendition,
)

Image = NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class LoadedPhoto:
    """A usable photo: for each backbone embedded or prepared for embedding, and its pixels."""

    sha256: bytes
    rendition: Rendition | None  # None: its row exists already
    vectors: Mapping[str, Vector]  # by backbone; stored embeddings
    images: Mapping[str, Image]  # by view: by backbone, still to be embedded; and of the pixels


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

    def ready_for(self, views: Iterable[str]) -> bool:
        """Whether every photo is embedded or prepared for each of these views."""
        required = set(views)
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
        """The backbones that embed photos, with their preprocessing."""
        return {release.backbone: release.preprocessing for release in self.releases}

    @property
    def views(self) -> dict[str, Preprocessing]:
        """What photos must be prepared for: the backbones, and the pixels that tasks read."""
        pixels = dict(task.inputs.view for task in self._running if task.inputs.view is not None)
        return {**self.backbones, **pixels}

    @property
    def _running(self) -> list[Task]:
        """The tasks that an active release has a head for."""
        names = {name for release in self.releases for name in release.heads}
        return [task for task in self.tasks if task.name in names]

    def score(self, ads: Sequence[LoadedAd], on_fault: OnFault = lambda *_: None) -> Scored:
        """Score ads, in order; a photo that several ads share is embedded once.

        Every ad must be `ready_for` the views. An empty sequence gives an empty result.

        Args:
            on_fault: called for each ad that a task fails for.
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
        outcomes = self._outcomes(ads, photos, vectors, on_fault)
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
        self,
        ads: Sequence[LoadedAd],
        loaded: Mapping[bytes, LoadedPhoto],
        vectors: Mapping[tuple[str, bytes], Vector],
        on_fault: OnFault,
    ) -> list[AdOutcome]:
        photos = [
            tuple(_photo_outcome(ref, ad.photos.by_ref[ref]) for ref in ad.event.photos)
            for ad in ads
        ]
        shas = [_distinct(of_ad) for of_ad in photos]
        others = self._other_inputs(ads, shas, loaded)
        by_release = {
            release.name: predict_ads(
                release,
                self.tasks,
                [
                    AdInput(ad.event.key, [vectors[release.backbone, sha] for sha in of], *other)
                    for ad, of, other in zip(ads, shas, others, strict=True)
                ],
                on_fault,
            )
            for release in self.releases
        }
        return [
            AdOutcome(
                event=ad.event,
                receipt=ad.receipt,
                status=_status(ad.event, of_ad),
                photos=of_ad,
                predictions={name: of[index].predictions for name, of in by_release.items()},
                task_failures=tuple(
                    TaskFailure(name, task, failure)
                    for name, of in by_release.items()
                    for task, failure in of[index].failures.items()
                ),
            )
            for index, (ad, of_ad) in enumerate(zip(ads, photos, strict=True))
        ]

    def _other_inputs(
        self,
        ads: Sequence[LoadedAd],
        shas: Sequence[Sequence[bytes]],
        loaded: Mapping[bytes, LoadedPhoto],
    ) -> list[tuple[dict[int, list[Image]], AdFields | None]]:
        """Each ad's pixels by side, and its fields, as far as a task reads them."""
        running = self._running
        if all(task.inputs.only_embeddings for task in running):
            return [({}, None)] * len(ads)
        pixels = {t.inputs.pixels: t.inputs.view[0] for t in running if t.inputs.view is not None}
        has_fields = any(task.inputs.fields for task in running)
        return [
            (
                {
                    side: [loaded[sha].images[view] for sha in of]
                    for side, view in pixels.items()
                    if side is not None
                },
                ad_fields(ad.event, ad.receipt) if has_fields else None,
            )
            for ad, of in zip(ads, shas, strict=True)
        ]


def ad_fields(event: AdEvent, receipt: Receipt) -> AdFields:
    """What tasks read of an event."""
    return AdFields(
        *(event.key.catalog, event.key.ad_id, event.title, event.description, event.category),
        *(event.price, event.currency, event.occurred_at, receipt.kafka_at, event.attributes),
    )


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
