"""Request models of version 1: an ad and feedback, as the OpenAPI document describes them.

Owns names and examples. How a field is read is the stream's (`ops/events/`), by `parameters.py`. An
unknown field is refused here, and ignored on the topic.
"""

import types
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, JsonValue

from gateway.schemas.parameters import (
    AdId,
    AttributesIn,
    Catalog,
    CategoryIn,
    CurrencyIn,
    DescriptionIn,
    MomentIn,
    PhotoUrlIn,
    PriceIn,
    RevisionIn,
    SellerIn,
    Sha256In,
    TitleIn,
    text_in,
)
from ops.events.feedback import MAX_GIVEN_BY_CHARS, MAX_LABEL_CHARS, MAX_TASK_CHARS

EXAMPLE_AD: dict[str, JsonValue] = {
    "catalog": "kg",
    "ad_id": "42",
    "revision": 7,
    "title": "A blue chair",
    "category": "chair",
    "price": "1200.00",
    "currency": "KGS",
    "seller": "s-17",
    "attributes": {"width_cm": 54, "year": 2019},
    "photos": [{"url": "https://photos.example/1.jpg"}],
}


class RequestModel(BaseModel):
    """Base of request bodies: an unknown field is refused, not ignored."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class PhotoIn(RequestModel):
    """A photo: the URL that sessions fetch it from, or the SHA-256 of an uploaded photo."""

    url: PhotoUrlIn = None
    sha256: Sha256In = Field(
        default=None, description="SHA-256 of the uploaded photo's bytes, in hexadecimal."
    )


class AdIn(RequestModel):
    """A complete ad. A field that is omitted or null is empty from this revision on."""

    model_config = ConfigDict(json_schema_extra={"examples": [EXAMPLE_AD]})

    catalog: Catalog
    ad_id: AdId = Field(
        description="The ad's id in your system. Any text without control characters and without a "
        "segment `.` or `..`: clients and proxies would turn its path into another one."
    )
    revision: RevisionIn = Field(
        default=None,
        description="The revision of the ad in your system, at most 2^62. The highest revision "
        "wins, in whatever order revisions arrive. If omitted, the gateway assigns the next one; "
        "then omit it in every request for this ad.",
    )
    occurred_at: MomentIn = Field(
        default=None,
        description="When the ad changed, with an offset (RFC 3339). Defaults to now.",
    )
    title: TitleIn = ""
    description: DescriptionIn = ""
    category: CategoryIn = Field(default=None, description="The category the seller chose.")
    price: PriceIn = Field(
        default=None,
        description="A number, or a string of digits with at most one point; rounded to two "
        "decimals. Responses have it as a string.",
    )
    currency: CurrencyIn = None
    seller: SellerIn = Field(
        default=None, description="The seller's id in your system, at most 128 characters."
    )
    attributes: AttributesIn = Field(
        default=None,
        description="Numbers of the ad by name, such as area, year or mileage. An attribute "
        "that is null counts as absent.",
    )
    photos: Annotated[
        list[PhotoIn],
        BeforeValidator(
            lambda value: [] if value is None else value,
            json_schema_input_type=list[PhotoIn] | None,
        ),
    ] = Field(default_factory=list)


class FeedbackIn(RequestModel):
    """The correct label of an ad in a task, and who gave it."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"task": "category", "label": "armchair", "given_by": "moderator-7"}]
        }
    )

    task: Annotated[str, *text_in("task", MAX_TASK_CHARS)] = "category"
    label: Annotated[str, *text_in("label", MAX_LABEL_CHARS)]
    given_by: Annotated[str, *text_in("given_by", MAX_GIVEN_BY_CHARS)] = Field(
        description="The person or system that gave the label, by your own name for it."
    )


def known_fields(model: type[BaseModel], path: tuple[Any, ...]) -> list[str]:
    """The names of the fields of the object at a path of a body, such as ("photos", 0)."""
    for step in path:
        if isinstance(step, str) and step in model.model_fields:
            inner = _model_in(model.model_fields[step].annotation)
            if inner is None:
                return []
            model = inner
    return list(model.model_fields)


def _model_in(annotation: Any) -> type[BaseModel] | None:
    """The model in an annotation such as list[Model] or Model | None."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    if get_origin(annotation) in (list, Union, types.UnionType, Annotated):
        return next((m for m in map(_model_in, get_args(annotation)) if m is not None), None)
    return None
