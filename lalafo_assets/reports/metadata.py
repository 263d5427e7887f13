"""Dagster metadata made from SQLAlchemy tables, from pictures and from counts."""

from collections.abc import Mapping

import dagster as dg
from sqlalchemy import Table
from sqlalchemy.dialects import postgresql

from ops.pictures.previews import as_markdown


def table_metadata(table: Table) -> dict[str, dg.TableSchema | str]:
    """Return the definition metadata of an asset stored in `table`: its name and its columns."""
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
    return {
        "dagster/column_schema": dg.TableSchema(columns=columns),
        "dagster/table_name": table.fullname,
    }


Metadata = dict[str, dg.MetadataValue]


def as_metadata(pictures: Mapping[str, bytes]) -> Metadata:
    """Return pictures as Markdown metadata that embeds the image data."""
    return {name: dg.MetadataValue.md(as_markdown(data)) for name, data in pictures.items()}


def report_counts(context: dg.OpExecutionContext, **counts: int) -> None:
    """Log an op's counts as one line, and add them to the metadata of its output."""
    context.log.info(", ".join(f"{name.replace('_', ' ')} {n}" for name, n in counts.items()))
    context.add_output_metadata(counts)
