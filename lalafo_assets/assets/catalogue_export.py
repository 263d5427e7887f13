"""The asset `catalogue_export`: a file a day of ads with the live release's predictions.

For analysts, who read the files with pandas, DuckDB or Spark. `lalafo export` writes the same ones.
"""

from contextlib import closing

import dagster as dg

from lalafo_assets.assets.predictions import prediction_assets
from lalafo_assets.reports.failures import plain_failures
from ops.errors import ConfigurationError
from resources.dagster.names import CATALOGUE_EXPORT, OWNERS
from resources.dagster.partitions import DAYS_A_RUN, days, days_of
from resources.dagster.resources import DatabaseResource
from resources.exports.days import DayFile, Export, export_day, new_export
from resources.exports.destination import Destination
from resources.exports.formats import Format
from resources.settings import load_settings

SETTING = "LALAFO_EXPORT_URL"


@dg.asset(
    key=CATALOGUE_EXPORT,
    deps=prediction_assets,
    partitions_def=days,
    group_name="exports",
    kinds={"parquet"},
    owners=OWNERS,
    code_version="1",
    backfill_policy=DAYS_A_RUN,
    description=(
        "Ads of a day with the live release's predictions, as one Parquet or CSV file below "
        f"{SETTING}: `day=2026-11-28/part.parquet`. The schedule of the same name writes the last "
        "days each night; a backfill writes all of them, as after a promotion."
    ),
)
def catalogue_export(
    context: dg.AssetExecutionContext, database: DatabaseResource
) -> dg.MaterializeResult[None]:
    """Write the files of the run's days, each whole or not at all."""
    settings = load_settings()
    with plain_failures(), closing(database.open()) as db:
        if settings.export_url == "":
            raise ConfigurationError(
                f"{SETTING} is empty: set it to a folder or a URL, such as s3://bucket/ads"
            )
        export = new_export(db, file_format=Format(settings.export_format))
        to = Destination(settings.export_url, SETTING)
        files = []
        for day in days_of(context):
            written = export_day(db, export, day, to)
            context.log.info(f"{written.rows} ads, {written.bytes} bytes: {written.url}")
            files.append(written)
        return dg.MaterializeResult(metadata={**_metadata(export, files, to)})


def _metadata(
    export: Export, files: list[DayFile], to: Destination
) -> dict[str, int | str | dg.TableSchema]:
    return {
        "dagster/partition_row_count": sum(one.rows for one in files),
        "dagster/uri": files[0].url if len(files) == 1 else to.url(),
        "dagster/column_schema": dg.TableSchema(
            columns=[
                dg.TableColumn(column.name, column.kind.value, column.description)
                for column in export.columns
            ]
        ),
        "bytes": sum(one.bytes for one in files),
        "release": export.release.name,
    }
