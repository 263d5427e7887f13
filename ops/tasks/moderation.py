"""The task `moderation`: which photos may show nudity, for the marketplace to judge.

It needs the extra `moderation`; without it, there is no such task. It hides nothing itself: an
answer says which photo, how sure the network is, and what the thresholds make of it.
"""

from collections.abc import Sequence
from enum import StrEnum

from pydantic import BaseModel, ConfigDict, Field

from ops.models.nudity.network import PACKAGES, nudity
from ops.models.task_head import TaskHead
from ops.tasks.contract.answer import Answer
from ops.tasks.contract.inputs import Inputs, Photo, PhotoPlace
from ops.tasks.contract.task import Lane, Scope, Task

REQUIRES = PACKAGES
EXTRA = "moderation"

DIGITS = 4  # of the probabilities in details

NUDITY = Field(
    ge=0,
    le=1,
    description="The network's probability that the photo shows nudity.",
    json_schema_extra={"unit": "share"},
)


class Verdict(StrEnum):
    """What the thresholds make of a photo, from the mildest to the strictest."""

    ALLOW = "allow"
    REVIEW = "review"
    BLOCK = "block"


STRICTNESS = tuple(Verdict)


class PhotoModeration(Answer):
    """What the network says about a photo; `score` is its probability for the label's side."""

    nudity: float = NUDITY


class ModeratedPhoto(BaseModel):
    """One of an ad's photos."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    sha256: str = Field(description="The photo, by its SHA-256 in hexadecimal.")
    position: int = Field(description="Its first position among the ad's photos, from 0.")
    verdict: Verdict = Field(description="What the thresholds make of it.")
    nudity: float = NUDITY


class Moderation(Answer):
    """The strictest verdict on an ad's photos, and the verdict on each."""

    nudity: float = NUDITY
    photos: list[ModeratedPhoto] = Field(description="Every usable photo of the ad, in its order.")


def predict_photos(photos: Sequence[Photo], head: TaskHead) -> list[PhotoModeration]:
    """Judge each photo by the thresholds of the release: `review` from the first on, then `block`.

    Raises:
        ValueError: the thresholds are not in order, or not in [0, 1].
        ConfigurationError: the extra is not installed here.
    """
    review, block = float(head.config["review"]), float(head.config["block"])
    if not 0 <= review <= block <= 1:
        raise ValueError(f"review={review}, block={block}: expected 0 <= review <= block <= 1")
    return [_judged(photo, review, block) for photo in photos]


def combine(answers: Sequence[Answer | None], places: Sequence[PhotoPlace]) -> Moderation | None:
    """The strictest verdict of an ad's photos. None where a photo has no answer, and none of the
    others is to be blocked: nothing is allowed unseen."""
    seen = [
        (answer, place)
        for answer, place in zip(answers, places, strict=True)
        if isinstance(answer, PhotoModeration)
    ]
    if not seen:
        return None
    strictest = max(seen, key=lambda item: (_strictness(item[0]), item[0].nudity))[0]
    if len(seen) < len(answers) and strictest.label != Verdict.BLOCK:
        return None
    return Moderation(
        label=strictest.label,
        score=strictest.score,
        nudity=max(answer.nudity for answer, _ in seen),
        photos=[
            ModeratedPhoto(
                sha256=place.sha256,
                position=place.position,
                verdict=Verdict(answer.label),
                nudity=answer.nudity,
            )
            for answer, place in seen
        ],
    )


def _judged(photo: Photo, review: float, block: float) -> PhotoModeration:
    assert photo.rendition is not None
    found = round(nudity(photo.rendition), DIGITS)
    verdict = Verdict.ALLOW
    if found >= block:
        verdict = Verdict.BLOCK
    elif found >= review:
        verdict = Verdict.REVIEW
    score = 1 - found if verdict is Verdict.ALLOW else found
    return PhotoModeration(label=verdict, score=round(score, DIGITS), nudity=found)


def _strictness(answer: PhotoModeration) -> int:
    return STRICTNESS.index(Verdict(answer.label))


TASK = Task(
    name="moderation",
    asset_name="photo_moderation",
    description="Which photos of an ad may show nudity.",
    scope=Scope.PHOTO,
    lane=Lane.AFTER,
    inputs=Inputs(rendition=True),
    photo_answer=PhotoModeration,
    answer=Moderation,
    predict_photos=predict_photos,
    combine=combine,
    config={"review": 0.4, "block": 0.8},
    number="nudity",
)
