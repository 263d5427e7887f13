"""Request and response models of duplicates, version 1."""

from typing import Annotated, Literal

from pydantic import ConfigDict, Field

from gateway.schemas.ads import ResponseModel
from gateway.schemas.parameters import text_in
from gateway.schemas.requests import RequestModel
from gateway.schemas.similar import AdKeyIn, FoundAd
from ops.events.feedback import MAX_GIVEN_BY_CHARS

Corners = list[Annotated[list[float], Field(min_length=2, max_length=2)]]


class AdKeyOut(ResponseModel):
    """The key of an ad."""

    catalog: str
    ad_id: str


class ReasonOut(ResponseModel):
    """One comparison of two ads."""

    outcome: str = Field(description="What it found, such as equal_title or other_seller.")
    weight: float = Field(
        description="The natural logarithm of how much more often it occurs among ads that are the "
        "same; below 0: it speaks against it."
    )


class MatchedPhotosOut(ResponseModel):
    """A photo of the ad, and the photo of the other ad that is the same or shows the same thing."""

    position: int
    sha256: str
    other_position: int
    other_sha256: str
    verdict: Literal["exact", "altered", "same_thing"]
    probability: float = Field(description="That the verdict is right.")
    changes: list[str] = Field(
        description="How one of the two was altered: mirrored, rotated, cropped, bordered, placed "
        "(in a collage or on a screen), covered, light, recoloured, resized, encoded."
    )
    region: Corners | None = Field(
        description="Four corners [x, y] of what both photos show, as shares of the width and "
        "height; null: not known."
    )
    other_region: Corners | None = Field(
        description="The same in the other photo, corner by corner."
    )


class DuplicateOut(FoundAd):
    """An ad that is the same as the one asked for."""

    verdict: Literal["exact", "altered", "same_thing"] | None = Field(
        description="The best one of the photos; null: no photos of both are the same, and other "
        "evidence or a person's word counts."
    )
    probability: float = Field(description="That both are one ad.")
    judged_by_person: bool = Field(
        description="Whether a person said so; then the probability does not matter."
    )
    reasons: list[ReasonOut]
    photos: list[MatchedPhotosOut]


class GroupOut(ResponseModel):
    """The group of ads that are the same."""

    id: AdKeyOut = Field(description="Its ad with the smallest id: it names the group.")
    ads: int = Field(description="How many, with this one.")


class DuplicatesPage(ResponseModel):
    """The duplicates of an ad, the most probable first."""

    ad: AdKeyOut
    state: Literal["decided", "waiting", "off"] = Field(
        description="`decided`: they were looked for at the ad's present revision. `waiting`: that "
        "is still to come. `off`: nobody looks for duplicates (LALAFO_DUPLICATES)."
    )
    group: GroupOut | None = Field(description="null: the ad is in no group.")
    duplicates: list[DuplicateOut]
    next: str | None = Field(description="The cursor of the next page; null on the last page.")


class DuplicateFeedbackIn(RequestModel):
    """Whether two ads of one catalog are the same, by a person."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "other": {"catalog": "kg", "ad_id": "43"},
                    "same": True,
                    "given_by": "moderator-7",
                }
            ]
        }
    )

    other: AdKeyIn
    same: bool = Field(strict=True)
    given_by: Annotated[str, *text_in("given_by", MAX_GIVEN_BY_CHARS)] | None = Field(
        default=None,
        description="The person or system that says so, by your own name for it; by default the "
        "API key's name.",
    )


class DuplicateFeedbackOut(ResponseModel):
    """What is stored."""

    ad: AdKeyOut
    other: AdKeyOut
    same: bool
    given_by: str
