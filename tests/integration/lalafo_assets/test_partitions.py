"""The day partitions and the checks of the definitions, as Dagster's UI counts them."""

import gc
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from dagster._core.workspace.context import WorkspaceProcessContext
from dagster._core.workspace.load_target import ModuleTarget
from dagster_graphql.test.utils import execute_dagster_graphql

from lalafo_assets.definitions import defs
from lalafo_assets.stack.supervisor import LOCATION, ROOT
from resources.catalogue.checks import catalogue_checks
from resources.catalogue.first_day import EARLIEST_DAY
from resources.dagster.names import AD_PHOTOS, SESSION_JOB
from resources.postgres.database import Database
from resources.releases.promotion import make_live
from tests.support.random_release import random_release
from tests.support.stored_days import add_ads, known

# Dagster stops its code server without waiting for the process.
pytestmark = pytest.mark.filterwarnings("ignore:subprocess .* is still running:ResourceWarning")

ASSETS = ("ad_photos", "photo_embeddings", "ad_categories")
RANGE = ("dagster/asset_partition_range_start", "dagster/asset_partition_range_end")
QUERY = """
query($key: AssetKeyInput!) { assetNodeOrError(assetKey: $key) { ... on AssetNode {
  partitionStats { numPartitions numMaterialized }
  assetChecksOrError { ... on AssetChecks { checks {
    name
    executionForLatestMaterialization { status }
    partitionStatuses { ... on AssetCheckTimePartitionStatuses {
      ranges { startKey endKey status } } } } } } } } }
"""


def today() -> date:
    return datetime.now(UTC).date()


@pytest.fixture
def days(database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[date]:
    """Ads of three of the last days; the environment leads to their database."""
    monkeypatch.setenv("LALAFO_HOME", str(tmp_path))
    monkeypatch.setenv("LALAFO_DATABASE_URL", database.conninfo.text("test"))
    release = known(database, tmp_path, random_release())
    make_live(database, release.name)
    found = [today() - timedelta(days=back) for back in (6, 5, 0)]
    add_ads(database, release, dict.fromkeys(found, 2))
    return found


@pytest.fixture
def instance(tmp_path: Path) -> Iterator[dg.DagsterInstance]:
    (tmp_path / "dagster").mkdir()
    with dg.DagsterInstance.local_temp(str(tmp_path / "dagster")) as instance:
        yield instance


def job(name: str) -> dg.JobDefinition:
    return defs().get_repository_def().get_job(name)


def shown(instance: dg.DagsterInstance) -> dict[str, Any]:
    """What the asset graph in the UI reads of `ad_photos`."""
    target = ModuleTarget(
        module_name="lalafo_assets.definitions",
        attribute=None,
        working_directory=str(ROOT),
        location_name=LOCATION,
    )
    with WorkspaceProcessContext(instance, target) as workspace:
        context = workspace.create_request_context()
        answer = execute_dagster_graphql(context, QUERY, {"key": AD_PHOTOS.to_graphql_input()})
    del workspace, context
    gc.collect()
    assert answer.errors is None
    node: dict[str, Any] = answer.data["assetNodeOrError"]
    return node


def test_partitions_begin_with_the_first_day_with_ads(days: list[date]) -> None:
    """Of the assets, their checks, and the session's job; without a database, with the earliest."""
    repository = defs().get_repository_def()
    graph = repository.asset_graph
    checks = [graph.get(key).partitions_def for key in graph.asset_check_keys]
    of_checks = [found for found in checks if found is not None]
    of_assets = [graph.get(dg.AssetKey(key)).partitions_def for key in ASSETS]
    assert (len(of_checks), len(of_assets)) == (len(list(catalogue_checks())), 3)
    for found in (*of_assets, *of_checks, repository.get_job(SESSION_JOB).partitions_def):
        assert found is not None
        keys = found.get_partition_keys()
        assert (keys[0], keys[-1], len(keys)) == (str(days[0]), str(today()), 7)


def test_definitions_load_while_the_database_is_down(
    days: list[date], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Then no day is missing: a run of any day with ads finds its partition."""
    monkeypatch.setenv("LALAFO_DATABASE_URL", "postgresql://u@127.0.0.1:9/x")
    found = job(SESSION_JOB).partitions_def
    assert found is not None
    assert found.get_partition_keys()[0] == str(EARLIEST_DAY)


def test_older_materializations_stay_when_the_first_day_changes(
    days: list[date], instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are kept by partition key: shown as soon as the partitions include their day."""
    before = str(days[0] - timedelta(days=30))
    for key in (before, str(days[1])):
        instance.report_runless_asset_event(dg.AssetMaterialization(AD_PHOTOS, partition=key))
    assert shown(instance)["partitionStats"] == {"numPartitions": 7, "numMaterialized": 1}
    monkeypatch.setenv("LALAFO_FIRST_DAY", before)
    assert shown(instance)["partitionStats"] == {"numPartitions": 37, "numMaterialized": 2}


@pytest.mark.slow
def test_a_check_counts_as_passed_where_each_day_is(
    days: list[date], instance: dg.DagsterInstance
) -> None:
    """After a run over a range of days and a run of one day: passed, by days, as the UI counts."""
    first, second, last = (str(day) for day in days)
    rescore = job("rescore_days")
    of_range = rescore.execute_in_process(
        instance=instance, tags=dict(zip(RANGE, (first, second), strict=True))
    )
    assert of_range.success
    assert rescore.execute_in_process(instance=instance, partition_key=last).success
    node = shown(instance)
    assert node["partitionStats"] == {"numPartitions": 7, "numMaterialized": 3}
    (check,) = node["assetChecksOrError"]["checks"]
    assert check["executionForLatestMaterialization"] == {"status": "SUCCEEDED"}
    assert check["partitionStatuses"]["ranges"] == [
        {"startKey": first, "endKey": second, "status": "SUCCEEDED"},
        {"startKey": last, "endKey": last, "status": "SUCCEEDED"},
    ]
