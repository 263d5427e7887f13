"""The statement that reads a day of ads with their predictions, as COPY's CSV.

Owns how a column of `ops/answer_columns.py` is read from the tables. Every value is a text of its
kind or null: a prediction's value of another type than its task's schema says is null, and ends no
export.
"""

import json
from collections.abc import Mapping, Sequence
from datetime import date

from psycopg import sql

from ops.answer_columns import Column, Kind

_AD = {
    "catalog": "a.catalog",
    "ad_id": "a.ad_id",
    "revision": "a.revision",
    "day": "a.day",
    "status": "a.status",
    "title": "a.title",
    "category": "a.category",
    "price": "a.price",
    "currency": "a.currency",
    "seller": "a.seller",
    "attributes": "a.attributes::text",
    "received_at": """to_char(a.received_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')""",
    "sha256": "encode(photos.first, 'hex')",
    "failed_photos": "photos.failed",
    "labels": """(SELECT jsonb_object_agg(l.task, l.label) FROM lalafo.labels AS l
        WHERE l.catalog = a.catalog AND l.ad_id = a.ad_id)""",
}
_PHOTOS = """
    CROSS JOIN LATERAL (
        SELECT (array_agg(f.sha256 ORDER BY f.position) FILTER (WHERE f.sha256 IS NOT NULL))[1]
            AS first, count(f.reason) AS failed
        FROM lalafo.ad_photos AS f WHERE f.catalog = a.catalog AND f.ad_id = a.ad_id
    ) AS photos"""
_PREDICTED = """
    LEFT JOIN lalafo.predictions AS {p} ON {p}.release = {release} AND {p}.task = {task}
        AND {p}.catalog = a.catalog AND {p}.ad_id = a.ad_id AND {p}.revision = a.revision"""
# The best labels as arrays (migration 0015), in the form of the view `predictions_with_details`,
# which would look the release up for each ad.
_TOP = """CASE WHEN {p}.top_labels IS NULL THEN {value} ELSE (
        SELECT jsonb_agg(jsonb_build_array({labels}::jsonb -> best.label,
            CASE WHEN best.score IN (0, 1) THEN best.score::numeric(2, 1)
                ELSE best.score::numeric END) ORDER BY best.place)
        FROM unnest({p}.top_labels, {p}.top_scores) WITH ORDINALITY
            AS best (label, score, place)) END"""
_BY_KIND = {
    Kind.TEXT: "CASE jsonb_typeof({v}) WHEN 'string' THEN {v} #>> '{{}}' END",
    Kind.NUMBER: "CASE jsonb_typeof({v}) WHEN 'number' THEN ({v})::text END",
    Kind.INTEGER: r"CASE WHEN ({v})::text ~ '^-?\d{{1,18}}$' THEN ({v})::text END",
    Kind.BOOLEAN: "CASE jsonb_typeof({v}) WHEN 'boolean' THEN ({v})::text END",
    Kind.JSON: "nullif({v}, 'null')::text",
}
_LIST = "CASE jsonb_typeof({v}) WHEN 'array' THEN ({v})::text END"
# A spreadsheet takes such a text for a formula: OWASP, CSV Injection; the wide forms of Japanese
# keyboards too.
_GUARDED = r"""CASE WHEN {text} ~ '^[-=+@\t\r\n＝＋－＠]' THEN '''' || {text} ELSE {text} END"""  # noqa: RUF001


def day_statement(
    columns: Sequence[Column],
    day: date,
    *,
    release: str,
    taxonomy: Mapping[str, Sequence[str]],
    catalogs: Sequence[str] | None = None,
    guarded: bool = False,
) -> sql.Composed:
    """Return `COPY … TO STDOUT` of a day's ads; deleted ads are left out.

    Args:
        columns: of ads and of tasks, in the order of the file.
        release: whose predictions to read, of each ad's present revision.
        taxonomy: the release's labels by task.
        catalogs: the catalogs to read; None: all.
        guarded: put an apostrophe before texts that a spreadsheet would take for formulas.
    """
    tasks = list(dict.fromkeys(column.task for column in columns if column.task))
    aliases = {task: sql.Identifier(f"p{number}") for number, task in enumerate(tasks)}
    values = [_value(column, aliases, taxonomy) for column in columns]
    if guarded:
        values = [
            sql.SQL(_GUARDED).format(text=value) if column.kind is Kind.TEXT else value
            for column, value in zip(columns, values, strict=True)
        ]
    joins = [
        sql.SQL(_PREDICTED).format(p=alias, release=sql.Literal(release), task=sql.Literal(task))
        for task, alias in aliases.items()
    ]
    of_catalogs: sql.Composable = (
        sql.SQL("")
        if catalogs is None
        else sql.SQL(" AND a.catalog = ANY({})").format(sql.Literal(list(catalogs)))
    )
    return sql.SQL(
        "COPY (SELECT {values} FROM lalafo.ads AS a {photos} {joins} "
        "WHERE a.day = {day} AND a.status <> 'deleted'{of_catalogs}) TO STDOUT (FORMAT csv)"
    ).format(
        values=sql.SQL(", ").join(values),
        photos=sql.SQL(_PHOTOS),
        joins=sql.SQL("").join(joins),
        day=sql.Literal(day),
        of_catalogs=of_catalogs,
    )


def _value(
    column: Column, aliases: Mapping[str, sql.Identifier], taxonomy: Mapping[str, Sequence[str]]
) -> sql.Composable:
    if column.task == "":
        if column.name == "release":
            releases: list[sql.Composable] = [
                sql.SQL("{}.release").format(alias) for alias in aliases.values()
            ]
            return sql.SQL("coalesce({})").format(sql.SQL(", ").join([*releases, sql.NULL]))
        return sql.SQL(_AD[column.name])
    p = aliases[column.task]
    if column.path in (("label",), ("score",)):
        return sql.SQL("{}.{}").format(p, sql.Identifier(column.path[0]))
    keys = list(column.path[1:])
    value: sql.Composable = sql.SQL("{}.details").format(p)
    if keys:
        value = sql.SQL("({} #> {}::text[])").format(value, sql.Literal(keys))
    labels = taxonomy.get(column.task)
    if keys == ["top"] and labels is not None:
        value = sql.SQL(_TOP).format(p=p, value=value, labels=sql.Literal(json.dumps(list(labels))))
        value = sql.SQL("({})").format(value)
    return sql.SQL(_BY_KIND.get(column.kind, _LIST)).format(v=value)
