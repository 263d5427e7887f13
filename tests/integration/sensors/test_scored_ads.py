"""The sensor `scored_ads` keeps one indexer, and the run that it requests works and hands over."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import dagster as dg
import psycopg
import pytest

from lalafo_assets.definitions import defs
from resources.dagster.names import CODE_TAG, INDEX_JOB
from resources.dagster.resources import DatabaseResource
from resources.postgres.database import Database
from resources.sessions.group.members import read_sessions
from resources.sessions.worker_group import worker_membership
from resources.settings import load_settings
from resources.vector_search.ad_vectors import LEASE
from tests.conftest import connect_args
from tests.support.vector_ads import seller_of
from tests.support.working_sessions import until

REPOSITORY = defs().get_repository_def()
SENSOR = REPOSITORY.get_sensor_def("scored_ads")


@pytest.fixture
def instance(database: Database, monkeypatch: pytest.MonkeyPatch) -> Iterator[dg.DagsterInstance]:
    monkeypatch.setenv("LALAFO_DATABASE_URL", database.url.render_as_string())
    monkeypatch.setenv("LALAFO_CODE_VERSION", "v1")
    monkeypatch.setenv("LALAFO_SIMILAR_ADS", "true")
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
    instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is started, and the reason names the setting."""
    monkeypatch.delenv("LALAFO_SIMILAR_ADS")
    assert tick(instance) == "LALAFO_SIMILAR_ADS is false"


def test_one_indexer_runs_and_hands_over(instance: dg.DagsterInstance, database: Database) -> None:
    """A tick requests one run; while it works, none; a successor of newer code replaces it."""
    (request,) = tick(instance)
    assert request.tags[CODE_TAG] == "v1"
    with psycopg.connect(
        **connect_args(database.url.render_as_string()), autocommit=True
    ) as connection:
        seller = seller_of(database, connection)
        seller.put("1")
        with ThreadPoolExecutor(1) as pool:
            run = pool.submit(
                REPOSITORY.get_job(INDEX_JOB).execute_in_process,
                instance=instance,
                tags=request.tags,
                resources={"database": DatabaseResource()},
            )
            until(lambda: _ready(connection))
            assert tick(instance) == "1 of 1 fresh sessions"
            with worker_membership(
                database, load_settings(), LEASE, run_id="newer", code_version="v2"
            ) as successor:
                successor.ready()
                assert run.result(20).success
                until(lambda: successor.changes() != [])
        assert [it.member.state for it in read_sessions(database, LEASE.topic).values()] == [
            *("leaving", "leaving"),
        ]


def _ready(connection: psycopg.Connection) -> bool:
    found = connection.execute("SELECT state FROM lalafo.vector_indexes").fetchall()
    return found == [("ready",)]
