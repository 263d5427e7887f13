"""The asset `catalogue_export` and its schedule, in Dagster."""

from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import dagster as dg
import pyarrow.parquet as pq
import pytest

from lalafo_assets.assets.catalogue_export import catalogue_export
from lalafo_assets.definitions import defs
from lalafo_assets.jobs.catalogue_export import export_job, export_schedule
from resources.dagster.executors import Execution
from resources.dagster.partitions import days_from, today
from resources.dagster.resources import DatabaseResource
from resources.postgres.database import Database
from tests.support.batches import RELEASE
from tests.support.exported_ads import put_ads


@pytest.fixture
def instance():
    with dg.DagsterInstance.ephemeral() as instance:
        yield instance


def run(database: Database, instance: dg.DagsterInstance, **options: object):
    return dg.materialize(
        [catalogue_export],
        instance=instance,
        resources={"database": DatabaseResource(url=database.url.render_as_string())},
        **options,
    )


def test_a_run_writes_the_file_of_its_day(
    database: Database,
    instance: dg.DagsterInstance,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
):
    """With rows, bytes, the address and the columns as metadata."""
    put_ads(database)
    monkeypatch.setenv("LALAFO_EXPORT_URL", str(tmp_path))
    assert run(database, instance, partition_key="2026-05-01").success
    file = tmp_path / "day=2026-05-01/part.parquet"
    assert pq.read_table(file).num_rows == 2
    assert [path.name for path in tmp_path.iterdir()] == ["day=2026-05-01"]
    event = instance.get_latest_materialization_event(catalogue_export.key)
    assert event is not None and event.asset_materialization is not None
    metadata = event.asset_materialization.metadata
    assert metadata["dagster/partition_row_count"].value == 2
    assert metadata["bytes"].value == file.stat().st_size
    assert metadata["dagster/uri"].value == f"file://{file}"
    assert metadata["release"].value == RELEASE
    columns = metadata["dagster/column_schema"].value.columns
    assert ("worth.like", "integer") in [(column.name, column.type) for column in columns]


def test_without_a_destination_a_run_fails_with_what_to_set(
    database: Database, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
):
    put_ads(database)
    monkeypatch.delenv("LALAFO_EXPORT_URL", raising=False)
    failed = run(database, instance, partition_key="2026-05-01", raise_on_error=False)
    assert not failed.success
    (event,) = failed.get_step_failure_events()
    assert "LALAFO_EXPORT_URL is empty" in str(event.step_failure_data.error)


@pytest.mark.parametrize("url", ["", "exports"])
def test_the_schedule_asks_for_the_last_days_where_there_is_a_destination(
    instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch, url: str
):
    """Complete days alone, the oldest first, none before the catalogue's first."""
    monkeypatch.setenv("LALAFO_EXPORT_URL", url)
    shared = days_from(today() - timedelta(days=3))
    schedule = export_schedule(export_job(Execution()), shared)
    is_running = schedule.default_status is dg.DefaultScheduleStatus.RUNNING
    assert is_running is (url != "")
    with dg.build_schedule_context(instance, datetime.now(UTC)) as context:
        found = schedule(context)
    if url == "":
        assert isinstance(found, dg.SkipReason) and "LALAFO_EXPORT_URL" in found.skip_message
        return
    keys = [date.fromisoformat(request.partition_key) for request in found]
    assert keys == [today() - timedelta(days=ago) for ago in (3, 2, 1)]


def test_it_follows_every_task_s_asset():
    """In the code location's graph; a re-score of the catalogue's group does not write it."""
    graph = defs().resolve_asset_graph()
    node = graph.get(dg.AssetKey("catalogue_export"))
    assert dg.AssetKey("ad_categories") in node.parent_keys
    assert node.group_name != graph.get(dg.AssetKey("ad_categories")).group_name
