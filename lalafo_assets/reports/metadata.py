"""Dagster metadata made from SQLAlchemy tables and from counts."""

from collections.abc import Mapping
from typing import Any

import dagster as dg
from sqlalchemy import Table
from sqlalchemy.dialects import postgresql

from ops.tasks import Answer
from ops.tasks.contract.answer import answer_schema


def table_metadata(
    table: Table, *, answer: type[Answer] | None = None
) -> dict[str, dg.TableSchema | str]:
    """Return the definition metadata of an asset stored in `table`: its name and its columns.

    Args:
        answer: what a row's `label`, `score` and `details` mean; the keys of `details` are listed
            as `details.<key>`.
    """
    dialect = postgresql.dialect()  # type: ignore[no-untyped-call] # SQLAlchemy leaves it untyped
    columns = [
        dg.TableColumn(
            name=column.name,
            type=column.type.compile(dialect=dialect).lower(),
            description=column.comment,
            constraints=dg.TableColumnConstraints(
                nullable=bool(column.nullable),
                unique=column.primary_key and len(table.primary_key) == 1,
            ),
        )
        for column in table.columns
    ]
    if answer is not None:
        columns = [*columns, *_answer_columns(answer)]
    return {
        "dagster/column_schema": dg.TableSchema(columns=columns),
        "dagster/table_name": table.fullname,
    }


def _answer_columns(answer: type[Answer]) -> list[dg.TableColumn]:
    fields = answer_schema(answer)["properties"]["details"]["properties"]
    return [
        dg.TableColumn(
            name=f"details.{name}",
            type=str(field.get("type", "json")),
            description=f"{field['description']}{_unit(field)}",
        )
        for name, field in fields.items()
    ]


def _unit(field: Mapping[str, Any]) -> str:
    return f" Unit: {field['unit']}." if "unit" in field else ""


Metadata = dict[str, dg.MetadataValue]


def report_counts(context: dg.OpExecutionContext, **counts: int) -> None:
    """Log an op's counts as one line, and add them to the metadata of its output."""
    context.log.info(", ".join(f"{name.replace('_', ' ')} {n}" for name, n in counts.items()))
    context.add_output_metadata(counts)
