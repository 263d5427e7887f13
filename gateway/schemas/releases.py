"""Response models of releases, version 1."""

from datetime import datetime

from pydantic import Field

from gateway.schemas.ads import ResponseModel, Source


class LiveReleaseOut(ResponseModel):
    """The live release: the one whose predictions readers get."""

    release: Source
    backbone: str
    labels: dict[str, list[str]] = Field(
        description="The labels that it can predict, by task, in alphabetical order."
    )
    weights: str | None = Field(description="What its backbone was trained on; null: not recorded.")
    created_at: datetime = Field(description="When it was registered.")
    similar_ads: bool = Field(
        default=False,
        description="Whether the index of its backbone is ready, so that similar ads are found.",
    )
