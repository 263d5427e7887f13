"""The sensor `committed_ads` keeps one finder of duplicates, and stops the queue without it."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import dagster as dg
import psycopg
import pytest

from lalafo_assets.definitions import defs
from resources.dagster.names import CODE_TAG, DUPLICATES_JOB
from resources.dagster.resources import DatabaseResource
from resources.duplicates import changes
from resources.duplicates.changes import LEASE
from resources.postgres.database import Database
from resources.sessions.worker_group import worker_membership
from resources.settings import load_settings
from resources.storage.photos import PhotoStore
from tests.conftest import connect_args
from tests.support.duplicate_ads import finder_epoch, groups_of, shop_of
from tests.support.working_sessions import until

REPOSITORY = defs().get_repository_def()
SENSOR = REPOSITORY.get_sensor_def("committed_ads")
WITHIN_S = 90


@pytest.fixture
def instance(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[dg.DagsterInstance]:
    monkeypatch.setenv("LALAFO_HOME", str(tmp_path))
    monkeypatch.setenv("LALAFO_DATABASE_URL", database.url.render_as_string())
    monkeypatch.setenv("LALAFO_CODE_VERSION", "v1")
    monkeypatch.setenv("LALAFO_DUPLICATES", "true")
    with dg.DagsterInstance.ephemeral() as ephemeral:
        yield ephemeral


def tick(instance: dg.DagsterInstance) -> list[dg.RunRequest] | str:
    """The run requests of one tick, or its skip reason."""
    context = dg.build_sensor_context(
        instance=instance, repository_def=REPOSITORY, resources={"database": DatabaseResource()}
    )
    data = SENSOR.evaluate_tick(context)
    return list(data.run_requests) if data.run_requests else str(data.skip_message)


def test_it_is_off_by_default(
    instance: dg.DagsterInstance, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is started; after a time with it, commits queue no more ads."""
    with psycopg.connect(
        **connect_args(database.url.render_as_string()), autocommit=True
    ) as connection:
        changes.start(database, finder_epoch(connection))
        assert connection.execute("SELECT FROM lalafo.duplicate_search").rowcount == 1
        monkeypatch.delenv("LALAFO_DUPLICATES")
        assert tick(instance) == "LALAFO_DUPLICATES is false"
        assert connection.execute("SELECT FROM lalafo.duplicate_search").rowcount == 0
        assert tick(instance) == "LALAFO_DUPLICATES is false"


def test_one_finder_runs_and_hands_over(instance: dg.DagsterInstance, database: Database) -> None:
    """A tick requests one run, which finds what was committed before and after its start."""
    (request,) = tick(instance)
    assert request.tags[CODE_TAG] == "v1"
    with psycopg.connect(
        **connect_args(database.url.render_as_string()), autocommit=True
    ) as connection:
        shop = shop_of(
            database, connection, PhotoStore(load_settings().resolved_store_url, fsync=False)
        )
        shop.put("1", "p1", seller="s-1")
        with ThreadPoolExecutor(1) as pool:
            run = pool.submit(
                REPOSITORY.get_job(DUPLICATES_JOB).execute_in_process,
                instance=instance,
                tags=request.tags,
                resources={"database": DatabaseResource()},
            )
            until(
                lambda: connection.execute("SELECT FROM lalafo.compared_ads").rowcount == 1,
                within_s=WITHIN_S,
            )
            assert tick(instance) == "1 of 1 fresh sessions"
            shop.put("2", "p1", seller="s-2")
            until(lambda: groups_of(database) == {("kg", "1"): frozenset("12")}, within_s=WITHIN_S)
            with worker_membership(
                database, load_settings(), LEASE, run_id="newer", code_version="v2"
            ) as successor:
                successor.ready()
                result = run.result(WITHIN_S)
    assert result.success
