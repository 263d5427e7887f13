"""Response models of version 1, as the OpenAPI document describes them.

Owns names. A prediction has the same shape for every task, so a new task needs no change here.
`requests.py` has the request models, which are exported here too.
"""

from datetime import date, datetime
from decimal import Decimal
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from gateway.schemas.requests import EXAMPLE_AD, AdIn, FeedbackIn, PhotoIn

__all__ = ["EXAMPLE_AD", "AdIn", "FeedbackIn", "PhotoIn"]  # the rest is defined here

Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]


class ResponseModel(BaseModel):
    """Base of responses."""

    model_config = ConfigDict(frozen=True)


class Links(ResponseModel):
    """Paths below the gateway's address."""

    self: str
    feedback: str


class Accepted(ResponseModel):
    """An accepted ad: PostgreSQL has stored the ad and its event for Kafka."""

    catalog: str
    ad_id: str
    revision: int
    state: Literal["accepted", "superseded"] = Field(
        description="`superseded`: a higher revision is already known, so this one has no effect."
    )
    known_revision: int = Field(
        description="The highest known revision of the ad, including this one."
    )
    published: bool = Field(
        description="Whether Kafka has acknowledged the event. If not, the event is stored in "
        "PostgreSQL and published later."
    )
    links: Links


class Source(ResponseModel):
    """The Dagster run or the release that produced a value.

    `url` links to Dagster's UI if LALAFO_DAGSTER_URL is set.
    """

    id: str
    url: str | None = None


class ReleaseSource(Source):
    """The release that made a prediction."""

    drawn_only: bool = Field(
        default=False,
        description="Whether the release has learned its categories from drawn photos only: its "
        "answers for real photos are often wrong.",
    )


class PhotoOut(ResponseModel):
    position: int
    status: Literal["ok", "failed", "waiting"]
    url: str | None = Field(description="The photo's URL in the ad.")
    sha256: str | None
    width: int | None = Field(default=None, description="Width of the stored photo in pixels.")
    height: int | None = Field(default=None, description="Height of the stored photo in pixels.")
    reason: str | None = Field(
        default=None, description="Why the photo failed: a stable code, or null."
    )
    detail: str | None = None
    note: str | None = Field(
        default=None,
        description="What to know about a photo that was used: `photo_incomplete`, if its file "
        "lacked its end and at most 2 % of its rows; `photo_blank`, if it has one colour, so that "
        "no search compares it; or null.",
    )
    image: str | None = Field(default=None, description="Path of the stored photo in this API.")


A = TypeVar("A", bound=BaseModel)


class PredictionOut(ResponseModel):
    """The prediction of one task. The content of `details` depends on the task: the schemas
    `Prediction_<task>` have that of each installed task."""

    task: str = Field(default="", description="The task: the prediction's key in the ad.")
    label: str
    score: float = Field(description="Confidence in the label, in [0, 1].")
    path: list[str] = Field(
        default_factory=list,
        description="The label's parts from the root, where categories are a tree: a category, or "
        "one above it where the category is unsure. Empty where no answer is sure; then `label` is "
        "the most likely category of the first level. Else the label alone.",
    )
    details: dict[str, Any]
    revision: int = Field(description="The revision of the ad that was scored.")
    release: ReleaseSource
    run: Source
    scored_at: datetime

    def answer(self, model: type[A]) -> A:
        """The answer as the task's own model, with `label`, `score` and the keys of `details`.

        Raises:
            pydantic.ValidationError: the answer has another shape.
        """
        return model.model_validate({"label": self.label, "score": self.score, **self.details})


class Timings(ResponseModel):
    """How long each stage took. `total_ms`: from Kafka's timestamp to the committed row."""

    kafka_at: datetime
    polled_at: datetime | None = Field(
        default=None, description="When a session read the event from Kafka."
    )
    committed_at: datetime | None
    total_ms: float | None
    fetch_ms: float
    photos_ms: float
    queued_ms: float
    embed_ms: float
    predict_ms: float
    waited_for_session: bool = Field(
        default=False,
        description="Whether the event was in Kafka before its session began to read, and no other "
        "session read it meanwhile: then `total_ms` has the time until a session had started.",
    )


class LabelOut(ResponseModel):
    label: str
    given_by: str
    given_at: datetime


class WaitingOut(ResponseModel):
    """A revision that was accepted and is not committed yet."""

    revision: int
    kind: Literal["upserted", "deleted"]
    accepted_at: datetime


class AdOut(ResponseModel):
    """An ad with its photos, predictions, labels and timings."""

    catalog: str
    ad_id: str
    revision: int
    status: Literal["received", "scored", "unscored", "no_photos", "deleted"]
    day: date | None = Field(description="UTC day of the ad's first event. It never changes.")
    title: str
    description: str
    category: str | None = Field(description="The category the seller chose.")
    price: Decimal | None
    currency: str | None
    seller: str | None = Field(default=None, description="The seller's id, as it was sent.")
    attributes: dict[str, float] = Field(
        default_factory=dict, description="The numbers that the ad was sent with, by name."
    )
    received_at: datetime
    photos: list[PhotoOut]
    predictions: dict[str, PredictionOut] = Field(
        description="Predictions of the live release, by task."
    )
    labels: dict[str, LabelOut] = Field(description="Labels from feedback, by task.")
    timings: Timings | None
    run: Source | None = Field(description="The Dagster run of the session that committed the ad.")
    waiting: WaitingOut | None
    links: Links


class AdSummary(ResponseModel):
    """An ad in a list."""

    catalog: str
    ad_id: str
    revision: int
    status: str
    title: str
    category: str | None = Field(description="The category the seller chose.")
    received_at: datetime
    day: date | None = Field(default=None, description="UTC day of the ad's first event.")
    price: Decimal | None = None
    currency: str | None = None
    seller: str | None = None
    attributes: dict[str, float] | None = Field(
        default=None, description="The catalog's numbers by name, with `details=true`."
    )
    sha256: str | None = Field(
        description="SHA-256 of the photo to show: the best one where a task names it "
        "(`details.best`, as `quality` does), else the ad's first usable photo."
    )
    failed_photos: int = Field(description="Number of photos that could not be used.")
    predictions: dict[str, dict[str, Any]] = Field(
        description="Label and score of the live release, by task; with `details=true` also "
        "`details` and `release`, the release's name."
    )
    labels: dict[str, str] = Field(description="Labels that people have given, by task.")
    links: Links


class AdPage(ResponseModel):
    ads: list[AdSummary]
    next: str | None = Field(description="The cursor of the next page; null on the last page.")


class FailureOut(ResponseModel):
    """An event or a photo that could not be processed, or a task that failed for an ad."""

    kind: Literal["event", "photo", "stream", "task"]
    subject: str
    reason: str
    detail: str
    catalog: str | None
    ad_id: str | None
    url: str | None
    failed_at: datetime
    run: Source


class FailurePage(ResponseModel):
    failures: list[FailureOut]
    next: str | None = Field(description="The cursor of the next page; null on the last page.")


class FeedbackOut(ResponseModel):
    catalog: str
    ad_id: str
    task: str
    label: str
    known: bool = Field(description="Whether the live release can predict this label.")
    published: bool = Field(
        description="Whether Kafka has acknowledged the feedback's record. If not, the record is "
        "stored in PostgreSQL and published later."
    )


class UploadOut(ResponseModel):
    sha256: str
    bytes: int


class ProblemOut(BaseModel):
    """An error: problem details, RFC 9457."""

    model_config = ConfigDict(extra="allow")

    type: str
    title: str
    status: int
    detail: str
    instance: str
