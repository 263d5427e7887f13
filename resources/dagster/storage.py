"""Dagster's storage in PostgreSQL, by a connection string in any form.

`dagster_postgres` takes an address of SQLAlchemy's with psycopg 2 as the driver, and nothing else:
with postgresql://, SQLAlchemy 2.1 takes psycopg 3, and Dagster's daemon crashes
(dagster-io/dagster#33958). In dagster.yaml:

    storage:
      custom:
        module: resources.dagster.storage
        class: PostgresStorage
        config:
          postgres_url:
            env: LALAFO_DAGSTER_DATABASE_URL
"""

from collections.abc import Mapping
from typing import Any

from dagster._serdes import ConfigurableClassData
from dagster_postgres import DagsterPostgresStorage

from resources.postgres.conninfo import Conninfo

DAGSTER_URL_SETTING = "LALAFO_DAGSTER_DATABASE_URL"


class PostgresStorage(DagsterPostgresStorage):
    """Runs, event logs, schedules and sensors of a Dagster instance."""

    @classmethod
    def from_config_value(
        cls, inst_data: ConfigurableClassData | None, config_value: Mapping[str, Any]
    ) -> "PostgresStorage":
        """Open the storage; called by Dagster.

        Raises:
            ConfigurationError: the connection string can't be read.
        """
        conninfo = Conninfo.parse(str(config_value["postgres_url"]), DAGSTER_URL_SETTING)
        return cls(
            postgres_url=conninfo.psycopg2_url(),
            should_autocreate_tables=config_value.get("should_autocreate_tables", True),
            inst_data=inst_data,
        )
