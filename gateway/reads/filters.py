"""The filters of the lists, as query parameters: their types, bounds and descriptions.

Owns how a day becomes two bounds of time. `ad_list.py` and `failure_list.py` apply the filters.
"""

from datetime import UTC, date, datetime, time, timedelta
from typing import Annotated, Literal

from fastapi import Depends, Query
from pydantic import StringConstraints

from gateway.reads.cursors import MAX_CHARS, PATTERN
from gateway.reads.pages import LAST, MAX_ROWS
from gateway.schemas.parameters import (
    QueryBool,
    QueryDay,
    QueryInt,
    QueryMoment,
    QueryNumber,
    text_in,
)
from ops.events.fields import MAX_LABEL_CHARS

Status = Literal["received", "scored", "unscored", "no_photos", "deleted"]
Kind = Literal["event", "photo", "stream", "task"]
ReasonCode = Annotated[str, StringConstraints(pattern=r"^[a-z0-9_]{1,64}$")]

Limit = Annotated[
    QueryInt, Query(ge=1, le=MAX_ROWS, description="Maximum number of rows per page.")
]
Cursor = Annotated[
    str | None,
    Query(max_length=MAX_CHARS, pattern=PATTERN, description="`next` of the previous page."),
]
Filed = Annotated[str, *text_in("filed", MAX_LABEL_CHARS)]
PredictedLabel = Annotated[str, *text_in("label", MAX_LABEL_CHARS)]
Details = Annotated[
    QueryBool,
    Query(
        description="Whether each ad has its attributes, and each prediction its details and "
        "release."
    ),
]
Score = Annotated[QueryNumber, Query(ge=0, le=1)]

Span = tuple[datetime | None, datetime | None]
"""The lower bound of a list's times, inclusive, and the upper one, exclusive; None: unbounded."""


async def span(
    day: Annotated[
        QueryDay | None, Query(description="Only rows of this UTC day, such as 2026-05-01.")
    ] = None,
    since: Annotated[
        QueryMoment | None, Query(description="Only rows of this time or later.")
    ] = None,
    until: Annotated[QueryMoment | None, Query(description="Only rows before this time.")] = None,
) -> Span:
    """The bounds of a list's times, as a dependency. For ads: when they were received."""
    if day is None:
        return since, until
    first = datetime.combine(day, time(), UTC)
    after = LAST if day == date.max else first + timedelta(days=1)
    return (
        first if since is None else max(first, since),
        after if until is None else min(after, until),
    )


async def ad_filters(
    status: Status | None = None,
    filed: Annotated[
        Filed | None,
        Query(description="Only ads whose seller chose this category, or one below it."),
    ] = None,
    label: Annotated[
        PredictedLabel | None,
        Query(
            description="Only ads whose predicted category is this one, or one below it: `shoes` "
            "is `shoes/boots` too."
        ),
    ] = None,
    agrees: Annotated[
        QueryBool | None,
        Query(
            description="Whether the seller's category is the predicted one. Ads that lack either "
            "match neither value."
        ),
    ] = None,
    max_score: Annotated[
        Score | None,
        Query(description="Only ads whose category is predicted with at most this score."),
    ] = None,
    failed: Annotated[
        QueryBool | None, Query(description="Whether a photo of the ad could not be used.")
    ] = None,
    labelled: Annotated[
        QueryBool | None, Query(description="Whether a person has given the ad's category.")
    ] = None,
) -> dict[str, object]:
    """The filters of the list of ads, as a dependency."""
    return {
        **{"status": status, "filed": filed, "label": label, "agrees": agrees},
        **{"max_score": max_score, "failed": failed, "labelled": labelled},
    }


SpanDep = Annotated[Span, Depends(span)]
AdFilters = Annotated[dict[str, object], Depends(ad_filters)]
