"""The JSON Schemas of every event on the topics, from the readers and models that the code uses.

What the parser of `ads` accepts, its schema accepts. The schema can't say all that the parser
refuses: a name that occurs twice, 7.0 as a revision, a lone surrogate, a date that does not exist.
"""

from typing import Any

from ops.errors import Reason
from ops.events import duplicate, feedback, scored
from ops.events.fields import SHA256_SCHEMA, Schema, Text
from ops.events.parse import (
    AD_ID,
    ASSIGNED_REVISION,
    ATTRIBUTES,
    CATALOG,
    CATEGORY,
    CURRENCY,
    EVENT_ID,
    OCCURRED_AT,
    PHOTO,
    PRICE,
    REVISION,
    SCHEMA,
    SELLER,
    EventLimits,
)
from ops.types import AdStatus, EventKind

_KEY = {"catalog": CATALOG.schema, "ad_id": AD_ID.schema}
_ASSIGNED = {
    "properties": {"revision_assigned": {"const": True}},
    "required": ["revision_assigned"],
}


def event_schema(limits: EventLimits) -> dict[str, Any]:
    """The schema of the events of `ads`."""
    photos = {"type": "array", "maxItems": limits.max_photos, "items": PHOTO.schema}
    return {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "An ad that was created, changed or deleted",
        "type": "object",
        "required": ["schema", "event_id", "kind", *_KEY, "revision", "occurred_at"],
        "properties": {
            "schema": _version(SCHEMA),
            "event_id": _about("Your own id of the event.", EVENT_ID.schema),
            "kind": {"enum": [kind.value for kind in EventKind]},
            **_KEY,
            "revision": _about("The highest revision of an ad wins.", ASSIGNED_REVISION.schema),
            "revision_assigned": {
                "description": "true: the gateway assigned the revision, which may then be higher "
                "than one of yours."
            },
            "occurred_at": OCCURRED_AT.schema,
            "title": _or_null(limits.title.schema),
            "description": _or_null(limits.description.schema),
            "category": _about("The category the seller chose.", _or_null(CATEGORY.schema)),
            "price": _about("Rounded to two decimals.", _or_null(PRICE.schema)),
            "currency": _or_null(CURRENCY.schema),
            "seller": _about("Your id of the seller.", _or_null(SELLER.schema)),
            "attributes": _about(
                "Numbers of the ad by name, such as area or year.", _or_null(ATTRIBUTES.schema)
            ),
            "photos": {"description": "Ignored in a deletion."},
        },
        "allOf": [
            {"if": {"not": _ASSIGNED}, "then": {"properties": {"revision": REVISION.schema}}},
            {
                "if": {"properties": {"kind": {"const": EventKind.UPSERTED.value}}},
                "then": {"properties": {"photos": _or_null(photos)}},
            },
        ],
    }


def scored_schema() -> dict[str, Any]:
    """The schema of the events of `ads.scored`."""
    prediction = _object(
        label={"type": "string"},
        score=_about("At most 6 decimals.", {"type": "number", "minimum": 0, "maximum": 1}),
        details=_about("Depends on the task.", {"type": "object"}),
    )
    failed = {"enum": [r.value for r in Reason if not r.name.startswith(("EVENT_", "STREAM_"))]}
    photo = {"oneOf": [_object(sha256=SHA256_SCHEMA), _object(reason=failed)]}
    common = {
        **_KEY,
        "revision": ASSIGNED_REVISION.schema,
        "event_id": EVENT_ID.schema,
        "release": _about("The release that is live.", {"type": "string"}),
        "run_id": _about("The Dagster run of the session.", {"type": "string"}),
    }
    tasks = _about(
        "Only in the second event of an ad, of the same revision: the tasks that ran after the "
        "first. `predictions` has all of them.",
        {"type": "array", "items": {"type": "string"}},
    )
    matched = _object(
        sha256=SHA256_SCHEMA,
        other_sha256=SHA256_SCHEMA,
        verdict={"enum": ["exact", "altered"]},
        probability=_share("That it is the same photo."),
        changes=_about(
            "How one of the two was altered, such as cropped.",
            {"type": "array", "items": {"type": "string"}},
        ),
    )
    ends = [AdStatus.SCORED.value, AdStatus.UNSCORED.value, AdStatus.NO_PHOTOS.value]
    return {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "An ad that was scored or deleted, a release that is live now, or a duplicate",
        "oneOf": [
            _with_optional(
                _event(
                    scored.SCHEMA,
                    "scored",
                    status={"enum": ends},
                    **common,
                    predictions={"type": "object", "additionalProperties": prediction},
                    photos={"type": "array", "items": photo},
                ),
                tasks=tasks,
            ),
            _event(scored.SCHEMA, "deleted", status={"const": AdStatus.DELETED.value}, **common),
            _event(
                scored.SCHEMA,
                "release_promoted",
                release={"type": "string"},
                instead_of={"type": "string"},
                unscored_days={"type": "array", "items": {"type": "string", "format": "date"}},
            ),
            _event(
                duplicate.SCHEMA,
                duplicate.KIND,
                **_KEY,
                revision=ASSIGNED_REVISION.schema,
                seller=SELLER.schema,
                other=_about(
                    "The ad of the other seller, in the same catalog.",
                    _object(
                        ad_id=AD_ID.schema,
                        revision=ASSIGNED_REVISION.schema,
                        seller=SELLER.schema,
                    ),
                ),
                probability=_share("That both are one ad."),
                photos={"type": "array", "items": matched},
                run_id=_about("The Dagster run of the finder.", {"type": "string"}),
            ),
        ],
    }


def feedback_schema() -> dict[str, Any]:
    """The schema of the events of `ads.feedback`."""
    return {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "A person's label of an ad",
        **_object(
            schema=_version(feedback.SCHEMA),
            **_KEY,
            task=Text(feedback.MAX_TASK_CHARS, 1).schema,
            label=Text(feedback.MAX_LABEL_CHARS, 1).schema,
            given_by=Text(feedback.MAX_GIVEN_BY_CHARS, 1).schema,
            given_at=OCCURRED_AT.schema,
        ),
    }


def _event(version: int, kind: str, **fields: Schema) -> dict[str, Any]:
    return _object(schema=_version(version), kind={"const": kind}, **fields)


def _object(**fields: Schema) -> dict[str, Any]:
    """An object that has all of these fields, and perhaps others in later versions."""
    return {"type": "object", "required": list(fields), "properties": dict(fields)}


def _with_optional(schema: dict[str, Any], **fields: Schema) -> dict[str, Any]:
    return {**schema, "properties": {**schema["properties"], **fields}}


def _version(number: int) -> Schema:
    return {"type": "integer", "const": number}


def _share(description: str) -> Schema:
    return _about(description, {"type": "number", "minimum": 0, "maximum": 1})


def _about(description: str, schema: Schema) -> Schema:
    return {"description": description, **schema}


def _or_null(schema: Schema) -> Schema:
    return {"anyOf": [dict(schema), {"type": "null"}]}
