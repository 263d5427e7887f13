"""The commands of releases on a real database: what they do, refuse and say."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from lalafo_assets.cli import app
from ops.errors import LalafoError
from ops.models.release import Release
from resources.postgres.database import Database
from resources.releases.active import propose, read_active_releases
from resources.releases.coverage import read_coverage
from resources.releases.registry import RegisteredRelease
from resources.rescoring.attempts import latest, request
from resources.storage.releases import ReleaseStore
from tests.support.random_release import random_release
from tests.support.stored_days import FIRST, SECOND, THIRD, add_ads, judged, rows


@pytest.fixture
def home(tmp_path: Path, database: Database, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home whose database is the test's, without Dagster and Kafka."""
    for name in ("DAGSTER_HOME", "LALAFO_KAFKA_BOOTSTRAP"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("LALAFO_HOME", str(tmp_path))
    monkeypatch.setenv("LALAFO_STORE_URL", str(tmp_path / "store"))
    monkeypatch.setenv("LALAFO_DATABASE_URL", database.url.render_as_string())
    monkeypatch.setenv("COLUMNS", "220")
    return tmp_path


@pytest.fixture
def first(home: Path, database: Database, release: Release) -> RegisteredRelease:
    """The live release, as `install` made it so, and ads of three days that it owes."""
    elsewhere = home / "elsewhere"
    ReleaseStore(str(elsewhere)).save(release)
    assert "is live" in lalafo("releases", "install", str(elsewhere))
    live = read_active_releases(database).live
    add_ads(database, live, {FIRST: 4, SECOND: 3, THIRD: 2})
    return live


@pytest.fixture
def second(home: Path, database: Database, first: RegisteredRelease) -> RegisteredRelease:
    """A release that has passed its gate."""
    return judged(database, home, random_release(seed=1))


def run(*words: str) -> Result:
    return CliRunner().invoke(app, list(words))


def lalafo(*words: str) -> str:
    """What a command says that succeeds."""
    result = run(*words)
    assert result.exit_code == 0, (result.output, result.exception)
    return str(result.output)


def refusal(*words: str) -> str:
    """The one line of one that fails."""
    result = run(*words)
    assert isinstance(result.exception, LalafoError), (result.output, result.exception)
    return str(result.exception)


def promoted_events(database: Database) -> list[dict]:
    found = rows(
        database, "SELECT value FROM lalafo.outbox WHERE key = 'release_promoted' ORDER BY id"
    )
    return [json.loads(row[0]) for row in found]


def test_a_later_release_is_only_installed(
    home: Path, database: Database, first: RegisteredRelease
) -> None:
    """The next steps are printed; --live skips them."""
    other = home / "other"
    name = ReleaseStore(str(other)).save(random_release(seed=3)).name
    said = lalafo("releases", "install", str(other))
    assert f"lalafo releases check {name}" in said and f"lalafo rescore {name}" in said
    assert read_active_releases(database).live.name == first.name
    assert f"{name} is live" in lalafo("releases", "install", str(other), "--live")
    assert read_active_releases(database).live.name == name
    assert "already" in lalafo("releases", "install", str(other))


def test_a_catalogue_is_scored_here_compared_promoted_and_taken_back(
    home: Path, database: Database, first: RegisteredRelease, second: RegisteredRelease
) -> None:
    """The whole way, without Dagster; each command says what comes next."""
    assert "every day is scored" in lalafo("rescore", "--here")  # the live one: opened by nobody
    with database.cursor() as cursor:
        from resources.releases.coverage import open_days

        open_days(cursor, first.name)
    assert "every day is scored" in lalafo("rescore", first.name, "--here")
    assert rows(database, "SELECT count(*) FROM lalafo.predictions") == [(9,)]

    said = lalafo("rescore", second.name[:24], "--here")
    assert f"lalafo promote {second.name}" in said
    assert read_coverage(database, second.name).complete
    row = latest(database, second.name)
    assert row is not None and (row.state, row.requested_by) == ("done", "lalafo rescore --here")
    assert "nothing to do" in lalafo("rescore")  # the candidate, where there is one

    compared = lalafo("diff")
    assert f"{first.name} → {second.name}" in compared and "of 9 ads change their label" in compared

    said = lalafo("promote", second.name)
    assert f"{first.name} was live; {second.name} is live now" in said
    assert "lalafo promote --rollback" in said and "Kafka is out of reach" in said
    assert read_active_releases(database).live.name == second.name
    lalafo("promote", "--rollback")
    assert read_active_releases(database).live.name == first.name
    assert [(e["release"], e["instead_of"]) for e in promoted_events(database)] == [
        (second.name, first.name),
        (first.name, second.name),
    ]


def test_promotion_is_refused_while_days_are_owed(
    home: Path, database: Database, second: RegisteredRelease
) -> None:
    """The days are named; --allow-partial flips all the same and names them."""
    live = read_active_releases(database).live.name
    assert f"lalafo rescore {second.name}" in refusal("promote", second.name)  # no candidate yet
    propose(database, second.name)
    why = refusal("promote", second.name)
    assert "3 days" in why and "2026-03-01 to 2026-03-05" in why
    assert f"lalafo rescore {second.name}" in why and "--allow-partial" in why
    assert read_active_releases(database).live.name == live and promoted_events(database) == []
    said = lalafo("promote", second.name, "--allow-partial")
    assert "3 days are owed" in said and "2026-03-01 to 2026-03-02, 2026-03-05" in said
    (event,) = promoted_events(database)
    assert event["unscored_days"] == ["2026-03-01", "2026-03-02", "2026-03-05"]
    assert run("promote").exit_code == 2
    assert run("promote", second.name, "--rollback").exit_code == 2


def test_what_can_not_go_on_says_what_to_do(
    home: Path, database: Database, first: RegisteredRelease, second: RegisteredRelease
) -> None:
    """Without Dagster, with a release that was refused, with nothing to go back to."""
    assert "--here" in refusal("rescore", second.name)
    assert latest(database, second.name) is None  # nothing was asked for
    assert "no release to go back to" in refusal("promote", "--rollback")
    assert "no release named" in refusal("rescore", "nothing", "--here")
    assert "nothing to compare" in refusal("diff")
    bad = judged(database, home, random_release(seed=5), why="recall of 'lamp' fell")
    assert "recall of 'lamp' fell" in refusal("rescore", bad.name, "--here")
    row = latest(database, bad.name)
    assert row is not None and row.state == "cancelled"
    assert "no re-score" in refusal("rescore", second.name, "--cancel")
    assert "no candidate" in refusal("releases", "withdraw", second.name)


def test_a_request_is_cancelled_and_a_candidate_withdrawn(
    home: Path, database: Database, second: RegisteredRelease
) -> None:
    """What is scored stays; a withdrawn release may be proposed again."""
    request(database, second, requested_by="x", any_time=False)
    assert "is ended" in lalafo("rescore", second.name, "--cancel")
    request(database, second, requested_by="x", any_time=False)
    propose(database, second.name)
    assert "scored no longer" in lalafo("releases", "withdraw", second.name)
    assert read_active_releases(database).candidate is None
    assert [row[0] for row in rows(database, "SELECT DISTINCT state FROM lalafo.rescores")] == [
        "cancelled"
    ]


def test_the_list_says_where_each_release_stands(
    home: Path, database: Database, first: RegisteredRelease, second: RegisteredRelease
) -> None:
    """Bare and as `list`: roles, the gate's word, days, the re-score."""
    propose(database, second.name)
    row = request(database, second, requested_by="x", any_time=True)
    with database.cursor() as cursor:
        cursor.execute(
            "UPDATE lalafo.rescores SET state = 'running', "
            "started_at = now() - interval '10 minutes'"
        )
        cursor.execute(
            "UPDATE lalafo.release_days SET completed_at = now() WHERE day <> %s", (THIRD,)
        )
    said = lalafo("releases")
    assert said == lalafo("releases", "list")
    lines = {
        name: line
        for line in said.splitlines()
        for name in (first.name, second.name)
        if line.startswith(f"│ {name} ")
    }
    assert "live" in lines[first.name]
    mine = lines[second.name]
    assert "candidate" in mine and "passed" in mine and "2/3, the rest owed" in mine
    assert f"running ({row.backfill_id}), about 5 min left" in mine


def test_a_photo_missing_from_the_store_is_told(
    home: Path, database: Database, second: RegisteredRelease
) -> None:
    """A re-score that can't finish says why, and is not called done."""
    with database.cursor() as cursor:
        cursor.execute(
            "DELETE FROM lalafo.embeddings WHERE sha256 IN "
            "(SELECT sha256 FROM lalafo.ad_photos WHERE ad_id = '0302-000')"
        )
    why = refusal("rescore", second.name, "--here")
    assert "1 days are still owed" in why and "2026-03-02" in why and "1 photos" in why
    row = latest(database, second.name)
    assert row is not None and row.state == "cancelled"
    assert [d.isoformat() for d in read_coverage(database, second.name).unscored] == ["2026-03-02"]
