"""The filters of lists and searches, as keyword arguments of the clients."""

from datetime import date, datetime
from decimal import Decimal
from typing import TypedDict


class SimilarFilters(TypedDict, total=False):
    """Which similar ads may be found; None, or omitted: any."""

    category: str | None  # the category that the seller chose, or one above it
    price_from: Decimal | None  # inclusive, as price_to; both need a currency
    price_to: Decimal | None
    currency: str | None
    seller: str | None
    since: datetime | None  # received at this time or later; with a time zone
    until: datetime | None  # received before this time; with a time zone
    other_sellers: bool | None  # leave out the ads of the ad's seller
    min_similarity: float | None  # the least cosine


class AdFilters(TypedDict, total=False):
    """Which ads to list; None, or omitted: any.

    `label`, `agrees` and `max_score` are about the live release's prediction of the category.
    """

    status: str | None
    filed: str | None  # the category that the seller chose, or one above it
    label: str | None  # the category that is predicted, or one above it
    agrees: bool | None  # whether the two are the same
    max_score: float | None  # of the prediction
    failed: bool | None  # whether a photo could not be used
    labelled: bool | None  # whether a person has given the category
    day: date | None  # UTC, on which the ad was received
    since: datetime | None  # received at this time or later; with a time zone
    until: datetime | None  # received before this time; with a time zone
