"""Types of request fields and query parameters, as pydantic reads and documents them.

A field of an ad is read by the reader that the stream's parser uses (`ops/events/`), so that both
accept the same values. A number in a query is written as in JSON: Python's int() would accept
"1_0", "+5" and other alphabets' digits too.
"""

import re
from collections.abc import Callable
from datetime import date, datetime
from decimal import Decimal
from typing import Annotated, Any

from pydantic import BeforeValidator, WithJsonSchema
from pydantic_core import PydanticCustomError

from ops.errors import BadInputError
from ops.events.fields import SHA256_SCHEMA, Schema, Text, read_sha256
from ops.events.parse import (
    AD_ID,
    ATTRIBUTES,
    CATALOG,
    CATEGORY,
    CURRENCY,
    OCCURRED_AT,
    PHOTO,
    PRICE,
    REVISION,
    SELLER,
)

_ANY_TEXT = Text(2**31)  # a title or a description: the gateway's settings limit them
_INTEGER = re.compile(r"-?(0|[1-9][0-9]{0,18})")
_DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_NUMBER = re.compile(r"-?(0|[1-9][0-9]{0,18})(\.[0-9]{1,30})?([eE][+-]?[0-9]{1,3})?")

Read = Callable[[Any, str], Any]
"""Reads a value of the field with this name; raises BadInputError."""


def required(read: Read, name: str) -> BeforeValidator:
    """A validator that reads a value as the stream's parser does."""

    def read_value(value: Any) -> Any:
        try:
            return read(value, name)
        except BadInputError as error:
            # The type of pydantic's error is the reason.
            raise PydanticCustomError(
                error.reason.value,
                "{detail}",
                {"detail": error.detail},
            ) from error

    return BeforeValidator(read_value)


def optional(read: Read, name: str, *, missing: object = None) -> BeforeValidator:
    """The same for an optional field: null gives `missing`."""
    return required(lambda value, it: missing if value is None else read(value, it), name)


def _documented(schema: Schema) -> WithJsonSchema:
    return WithJsonSchema(dict(schema))


def _nullable(schema: Schema) -> WithJsonSchema:
    return WithJsonSchema({"anyOf": [dict(schema), {"type": "null"}]})


def _integer(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    if _INTEGER.fullmatch(value) is None:
        raise PydanticCustomError("integer", "expected an integer such as 10")
    return int(value)


def _number(value: Any) -> Any:
    if isinstance(value, str) and _NUMBER.fullmatch(value) is None:
        raise PydanticCustomError("number", "expected a number such as 10 or 2.5")
    return value


def _boolean(value: Any) -> Any:
    if isinstance(value, str) and value not in ("true", "false"):
        raise PydanticCustomError("boolean", "expected true or false")
    return value


def _day(value: Any) -> Any:
    if isinstance(value, str) and _DAY.fullmatch(value) is None:
        raise PydanticCustomError("day", "expected a day such as 2026-05-01")
    return value


def _moment(value: Any, name: str) -> datetime:
    if isinstance(value, str) and " " in value:
        raise PydanticCustomError(
            "moment", "expected a date and time (RFC 3339); in a query, write '+' as %2B"
        )
    return OCCURRED_AT.read(value, name)


_ANY_TEXT_SCHEMA = _nullable({"type": "string", "pattern": _ANY_TEXT.schema["pattern"]})

Catalog = Annotated[str, required(CATALOG.read, "catalog"), _documented(CATALOG.schema)]
AdId = Annotated[str, required(AD_ID.read, "ad_id"), _documented(AD_ID.schema)]

QueryInt = Annotated[int, BeforeValidator(_integer)]
QueryNumber = Annotated[float, BeforeValidator(_number)]
QueryBool = Annotated[bool, BeforeValidator(_boolean)]
QueryDay = Annotated[date, BeforeValidator(_day)]
QueryRevision = Annotated[
    int,
    required(lambda value, name: REVISION.read(_integer(value), name), "revision"),
    _documented(REVISION.schema),
]
QueryMoment = Annotated[
    datetime, required(_moment, "the time"), _documented({"type": "string", "format": "date-time"})
]

QueryPrice = Annotated[Decimal, required(PRICE.read, "the price"), _documented({"type": "string"})]

RevisionIn = Annotated[int | None, optional(REVISION.read, "revision"), _nullable(REVISION.schema)]
MomentIn = Annotated[
    datetime | None, optional(OCCURRED_AT.read, "occurred_at"), _nullable(OCCURRED_AT.schema)
]
PriceIn = Annotated[Decimal | None, optional(PRICE.read, "price"), _nullable(PRICE.schema)]
TitleIn = Annotated[str, optional(_ANY_TEXT.read, "title", missing=""), _ANY_TEXT_SCHEMA]
DescriptionIn = Annotated[
    str, optional(_ANY_TEXT.read, "description", missing=""), _ANY_TEXT_SCHEMA
]
CategoryIn = Annotated[
    str | None,
    optional(lambda value, name: CATEGORY.read(value, name) or None, "category"),
    _nullable(CATEGORY.schema),
]
CurrencyIn = Annotated[
    str | None,
    optional(lambda value, name: CURRENCY.read(value, name) or None, "currency"),
    _nullable(CURRENCY.schema),
]
SellerIn = Annotated[
    str | None,
    optional(lambda value, name: SELLER.read(value, name) or None, "seller"),
    _nullable(SELLER.schema),
]
AttributesIn = Annotated[
    dict[str, float] | None,
    optional(ATTRIBUTES.read, "attributes"),
    _nullable(ATTRIBUTES.schema),
]
PhotoUrlIn = Annotated[str | None, optional(PHOTO.url.read, "url"), _nullable(PHOTO.url.schema)]
Sha256In = Annotated[
    str | None,
    optional(lambda value, name: read_sha256(value, name).hex(), "sha256"),
    _nullable(SHA256_SCHEMA),
]


def text_in(name: str, max_chars: int) -> tuple[BeforeValidator, WithJsonSchema]:
    """The annotations of a required text of a request that is not an ad."""
    field = Text(max_chars, min_chars=1)
    return required(field.read, name), _documented(field.schema)
