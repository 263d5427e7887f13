"""Alembic's environment: runs the migrations over the connection in its configuration."""

from alembic import context

from resources.postgres import gateway_tables  # noqa: F401 - its tables are in the metadata
from resources.postgres.tables import SCHEMA, metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    version_table_schema=SCHEMA,
    include_schemas=True,
    transaction_per_migration=True,
)
with context.begin_transaction():
    context.run_migrations()
