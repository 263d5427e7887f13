"""Scores ads: from loaded photos to the outcome of each ad.

Owns the embeddings and the status of an ad; `predictions.py` runs the tasks. Does not depend on
scheduling: the session and the assets call it. Every photo of an ad ends as a usable photo or as a
failure with its reason.
"""

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from ops.models.release import Preprocessing
from ops.outcomes import (
    AdOutcome,
    PhotoAnswer,
    PhotoEmbedding,
    PhotoOutcome,
    Receipt,
    StageTimes,
    TaskFailure,
)
from ops.scoring.photo_answers import OnFault, PhotoInput
from ops.scoring.predictions import AdInput, predict_ads
from ops.scoring.ready_release import ReadyRelease, Vector
from ops.scoring.switched_off import NONE_OFF, SwitchedOff
from ops.tasks import AdFields, Lane, Scope, Task
from ops.types import (
    AdEvent,
    AdStatus,
    EventKind,
    Failure,
    PhotoNote,
    PhotoRef,
    Prediction,
    Rendition,
)

AnsweredBy = tuple[str, str]
"""A release, and a task of scope photo."""

Image = NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class LoadedPhoto:
    """A usable photo: for each backbone embedded or prepared for embedding, and its pixels.

    `source`: width and height of the seller's file. `answers`: those that are stored already.
    `note`: what a reader should know about it.
    """

    sha256: bytes
    rendition: Rendition | None  # None: its row exists already
    vectors: Mapping[str, Vector]  # by backbone; stored embeddings
    images: Mapping[str, Image]  # by view: by backbone, still to be embedded; and of the pixels
    source: tuple[int, int] = (0, 0)
    answers: Mapping[AnsweredBy, Prediction] = field(default_factory=dict)
    note: PhotoNote | None = None


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
    photo_answers: tuple[PhotoAnswer, ...] = ()
    has_deferred: bool = False  # an active release has tasks that run after the ad's path


@dataclass(frozen=True)
class AdScorer:
    """Scores ads under the active releases, the live one first. Keeps no state between batches.

    It runs the tasks on the ad's path, without those that are off in the ad's catalog. What follows
    from releases and tasks alone is computed once, which is why the class has no slots.
    """

    releases: tuple[ReadyRelease, ...]
    tasks: tuple[Task, ...]
    off: SwitchedOff = NONE_OFF

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The releases, which the commit compares with the active ones."""
        return tuple(release.name for release in self.releases)

    @cached_property
    def backbones(self) -> dict[str, Preprocessing]:
        """The backbones that embed photos, with their preprocessing."""
        return {release.backbone: release.preprocessing for release in self.releases}

    @cached_property
    def views(self) -> dict[str, Preprocessing]:
        """What photos must be prepared for: the backbones, and what tasks read of photos."""
        of_tasks = {key: how for task in self._running for key, how in task.inputs.views.items()}
        return {**self.backbones, **of_tasks}

    @cached_property
    def answered_by(self) -> tuple[AnsweredBy, ...]:
        """What answers photos, so that the answers of known photos are to be read."""
        photo_tasks = [task for task in self._running if task.scope is Scope.PHOTO]
        return tuple(
            (release.name, task.name)
            for release in self.releases
            for task in photo_tasks
            if task.name in release.heads
        )

    @cached_property
    def has_deferred(self) -> bool:
        """Whether an active release has a task that runs after the ad's path."""
        late = {
            task.name
            for task in self.tasks
            if task.lane is Lane.AFTER and not self.off.everywhere(task.name)
        }
        return any(name in late for release in self.releases for name in release.heads)

    @cached_property
    def _running(self) -> list[Task]:
        """The tasks on the ad's path that an active release has a head for."""
        names = {name for release in self.releases for name in release.heads}
        return [task for task in self.tasks if task.name in names and task.lane is Lane.PATH]

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
        outcomes, answers = self._outcomes(ads, photos, vectors, on_fault)
        embed_ms = (embedded_at - started) * 1e3
        predict_ms = (time.perf_counter() - embedded_at) * 1e3
        return Scored(
            ads=tuple(
                replace(outcome, times=_times(ad, embed_ms, predict_ms))
                for ad, outcome in zip(ads, outcomes, strict=True)
            ),
            embeddings=embeddings,
            photo_answers=answers,
            has_deferred=self.has_deferred,
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
    ) -> tuple[list[AdOutcome], tuple[PhotoAnswer, ...]]:
        photos = [
            tuple(_photo_outcome(ref, ad.photos.by_ref[ref]) for ref in ad.event.photos)
            for ad in ads
        ]
        shas = [_distinct(of_ad) for of_ad in photos]
        others = self._other_inputs(ads, shas, loaded)
        inputs = {
            release.name: self._photo_inputs(release, loaded, vectors) for release in self.releases
        }
        positions = [_positions(of_ad, of) for of_ad, of in zip(photos, shas, strict=True)]
        running = self._running
        by_release = {
            release.name: predict_ads(
                release,
                running,
                [
                    AdInput(
                        ad.event.key,
                        [vectors[release.backbone, sha] for sha in of],
                        *other,
                        of_photos=[of_photo[sha] for sha in of] if of_photo else (),
                        positions=at,
                    )
                    for ad, of, other, at in zip(ads, shas, others, positions, strict=True)
                ],
                on_fault,
                self.off,
            )
            for release in self.releases
            for of_photo in (inputs[release.name],)
        }
        outcomes = [
            AdOutcome(
                event=ad.event,
                receipt=ad.receipt,
                status=_status(ad.event, of_ad),
                photos=of_ad,
                predictions={name: of[index].predictions for name, of in by_release.items()},
                task_failures=tuple(
                    failure
                    for name, of in by_release.items()
                    for failure in _task_failures(
                        name, of[index].failures, [inputs[name].get(sha) for sha in shas[index]]
                    )
                ),
            )
            for index, (ad, of_ad) in enumerate(zip(ads, photos, strict=True))
        ]
        return outcomes, tuple(
            PhotoAnswer(name, photo.sha256, answer)
            for name, of_photo in inputs.items()
            for photo in of_photo.values()
            for answer in photo.made.values()
            if isinstance(answer, Prediction)
        )

    def _photo_inputs(
        self,
        release: ReadyRelease,
        loaded: Mapping[bytes, LoadedPhoto],
        vectors: Mapping[tuple[str, bytes], Vector],
    ) -> dict[bytes, PhotoInput]:
        """What tasks of scope photo read of each photo; {} without such a task."""
        tasks = [task for name, task in self.answered_by if name == release.name]
        if not tasks:
            return {}
        return {
            sha256: PhotoInput(
                sha256,
                vectors[release.backbone, sha256],
                photo.images,
                photo.source,
                {
                    task: photo.answers[release.name, task]
                    for task in tasks
                    if (release.name, task) in photo.answers
                },
            )
            for sha256, photo in loaded.items()
        }

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


def _positions(photos: Sequence[PhotoOutcome], distinct: Sequence[bytes]) -> list[int]:
    """The first position of each distinct photo in the ad."""
    first: dict[bytes | None, int] = {}
    for position, photo in enumerate(photos):
        first.setdefault(photo.sha256, position)
    return [first[sha256] for sha256 in distinct]


def _task_failures(
    release: str, failures: Mapping[str, Failure], photos: Sequence[PhotoInput | None]
) -> list[TaskFailure]:
    """The tasks that failed for an ad, and those that failed for its photos."""
    of_photos = [
        TaskFailure(release, task, result, photo.sha256)
        for photo in photos
        if photo is not None
        for task, result in photo.made.items()
        if isinstance(result, Failure)
    ]
    return [TaskFailure(release, task, it) for task, it in failures.items()] + of_photos


def _status(event: AdEvent, photos: Sequence[PhotoOutcome]) -> AdStatus:
    if event.kind is EventKind.DELETED:
        return AdStatus.DELETED
    if not photos:
        return AdStatus.NO_PHOTOS
    return AdStatus.SCORED if _distinct(photos) else AdStatus.UNSCORED
