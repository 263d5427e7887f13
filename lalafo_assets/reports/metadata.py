"""Dagster metadata made from SQLAlchemy tables and from counts."""

import dagster as dg
from sqlalchemy import Table
from sqlalchemy.dialects import postgresql


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


def report_counts(context: dg.OpExecutionContext, **counts: int) -> None:
    """Log an op's counts as one line, and add them to the metadata of its output."""
    context.log.info(", ".join(f"{name.replace('_', ' ')} {n}" for name, n in counts.items()))
    context.add_output_metadata(counts)
