"""`lalafo results`: which release is live, and numbers as every other answer has them."""

import json
from collections.abc import Iterator
from dataclasses import replace

import psycopg
import pytest
from typer.testing import CliRunner

from lalafo_assets.cli import app
from ops.events.scored import scored_event
from ops.types import Prediction
from resources.postgres.database import Database
from resources.releases.promotion import make_live
from resources.releases.registry import RegisteredRelease, register
from resources.sessions.commits.commit import Holder, ResultWriter
from resources.sessions.group.leases import Leases
from tests.conftest import connect_args
from tests.support.batches import BACKBONE, RELEASE, batch, event, outcome, put_test_release

OLD = "tiny-000000000002"
SCORES = {"top": [["chair", 0.971235], ["lamp", 0.000001]]}


@pytest.fixture
def scored(
    database: Database, tmp_path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[Database, bytes]]:
    """An ad that two releases have scored, and its event on `ads.scored`."""
    put_test_release(database)
    register(database, RegisteredRelease(OLD, "0" * 64, BACKBONE, {"metrics": {}}))
    make_live(database, RELEASE)
    with psycopg.connect(
        **connect_args(database.url.render_as_string()), autocommit=True
    ) as connection:
        Leases("stream", "ads", "run-1", 60).acquire(connection, [0])
        ad = replace(
            outcome(event("[red]a/b")),
            predictions={RELEASE: (Prediction("category", "chair", 0.971235, SCORES),)},
        )
        writer = ResultWriter(database, Holder("run-1", "stream", "ads", "ads.scored"))
        writer.commit(batch(ad), {0: 1})
    with database.cursor() as cursor:
        cursor.execute(
            "INSERT INTO lalafo.predictions (catalog, ad_id, task, revision, day, label, score, "
            "details, release, run_id) SELECT catalog, ad_id, task, revision, day, 'lamp', score, "
            "details, %s, run_id FROM lalafo.predictions",
            (OLD,),
        )
    monkeypatch.setenv("LALAFO_HOME", str(tmp_path))
    monkeypatch.setenv("LALAFO_DATABASE_URL", database.url.render_as_string())
    monkeypatch.setenv("COLUMNS", "200")
    yield database, scored_event(ad, live=RELEASE, run_id="run-1")


def results(*args: str) -> str:
    done = CliRunner().invoke(app, ["results", *args])
    assert done.exit_code == 0, done.output
    return done.output


def test_the_live_release_is_marked_and_first(scored: tuple[Database, bytes]) -> None:
    """In the list and for one ad; ids are printed as they are."""
    assert f"predicted by {RELEASE}, which is live" in results()
    shown = results("kg/[red]a/b")
    assert "kg/[red]a/b" in shown
    assert f"by {RELEASE} (live)" in shown
    assert f"by {OLD} (superseded)" in shown
    assert shown.index(RELEASE) < shown.index(OLD)


def test_a_score_has_the_same_digits_everywhere(scored: tuple[Database, bytes]) -> None:
    """In `ads.scored`, in the JSON of the list and of an ad."""
    _, published = scored
    (listed,) = json.loads(results("--json"))
    shown = json.loads(results("kg/[red]a/b", "--json"))
    assert '"score":0.971235' in published.decode() and listed["score"] == 0.971235
    assert [(it["release"], it["state"], it["score"]) for it in shown["predictions"]] == [
        (RELEASE, "live", 0.971235),
        (OLD, "superseded", 0.971235),
    ]
    assert shown["predictions"][0]["details"] == SCORES
    assert "\n" not in results("kg/[red]a/b", "--json").strip()
