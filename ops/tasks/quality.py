"""The task `quality`: what is wrong with each photo of an ad, and which one to show first."""

import json
from collections.abc import Sequence
from importlib.resources import files
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from ops.models.task_head import TaskHead
from ops.photos.quality.scores import DEFECTS, FLAG, defect_scores, overall
from ops.tasks.contract.answer import Answer
from ops.tasks.contract.inputs import Inputs, Photo, PhotoPlace
from ops.tasks.contract.task import Lane, Scope, Task

GOOD = "good"

QUALITY = Field(
    ge=0,
    le=1,
    description="The quality of the photo as a whole, from 0 to 1.",
    json_schema_extra={"unit": "share"},
)
FLAGS = Field(description="The defects with a score of 0.5 or more, the largest first.")


def _score(description: str) -> Any:
    return Field(ge=0, le=1, description=description, json_schema_extra={"unit": "share"})


class PhotoQuality(Answer):
    """A photo's defects. The label is the largest one that is a flag, or `good`."""

    quality: float = QUALITY
    dark: float = _score("How far the photo is underexposed.")
    bright: float = _score("How far the photo is overexposed.")
    blurred: float = _score("How blurred the sharpest parts of the photo are.")
    tiny: float = _score("How small the seller's file is.")
    graphics: float = _score("How much of it is a screenshot or a card with text.")
    border: float = _score("How much of it is a border of one colour.")
    collage: float = _score("How clearly it is put together of several photos.")


class RatedPhoto(BaseModel):
    """One of an ad's photos."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    sha256: str = Field(description="The photo, by its SHA-256 in hexadecimal.")
    position: int = Field(description="Its first position among the ad's photos, from 0.")
    quality: float = QUALITY
    flags: list[str] = FLAGS


class Quality(Answer):
    """The photo to show first, and what is wrong with each. The label and the score are those of
    the photo to show first."""

    quality: float = QUALITY
    best: RatedPhoto = Field(description="The photo to show first: of those equal, the first one.")
    flags: list[str] = Field(description="The defects of any of the photos.")
    photos: list[RatedPhoto] = Field(description="Every photo that was rated, in the ad's order.")


def predict_photos(photos: Sequence[Photo], head: TaskHead) -> list[PhotoQuality]:
    """Rate each photo by its pixels and the size of the seller's file."""
    return [_rated(photo, head) for photo in photos]


def combine(answers: Sequence[Answer | None], places: Sequence[PhotoPlace]) -> Quality | None:
    """The best of the photos that could be rated; None where there is none."""
    rated = [
        (answer, place)
        for answer, place in zip(answers, places, strict=True)
        if isinstance(answer, PhotoQuality)
    ]
    if not rated:
        return None
    photos = [
        RatedPhoto(
            sha256=place.sha256,
            position=place.position,
            quality=answer.quality,
            flags=_flags(_scores(answer)),
        )
        for answer, place in rated
    ]
    index = max(range(len(photos)), key=lambda i: (photos[i].quality, -photos[i].position))
    first = rated[index][0]
    found = {flag for photo in photos for flag in photo.flags}
    return Quality(
        label=first.label,
        score=first.score,
        quality=first.quality,
        best=photos[index],
        flags=[name for name in DEFECTS if name in found],
        photos=photos,
    )


def _rated(photo: Photo, head: TaskHead) -> PhotoQuality:
    assert photo.rendition is not None
    scores = defect_scores(
        photo.rendition,
        source_width=photo.source_width,
        source_height=photo.source_height,
        config=head.config,
    )
    flags = _flags(scores)
    worst = max(scores.values())
    return PhotoQuality(
        label=flags[0] if flags else GOOD,
        score=worst if flags else round(1 - worst, 4),
        quality=overall(scores, head.config["severity"]),
        **scores,
    )


def _scores(answer: PhotoQuality) -> dict[str, float]:
    return {name: getattr(answer, name) for name in DEFECTS}


def _flags(scores: dict[str, float]) -> list[str]:
    """The defects with a score of FLAG or more, the largest first."""
    found = [name for name in DEFECTS if scores[name] >= FLAG]
    return sorted(found, key=lambda name: -scores[name])


def _config() -> dict[str, Any]:
    """The constants, which become part of each release that is made with this version."""
    text = files("ops.photos.quality").joinpath("constants.json").read_text("utf-8")
    found: dict[str, Any] = json.loads(text)
    return found


TASK = Task(
    name="quality",
    asset_name="photo_quality",
    description="What is wrong with each photo of an ad, and which one to show first.",
    scope=Scope.PHOTO,
    lane=Lane.AFTER,
    inputs=Inputs(rendition=True),
    photo_answer=PhotoQuality,
    answer=Quality,
    predict_photos=predict_photos,
    combine=combine,
    config=_config(),
    number="quality",
)
