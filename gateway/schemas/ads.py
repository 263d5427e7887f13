"""The shapes of requests and answers, version 1: what the OpenAPI document says.

Decides names, limits and examples; the limits of an ad are those of the topic's events
(`ops/events/parse.py`), which judges what comes through here once more. A task's answer is the
same shape whatever the task is: a new one needs no edit here.
"""

from datetime import date, datetime
from decimal import Decimal
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, JsonValue, StringConstraints

from ops.events.parse import MAX_KEY_CHARS, MAX_LABEL_CHARS, MAX_REVISION, MAX_URL_CHARS

NO_NUL = r"^[^\x00]*$"
CATALOG = r"^[^/\x00]+$"

Catalog = Annotated[str, StringConstraints(min_length=1, max_length=MAX_KEY_CHARS, pattern=CATALOG)]
AdId = Annotated[
    str, StringConstraints(min_length=1, max_length=MAX_KEY_CHARS, pattern=r"^[^\x00]+$")
]
Revision = Annotated[int, Field(ge=0, le=MAX_REVISION, strict=True)]
Label = Annotated[
    str, StringConstraints(min_length=1, max_length=MAX_LABEL_CHARS, pattern=r"^[^\x00]+$")
]
Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]

EXAMPLE_AD: dict[str, JsonValue] = {
    "catalog": "kg",
    "ad_id": "42",
    "revision": 7,
    "title": "A blue chair",
    "category": "chair",
    "price": "1200.00",
    "currency": "KGS",
    "photos": [{"url": "https://photos.example/1.jpg"}],
}


class Request(BaseModel):
    """What comes in: a misspelt field is refused, not ignored."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Answer(BaseModel):
    """What goes out."""

    model_config = ConfigDict(frozen=True)


def _not_boolean(value: Any) -> Any:
    if isinstance(value, bool):
        raise ValueError("a number is expected, or its text")
    return value


class PhotoIn(Request):
    """Where a photo is: an address that sessions fetch, or one whose bytes were sent before."""

    url: Annotated[str, StringConstraints(max_length=MAX_URL_CHARS, pattern=NO_NUL)] | None = None
    sha256: Sha256 | None = Field(default=None, description="Of the photo's own bytes, hex.")


class AdIn(Request):
    """An ad, all of it: what is left out is empty from this revision on."""

    model_config = ConfigDict(json_schema_extra={"examples": [EXAMPLE_AD]})

    catalog: Catalog
    ad_id: AdId
    revision: Revision | None = Field(
        default=None,
        description="The seller system's; the higher wins, whatever comes first. Without one, the "
        "gateway gives the next: then give none for this ad ever.",
    )
    occurred_at: datetime | None = Field(
        default=None, description="With a time zone; now, if not given."
    )
    title: Annotated[str, StringConstraints(pattern=NO_NUL)] = ""
    description: Annotated[str, StringConstraints(pattern=NO_NUL)] = ""
    category: Label | None = Field(default=None, description="As the seller filed it: a label.")
    price: Annotated[Decimal, BeforeValidator(_not_boolean), Field(ge=0, lt=10**15)] | None = None
    currency: Annotated[str, StringConstraints(max_length=8, pattern=NO_NUL)] | None = None
    photos: list[PhotoIn] = Field(default_factory=list)


class FeedbackIn(Request):
    """What is right, by whom."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"task": "category", "label": "armchair", "given_by": "moderator-7"}]
        }
    )

    task: Annotated[str, StringConstraints(min_length=1, max_length=100, pattern=NO_NUL)] = (
        "category"
    )
    label: Label
    given_by: Annotated[
        str, StringConstraints(min_length=1, max_length=MAX_KEY_CHARS, pattern=r"^[^\x00]+$")
    ] = Field(description="A person or a system, by the caller's own name for it.")


class Links(Answer):
    """Paths below the gateway's own address."""

    self: str
    feedback: str


class Accepted(Answer):
    """An ad was accepted: it is in PostgreSQL, and what the topic is owed with it."""

    catalog: str
    ad_id: str
    revision: int
    state: Literal["accepted", "superseded"] = Field(
        description="superseded: a higher revision is known already, so this one changes nothing."
    )
    known_revision: int = Field(description="The highest that is known, this one included.")
    published: bool = Field(
        description="Kafka has acknowledged the event. If not yet, the outbox keeps it until then."
    )
    links: Links


class Source(Answer):
    """What made a value: with a link into Dagster's UI where LALAFO_DAGSTER_URL is set."""

    id: str
    url: str | None = None


class PhotoOut(Answer):
    position: int
    status: Literal["ok", "failed", "waiting"]
    url: str | None = Field(description="As the ad gave it.")
    sha256: str | None
    width: int | None = Field(default=None, description="Of what is stored, pixels.")
    height: int | None = None
    reason: str | None = Field(default=None, description="Why there is no photo: a stable code.")
    detail: str | None = None
    image: str | None = Field(default=None, description="Its path here.")


class PredictionOut(Answer):
    """One task's answer. `details` are the task's own; a page draws those whose key it knows."""

    label: str
    score: float = Field(description="In [0, 1].")
    details: dict[str, Any]
    revision: int = Field(description="Of the ad, that this was said of.")
    release: Source
    run: Source
    scored_at: datetime


class Timings(Answer):
    """Where the milliseconds went; `total_ms`: from Kafka's timestamp to the committed row."""

    kafka_at: datetime
    polled_at: datetime | None = Field(default=None, description="A session read it from Kafka.")
    committed_at: datetime | None
    total_ms: float | None
    fetch_ms: float
    photos_ms: float
    queued_ms: float
    embed_ms: float
    predict_ms: float


class LabelOut(Answer):
    label: str
    given_by: str
    given_at: datetime


class WaitingOut(Answer):
    """What was accepted of an ad and is not committed yet."""

    revision: int
    kind: Literal["upserted", "deleted"]
    accepted_at: datetime


class AdOut(Answer):
    """Everything known of an ad."""

    catalog: str
    ad_id: str
    revision: int
    status: Literal["received", "scored", "unscored", "no_photos", "deleted"]
    day: date | None = Field(description="UTC day of its first event, for ever.")
    title: str
    description: str
    category: str | None = Field(description="As the seller filed it.")
    price: Decimal | None
    currency: str | None
    received_at: datetime
    photos: list[PhotoOut]
    predictions: dict[str, PredictionOut] = Field(description="By task; of the live release.")
    labels: dict[str, LabelOut] = Field(description="By task; what people said is right.")
    timings: Timings | None
    run: Source | None = Field(description="The session run that committed it.")
    waiting: WaitingOut | None
    links: Links


class AdSummary(Answer):
    """An ad in a list."""

    catalog: str
    ad_id: str
    revision: int
    status: str
    title: str
    category: str | None
    received_at: datetime
    sha256: str | None = Field(description="Of its first usable photo.")
    predictions: dict[str, dict[str, Any]] = Field(description="By task: label and score.")
    links: Links


class AdPage(Answer):
    ads: list[AdSummary]
    next: str | None = Field(description="The cursor of the next page; null on the last.")


class FailureOut(Answer):
    """An event or a photo that could not be used."""

    kind: Literal["event", "photo", "stream"]
    subject: str
    reason: str
    detail: str
    catalog: str | None
    ad_id: str | None
    url: str | None
    failed_at: datetime
    run: Source


class FailurePage(Answer):
    failures: list[FailureOut]
    next: str | None


class FeedbackOut(Answer):
    catalog: str
    ad_id: str
    task: str
    label: str
    known: bool = Field(description="Whether the live release can answer this label at all.")
    published: bool


class UploadOut(Answer):
    sha256: str
    bytes: int


class ProblemOut(BaseModel):
    """Problem details, RFC 9457."""

    model_config = ConfigDict(extra="allow")

    type: str
    title: str
    status: int
    detail: str
    instance: str
