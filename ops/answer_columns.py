"""The columns that an ad with its predictions has in a table, for exports and data frames.

Owns their names and types. Those of a task follow from the JSON Schema of its answer: `label`,
`score`, and each key of `details`, the keys of objects below it too (`price.range.low`). Imports no
task and no table library, so that an export and the gateway's client name them alike.
"""

import json
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any

_MAX_DEPTH = 4  # of objects in objects; what is deeper is JSON text
_INT64 = 2**63
_LARGEST = sys.float_info.max


class Kind(Enum):
    """The type of a column."""

    TEXT = "text"
    NUMBER = "number"  # float64
    INTEGER = "integer"  # int64
    BOOLEAN = "boolean"
    DECIMAL = "decimal"  # 17 digits, 2 of them after the point
    DAY = "day"
    MOMENT = "moment"  # UTC, microseconds
    TEXTS = "list of texts"
    NUMBERS = "list of numbers"
    INTEGERS = "list of integers"
    JSON = "JSON text"  # lists of objects, and whatever else has no type of its own


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table of ads.

    Args:
        name: such as `received_at`, or `category.score`.
        task: whose prediction it is of; "" for the ad's own.
        path: the keys below the prediction: ("label",), ("score",), or ("details", …).
    """

    name: str
    kind: Kind
    description: str
    task: str = ""
    path: tuple[str, ...] = ()


AD_COLUMNS = (
    Column("catalog", Kind.TEXT, "The catalog."),
    Column("ad_id", Kind.TEXT, "The ad's id in the catalog."),
    Column("revision", Kind.INTEGER, "The revision that is committed."),
    Column("day", Kind.DAY, "UTC day of the ad's first event. It never changes."),
    Column("status", Kind.TEXT, "`scored`, `unscored` or `no_photos`."),
    Column("title", Kind.TEXT, "The seller's title."),
    Column("category", Kind.TEXT, "The category that the seller chose."),
    Column("price", Kind.DECIMAL, "The seller's price."),
    Column("currency", Kind.TEXT, "The price's currency."),
    Column("seller", Kind.TEXT, "The catalog's id of the seller."),
    Column("attributes", Kind.JSON, "The catalog's numbers by name, as a JSON object."),
    Column("received_at", Kind.MOMENT, "When the ad was received."),
    Column("sha256", Kind.TEXT, "SHA-256 of the ad's first usable photo."),
    Column("failed_photos", Kind.INTEGER, "Number of photos that could not be used."),
    Column("labels", Kind.JSON, "Labels that people have given, by task, as a JSON object."),
    Column("release", Kind.TEXT, "The release that made the predictions."),
)
"""The columns of an ad itself, before those of the tasks."""


def task_columns(task: str, answer: Mapping[str, Any]) -> tuple[Column, ...]:
    """The columns of a task's predictions.

    Args:
        answer: the JSON Schema of `label`, `score` and `details`, as the table `tasks` and the
            route /v1/tasks have it; {} where it is unknown: then the details are JSON text.
    """
    own: Mapping[str, Any] = answer.get("properties", {})
    found = [
        Column(f"{task}.label", Kind.TEXT, _description(own.get("label", {})), task, ("label",)),
        Column(f"{task}.score", Kind.NUMBER, _description(own.get("score", {})), task, ("score",)),
    ]
    details = own.get("details")
    if details is None:
        text = "Everything else that the task answers."
        found.append(Column(f"{task}.details", Kind.JSON, text, task, ("details",)))
    else:
        definitions: Mapping[str, Any] = answer.get("$defs", {})
        found.extend(_below(task, (), details, definitions))
    return tuple(found)


def cell(prediction: Mapping[str, Any], column: Column) -> Any:
    """A column's value of a prediction: `label`, `score` and `details`.

    Returns:
        What the column's kind allows; None where there is nothing, or something of another type.
    """
    value: Any = prediction
    for key in column.path:
        value = value.get(key) if isinstance(value, Mapping) else None
    return checked(value, column.kind)


def json_text(value: Any) -> str:
    """A value as JSON text, spaced as PostgreSQL's jsonb is."""
    return json.dumps(value, ensure_ascii=False)


def _below(
    task: str, keys: tuple[str, ...], schema: Mapping[str, Any], definitions: Mapping[str, Any]
) -> Iterator[Column]:
    for key, field in schema.get("properties", {}).items():
        path = (*keys, key)
        found = _resolved(field, definitions)
        if "properties" in found and len(path) < _MAX_DEPTH:
            yield from _below(task, path, found, definitions)
            continue
        description = _description(field) or _description(found)
        kind = _kind(found, definitions)
        yield Column(".".join((task, *path)), kind, description, task, ("details", *path))


_PLAIN = {
    "string": Kind.TEXT,
    "number": Kind.NUMBER,
    "integer": Kind.INTEGER,
    "boolean": Kind.BOOLEAN,
}
_LISTS = {Kind.TEXT: Kind.TEXTS, Kind.NUMBER: Kind.NUMBERS, Kind.INTEGER: Kind.INTEGERS}


def _kind(schema: Mapping[str, Any], definitions: Mapping[str, Any]) -> Kind:
    name = schema.get("type")
    if name == "array":
        items = _resolved(schema.get("items", {}), definitions)
        return _LISTS.get(_kind(items, definitions), Kind.JSON) if items else Kind.JSON
    if name is None:
        values = schema.get("enum", [schema["const"]] if "const" in schema else [])
        is_text = bool(values) and all(isinstance(value, str) for value in values)
        return Kind.TEXT if is_text else Kind.JSON
    return _PLAIN.get(name, Kind.JSON) if isinstance(name, str) else Kind.JSON


def _resolved(schema: Mapping[str, Any], definitions: Mapping[str, Any]) -> Mapping[str, Any]:
    """The schema behind a reference, or the one beside null."""
    for _ in range(_MAX_DEPTH):
        if "$ref" in schema:
            schema = definitions.get(schema["$ref"].rpartition("/")[2], {})
            continue
        others = [one for one in schema.get("anyOf", ()) if one.get("type") != "null"]
        if len(others) != 1:
            return schema
        schema = others[0]
    return schema


def _description(schema: Mapping[str, Any]) -> str:
    """A field's description, with its unit."""
    text, unit = str(schema.get("description", "")), schema.get("unit")
    return f"{text} Unit: {unit}." if text and unit else text


_TYPES: dict[Kind, Any] = {
    Kind.TEXT: str,
    Kind.NUMBER: (int, float),
    Kind.INTEGER: int,
    Kind.BOOLEAN: bool,
}
_ITEMS = {Kind.TEXTS: Kind.TEXT, Kind.NUMBERS: Kind.NUMBER, Kind.INTEGERS: Kind.INTEGER}


def checked(value: Any, kind: Kind) -> Any:
    """A value as its kind allows it; None: it is of another type."""
    if value is None:
        return None
    if kind is Kind.JSON:
        return json_text(value)
    if kind in _ITEMS:
        items = [checked(one, _ITEMS[kind]) for one in value] if isinstance(value, list) else None
        return None if items is None or None in items else items
    expected = _TYPES[kind]
    if not isinstance(value, expected) or (isinstance(value, bool) and kind is not Kind.BOOLEAN):
        return None
    if kind is Kind.NUMBER:
        return float(value) if abs(value) <= _LARGEST else None
    return None if kind is Kind.INTEGER and not -_INT64 <= value < _INT64 else value
