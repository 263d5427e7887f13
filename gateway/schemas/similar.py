"""Request and response models of searches for similar ads, version 1."""

from datetime import datetime
from decimal import Decimal
from typing import Annotated, Any

from pydantic import ConfigDict, Field

from gateway.schemas.ads import Links, ResponseModel
from gateway.schemas.parameters import (
    AdId,
    Catalog,
    CategoryIn,
    CurrencyIn,
    MomentIn,
    PriceIn,
    SellerIn,
    Sha256In,
)
from gateway.schemas.requests import RequestModel
from ops.events.fields import MAX_URL_CHARS

MAX_DIMENSION = 4_000  # of pgvector's index
MAX_CURSOR_CHARS = 4_096
CURSOR_PATTERN = r"^[A-Za-z0-9_-]+$"


class AdKeyIn(RequestModel):
    """The key of an ad."""

    catalog: Catalog
    ad_id: AdId


class SearchIn(RequestModel):
    """A search by exactly one of `ad`, `sha256`, `url` and `vector`, among the ads that the rest
    allows.

    A filter that is omitted or null allows every ad.
    """

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"ad": {"catalog": "kg", "ad_id": "42"}, "limit": 5}]}
    )

    ad: AdKeyIn | None = Field(default=None, description="Find ads like this one.")
    sha256: Sha256In = Field(
        default=None,
        description="Find ads like this photo: the SHA-256 of a photo of an ad that you may read, "
        "or of one that you have uploaded.",
    )
    url: Annotated[str, Field(min_length=1, max_length=MAX_URL_CHARS)] | None = Field(
        default=None,
        description="Find ads like the photo at this address, which is fetched as photos of ads "
        "are.",
    )
    vector: (
        Annotated[
            list[Annotated[float, Field(allow_inf_nan=False, ge=-1e4, le=1e4)]],
            Field(min_length=1, max_length=MAX_DIMENSION),
        ]
        | None
    ) = Field(
        default=None,
        description="Find ads near this vector of the live release's backbone; of any length but "
        "zero.",
    )
    catalog: Catalog | None = None
    category: CategoryIn = Field(
        default=None,
        description="Only ads whose seller chose this category, or one below it.",
    )
    price_from: PriceIn = Field(default=None, description="Inclusive; needs `currency`.")
    price_to: PriceIn = Field(default=None, description="Inclusive; needs `currency`.")
    currency: CurrencyIn = None
    seller: SellerIn = Field(default=None, description="Only ads of this seller.")
    since: MomentIn = Field(default=None, description="Only ads received at this time or later.")
    until: MomentIn = Field(default=None, description="Only ads received before this time.")
    include_own: bool = Field(
        default=False, description="With `ad`: whether the ad itself may be in the answer."
    )
    other_sellers: bool = Field(
        default=False, description="With `ad`: leave out the ads of its seller."
    )
    min_similarity: float = Field(
        default=-1.0, ge=-1, le=1, description="The least similarity of an ad in the answer."
    )
    limit: int = Field(default=20, ge=1, le=200, strict=True)
    cursor: Annotated[str, Field(max_length=MAX_CURSOR_CHARS, pattern=CURSOR_PATTERN)] | None = (
        Field(default=None, description="`next` of the previous page, with the same search.")
    )


class FoundAd(ResponseModel):
    """What is shown of an ad that was found."""

    catalog: str
    ad_id: str
    revision: int
    title: str
    category: str | None = Field(description="The category the seller chose.")
    price: Decimal | None
    currency: str | None
    seller: str | None
    received_at: datetime
    sha256: str | None = Field(
        description="SHA-256 of the photo to show: the best one where a task names it, else the "
        "ad's first usable photo."
    )
    predictions: dict[str, dict[str, Any]] = Field(
        description="Label and score of the live release, by task."
    )
    links: Links


class SimilarOut(FoundAd):
    """A similar ad."""

    similarity: float = Field(
        description="The cosine between the ad's vector and the one that was searched for, in "
        "[-1, 1]; 1: the same photos."
    )


class SimilarPage(ResponseModel):
    """The most similar ads, the most similar first."""

    ads: list[SimilarOut]
    exact: bool = Field(
        description="Whether every ad that the filters allow was compared. Otherwise the index "
        "was searched, which may miss a few."
    )
    backbone: str = Field(description="The backbone whose vectors were compared: the live one.")
    sha256: str | None = Field(
        description="SHA-256 of the photo that was searched by; the next pages can name it. Null "
        "where it was an ad or a vector."
    )
    next: str | None = Field(
        description="The cursor of the next page; null on the last page, and 1,000 ads deep."
    )
