"""The history over HTTP: promotions, re-scores, incidents and sessions, from the tables' rows."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gateway.edge.keys import make
from gateway.schemas.history import HistoryOut
from resources.postgres.database import Database
from tests.support.batches import put_test_release
from tests.support.read_catalogue import DAGSTER, Catalogue, problem, read_catalogue

OTHER = "tiny-000000000002"


@pytest.fixture
def catalogue(database: Database, tmp_path: Path) -> Iterator[Catalogue]:
    with read_catalogue(database, tmp_path) as catalogue:
        yield catalogue


def history(catalogue: Catalogue, minutes: int = 60) -> list[dict[str, Any]]:
    answer = catalogue.get("/v1/history", params={"minutes": minutes})
    assert answer.status_code == 200, answer.text
    HistoryOut.model_validate_json(answer.content)
    return list(answer.json()["changes"])


def add_session(
    catalogue: Catalogue, run: str, code: str, start: int, end: int, state: str
) -> None:
    """A session that ran from `start` to `end` minutes ago; below zero: it still runs."""
    catalogue.execute(
        "INSERT INTO lalafo.sessions (run_id, stream_id, topic, state, code_version, host, pid, "
        "metrics_url, backend_pid, backend_start, started_at, due_at, expires_at) VALUES "
        "(%s, 's', %s, %s, %s, 'h', 1, '', 1, now(), now() - make_interval(mins => %s), now(), "
        "now() - make_interval(mins => %s))",
        *(run, catalogue.settings.ads_topic, state, code, start, end),
    )


def test_every_kind_of_change_is_returned(catalogue: Catalogue) -> None:
    """Newest first, with links to the run or the release."""
    catalogue.execute("DELETE FROM lalafo.release_changes")
    put_test_release(catalogue.database, OTHER)
    catalogue.execute("UPDATE lalafo.release_changes SET changed_at = now() - interval '3 minutes'")
    catalogue.execute(
        "INSERT INTO lalafo.rescores (release, attempt, state, backfill_id, requested_by, any_time,"
        " started_at, finished_at) VALUES (%s, 2, 'done', 'b', 'p', true, "
        "now() - interval '20 minutes', now() - interval '10 minutes')",
        OTHER,
    )
    catalogue.execute(
        "INSERT INTO lalafo.failures (kind, subject, reason, detail, day, stream_id, topic, "
        "partition, \"offset\", run_id, failed_at) VALUES ('stream', 's/ads/0/7', "
        "'stream_offset_out_of_log', 'lost 3 records', '2026-05-01', 's', 'ads', 0, 7, 'run-9', "
        "now() - interval '5 minutes')"
    )
    add_session(catalogue, "run-1", "v1", 50, 40, "ready")
    add_session(catalogue, "run-2", "v2", 30, -1, "ready")
    found = history(catalogue)
    kinds = [change["kind"] for change in found]
    assert kinds[1:] == [
        *("incident", "rescore_finished", "rescore_started", "code_version"),
        *("session_died", "outage"),
    ]
    assert kinds[0] == "installed"
    by_kind = {change["kind"]: change for change in found}
    assert by_kind["incident"]["detail"] == "lost 3 records"
    assert by_kind["incident"]["run"] == {"id": "run-9", "url": f"{DAGSTER}/runs/run-9"}
    assert by_kind["rescore_finished"]["release"]["id"] == OTHER
    assert by_kind["code_version"]["title"] == "Code version v2"
    assert by_kind["outage"]["until"] is not None
    assert [change["kind"] for change in history(catalogue, minutes=7)] == kinds[:2]


def test_a_session_that_leaves_is_no_death(catalogue: Catalogue) -> None:
    """What is due to a session of another topic is not shown."""
    catalogue.execute("DELETE FROM lalafo.release_changes")
    add_session(catalogue, "run-1", "v1", 50, 5, "leaving")
    add_session(catalogue, "run-2", "v1", 6, -1, "ready")
    assert history(catalogue) == []


def test_a_key_for_some_catalogs_is_refused(catalogue: Catalogue) -> None:
    some = make(catalogue.database, "some", scopes=["read"], catalogs=["kg"]).text
    for path in ("/v1/history", "/v1/statistics"):
        assert problem(catalogue.get(path, key=some)) == (403, "other_catalog")
