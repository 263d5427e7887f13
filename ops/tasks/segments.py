"""The task `segments`: which pixels of each photo are goods, as a mask, and the things in it."""

from collections.abc import Sequence

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from ops.masks.arrays import encode_mask
from ops.masks.rle import EncodedMask
from ops.models.segments.goods import Goods, find_goods
from ops.models.segments.network import LoadedNetwork, Pixels, loaded
from ops.models.segments.shipped import shipped_head
from ops.models.task_head import TaskHead
from ops.tasks.contract.answer import Answer
from ops.tasks.contract.inputs import Inputs, Photo, PhotoPlace
from ops.tasks.contract.learning import Margin
from ops.tasks.contract.task import Lane, Scope, Task

NOTHING = "nothing"
MOST_THINGS = 20
MAX_COUNTS_CHARS = 32 * 1024
DIGITS = 4  # of shares and scores in details

AREA = Field(
    ge=0,
    le=1,
    description="The share of the photo that is goods.",
    json_schema_extra={"unit": "share"},
)


class FoundThing(BaseModel):
    """A connected part of the mask."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    label: str = Field(description="What it is, where the release's network knows classes.")
    score: float = Field(ge=0, le=1, description="The mean probability of its pixels.")
    box: list[int] = Field(
        min_length=4,
        max_length=4,
        description="Its left, top, width and height in pixels of the mask.",
    )
    area: int = Field(ge=1, description="Its pixels.", json_schema_extra={"unit": "px"})


class PhotoSegments(Answer):
    """The goods in a photo. The label is that of the largest thing, or `nothing`; the score is the
    mean probability of the mask's pixels, of the whole photo where the mask is empty."""

    area: float = AREA
    size: list[int] = Field(
        min_length=2,
        max_length=2,
        description="Height and width of the mask in pixels; those of the stored photo.",
    )
    counts: str = Field(description="The mask as COCO's compressed run-length encoding.")
    things: list[FoundThing] = Field(description="Separate things, the largest first; at most 20.")


class SegmentedPhoto(BaseModel):
    """One of an ad's photos."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    sha256: str = Field(description="The photo, by its SHA-256 in hexadecimal.")
    position: int = Field(description="Its first position among the ad's photos, from 0.")
    score: float = Field(ge=0, le=1, description="The mean probability of the mask's pixels.")
    area: float = AREA
    things: int = Field(description="How many separate things there are.")


class Segments(Answer):
    """The photo whose goods are cut out best, and what is on each. The label and the score are
    those of that photo."""

    area: float = AREA
    cover: SegmentedPhoto = Field(
        description="The photo with the most certain mask: of those equal, the first one."
    )
    photos: list[SegmentedPhoto] = Field(description="Every photo with a mask, in the ad's order.")


def predict_photos(photos: Sequence[Photo], head: TaskHead) -> list[PhotoSegments]:
    """Find the goods in each photo.

    Raises:
        ValueError: the network answered NaN, infinity, or no probabilities.
        ConfigurationError: the release's head has no network that can be used.
    """
    network = loaded(head)
    return [_segmented(photo, network) for photo in photos]


def combine(answers: Sequence[Answer | None], places: Sequence[PhotoPlace]) -> Segments | None:
    """The photo with the most certain mask; None where no photo could be answered."""
    found = [
        (answer, place)
        for answer, place in zip(answers, places, strict=True)
        if isinstance(answer, PhotoSegments)
    ]
    if not found:
        return None
    photos = [
        SegmentedPhoto(
            sha256=place.sha256,
            position=place.position,
            score=answer.score,
            area=answer.area,
            things=len(answer.things),
        )
        for answer, place in found
    ]
    index = max(
        range(len(photos)),
        key=lambda i: (photos[i].things > 0, photos[i].score, -photos[i].position),
    )
    first = found[index][0]
    return Segments(
        label=first.label, score=first.score, area=first.area, cover=photos[index], photos=photos
    )


def mask_of(answer: Answer) -> EncodedMask:
    """The mask in the answer for a photo."""
    assert isinstance(answer, PhotoSegments)
    height, width = answer.size
    return EncodedMask(height, width, answer.counts)


def _segmented(photo: Photo, network: LoadedNetwork) -> PhotoSegments:
    assert photo.rendition is not None
    goods, mask = _storable(photo.rendition, network)
    things = [
        FoundThing(
            label=it.label,
            score=round(it.score, DIGITS),
            box=list(it.thing.box),
            area=it.thing.area,
        )
        for it in goods.things[:MOST_THINGS]
    ]
    return PhotoSegments(
        label=things[0].label if things else NOTHING,
        score=round(goods.score, DIGITS),
        area=round(mask.area / mask.pixels, DIGITS),
        size=[mask.height, mask.width],
        counts=mask.counts,
        things=things,
    )


def _storable(photo: Pixels, network: LoadedNetwork) -> tuple[Goods, EncodedMask]:
    """The goods and their mask; of a smaller photo where the mask's text would be too long."""
    goods = find_goods(photo, network)
    mask = encode_mask(goods.mask)
    if len(mask.counts) <= MAX_COUNTS_CHARS:
        return goods, mask
    return _storable(np.ascontiguousarray(photo[::2, ::2]), network)


TASK = Task(
    name="segments",
    asset_name="photo_segments",
    description="Which pixels of each photo are goods, and which photo to cut them out of.",
    scope=Scope.PHOTO,
    lane=Lane.AFTER,
    inputs=Inputs(rendition=True),
    photo_answer=PhotoSegments,
    answer=Segments,
    predict_photos=predict_photos,
    combine=combine,
    made_head=shipped_head,
    number="area",
    mask_of=mask_of,
    margins={"f": Margin(worse_by=0.02, higher_is_better=True)},
)
