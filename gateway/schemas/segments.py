"""Response models of masks, version 1."""

from datetime import datetime

from pydantic import Field

from gateway.schemas.ads import ResponseModel


class ThingOut(ResponseModel):
    """A connected part of a mask."""

    label: str = Field(description="What it is, where the release's network knows classes.")
    score: float = Field(description="The mean probability of its pixels.")
    box: list[int] = Field(description="Its left, top, width and height in pixels of the mask.")
    area: int = Field(description="Its pixels.")


class SegmentsOut(ResponseModel):
    """The goods in a photo, under the live release."""

    sha256: str
    release: str
    label: str = Field(description="That of the largest thing, or `nothing`.")
    score: float = Field(
        description="The mean probability of the mask's pixels; of the whole photo where the mask "
        "is empty."
    )
    area: float = Field(description="The share of the photo that is goods.")
    size: list[int] = Field(description="Height and width of the mask: those of the stored photo.")
    counts: str = Field(description="The mask as COCO's compressed run-length encoding.")
    things: list[ThingOut] = Field(description="Separate things, the largest first; at most 20.")


class MaskOut(ResponseModel):
    """A mask that a person has drawn."""

    sha256: str
    size: list[int] = Field(description="Height and width of the mask: those of the stored photo.")
    counts: str = Field(description="The mask as COCO's compressed run-length encoding.")
    area: float = Field(description="The share of the photo that is goods.")
    given_by: str
    given_at: datetime
