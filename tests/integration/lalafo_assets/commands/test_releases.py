"""The release commands on a real database: what they do, what they refuse, and their messages."""

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from lalafo_assets.cli import app
from ops.errors import LalafoError
from ops.models.release import Release
from ops.training.gate import nothing_to_compare
from resources.postgres.database import Database
from resources.releases.active import read_active_releases
from resources.releases.coverage import read_coverage
from resources.releases.promotion import propose
from resources.releases.registry import RegisteredRelease, write_verdict
from resources.rescoring.attempts import latest, request
from resources.storage.releases import ReleaseStore
from tests.support.random_release import random_release
from tests.support.stored_days import FIRST, SECOND, THIRD, add_ads, judged, rows


@pytest.fixture
def home(tmp_path: Path, database: Database, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a home that uses the test's database, without Dagster and Kafka."""
    for name in ("DAGSTER_HOME", "LALAFO_KAFKA_BOOTSTRAP"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("LALAFO_HOME", str(tmp_path))
    monkeypatch.setenv("LALAFO_BACKGROUND_PRIORITY", "normal")  # re-scores are in this process
    monkeypatch.setenv("LALAFO_STORE_URL", str(tmp_path / "store"))
    monkeypatch.setenv("LALAFO_DATABASE_URL", database.url.render_as_string())
    monkeypatch.setenv("COLUMNS", "220")
    return tmp_path


@pytest.fixture
def first(home: Path, database: Database, release: Release) -> RegisteredRelease:
    """Install the live release, and add ads of three days that it has not scored."""
    source = home / "source"
    ReleaseStore(str(source)).save(release)
    assert "is live" in lalafo("releases", "install", str(source))
    live = read_active_releases(database).live
    add_ads(database, live, {FIRST: 4, SECOND: 3, THIRD: 2})
    return live


@pytest.fixture
def second(home: Path, database: Database, first: RegisteredRelease) -> RegisteredRelease:
    """Return a release that has passed the gate."""
    return judged(database, home, random_release(seed=1))


def run(*words: str) -> Result:
    return CliRunner().invoke(app, list(words))


def lalafo(*words: str) -> str:
    """Run a command that succeeds, and return its output."""
    result = run(*words)
    assert result.exit_code == 0, (result.output, result.exception)
    return str(result.output)


def refusal(*words: str) -> str:
    """Run a command that fails, and return its error message."""
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
    output = lalafo("releases", "install", str(other))
    assert f"lalafo releases check {name}" in output and f"lalafo rescore {name}" in output
    assert read_active_releases(database).live.name == first.name
    assert f"{name} is live" in lalafo("releases", "install", str(other), "--live")
    assert read_active_releases(database).live.name == name
    assert "already" in lalafo("releases", "install", str(other))


def test_a_release_is_rescored_compared_promoted_and_rolled_back(
    home: Path, database: Database, first: RegisteredRelease, second: RegisteredRelease
) -> None:
    """The whole lifecycle, without Dagster; each command prints the next step."""
    assert "every day is scored" in lalafo("rescore", "--in-process")  # live: no day was opened
    with database.cursor() as cursor:
        from resources.releases.coverage import open_days

        open_days(cursor, first.name)
    assert "every day is scored" in lalafo("rescore", first.name, "--in-process")
    assert rows(database, "SELECT count(*) FROM lalafo.predictions") == [(9,)]

    output = lalafo("rescore", second.name[:24], "--in-process")
    assert f"lalafo promote {second.name}" in output
    assert read_coverage(database, second.name).complete
    row = latest(database, second.name)
    assert row is not None and (row.state, row.requested_by) == (
        "done",
        "lalafo rescore --in-process",
    )
    assert "nothing to do" in lalafo("rescore")  # the candidate by default

    comparison = lalafo("diff")
    assert f"{first.name} → {second.name}" in comparison
    assert "of 9 ads change their label" in comparison

    output = lalafo("promote", second.name)
    assert f"{first.name} was live; {second.name} is live now" in output
    assert "lalafo promote --rollback" in output and "Kafka is unreachable" in output
    assert read_active_releases(database).live.name == second.name
    lalafo("promote", "--rollback")
    assert read_active_releases(database).live.name == first.name
    assert [(e["release"], e["instead_of"]) for e in promoted_events(database)] == [
        (second.name, first.name),
        (first.name, second.name),
    ]


def test_promotion_is_refused_while_days_are_unscored(
    home: Path, database: Database, second: RegisteredRelease
) -> None:
    """The error lists the days; --allow-partial promotes nevertheless and lists them too."""
    live = read_active_releases(database).live.name
    assert f"lalafo rescore {second.name}" in refusal("promote", second.name)  # no candidate yet
    propose(database, second.name)
    why = refusal("promote", second.name)
    assert "3 days" in why and "2026-03-01 to 2026-03-05" in why
    assert f"lalafo rescore {second.name}" in why and "--allow-partial" in why
    assert read_active_releases(database).live.name == live and promoted_events(database) == []
    output = lalafo("promote", second.name, "--allow-partial")
    assert "3 days are unscored" in output and "2026-03-01 to 2026-03-02, 2026-03-05" in output
    (event,) = promoted_events(database)
    assert event["unscored_days"] == ["2026-03-01", "2026-03-02", "2026-03-05"]
    assert run("promote").exit_code == 2
    assert run("promote", second.name, "--rollback").exit_code == 2


def test_a_refused_command_says_what_to_do(
    home: Path, database: Database, first: RegisteredRelease, second: RegisteredRelease
) -> None:
    """Without Dagster, with a release that failed the gate, with no previous release."""
    assert "--in-process" in refusal("rescore", second.name)
    assert latest(database, second.name) is None  # no re-score was requested
    assert "no release to roll back to" in refusal("promote", "--rollback")
    assert "no release named" in refusal("rescore", "nothing", "--in-process")
    assert "nothing to compare" in refusal("diff")
    bad = judged(database, home, random_release(seed=5), why="recall of 'lamp' fell")
    assert "recall of 'lamp' fell" in refusal("rescore", bad.name, "--in-process")
    row = latest(database, bad.name)
    assert row is not None and row.state == "cancelled"
    assert "no re-score" in refusal("rescore", second.name, "--cancel")
    assert "not a candidate" in refusal("releases", "withdraw", second.name)


def test_a_request_is_cancelled_and_a_candidate_withdrawn(
    home: Path, database: Database, second: RegisteredRelease
) -> None:
    """Cancelling keeps predictions; a cancelled release may be requested again."""
    request(database, second, requested_by="x", any_time=False)
    assert "is cancelled" in lalafo("rescore", second.name, "--cancel")
    request(database, second, requested_by="x", any_time=False)
    propose(database, second.name)
    assert "is withdrawn" in lalafo("releases", "withdraw", second.name)
    assert read_active_releases(database).candidate is None
    assert [row[0] for row in rows(database, "SELECT DISTINCT state FROM lalafo.rescores")] == [
        "cancelled"
    ]


def test_the_list_shows_the_state_of_each_release(
    home: Path, database: Database, first: RegisteredRelease, second: RegisteredRelease
) -> None:
    """With and without `list`: roles, results of the gate, days, re-scores."""
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
    output = lalafo("releases")
    assert output == lalafo("releases", "list")
    table, below = output.split("\n\n", 1)
    lines = {line.split()[0]: line.split() for line in table.splitlines()[2:]}
    assert lines[first.name][1:4] == ["live", "not", "checked"]
    assert lines[second.name][1:4] == ["candidate", "passed", "2/3"]
    assert (
        second.name in below and f"2/3, the rest unscored: `lalafo rescore {second.name}" in below
    )
    assert f"running ({row.backfill_id}), about 5 min left" in below


def test_the_list_is_one_json_document_for_programs(
    home: Path, database: Database, first: RegisteredRelease, second: RegisteredRelease
) -> None:
    """The same facts, with and without `list`, and nothing else on standard output."""
    propose(database, second.name)
    found = json.loads(lalafo("releases", "--json"))
    assert found == json.loads(lalafo("releases", "list", "--json"))
    facts = {row["name"]: (row["role"], row["gate"], row["days"]) for row in found}
    assert facts == {
        first.name: ("live", "not checked", 0),  # no day was open when it became live
        second.name: ("candidate", "passed", 3),
    }


@pytest.mark.parametrize("columns", [60, 80, 200])
def test_the_list_fits_the_terminal(
    home: Path,
    database: Database,
    second: RegisteredRelease,
    columns: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Names and commands whole, prose wrapped at its blanks."""
    monkeypatch.setenv("COLUMNS", str(columns))
    bad = judged(database, home, random_release(seed=5), why="recall of 'lamp' fell by 12 points")
    propose(database, second.name)
    output = lalafo("releases")
    for part in (bad.name, second.name, f"`lalafo rescore {second.name}`"):
        assert part in output
    assert "12 points" in " ".join(output.split()) and "…" not in output
    longest = len(f"  days  `lalafo rescore {second.name}`")
    assert max(map(len, output.splitlines())) <= max(columns, longest)


def test_a_gate_that_judged_nothing_is_not_passed(
    database: Database, first: RegisteredRelease, second: RegisteredRelease
) -> None:
    """Without a live release nothing was compared; what was not judged of a passed one is named."""
    at = datetime(2026, 3, 1, tzinfo=UTC)
    write_verdict(database, first.name, nothing_to_compare(first.name, judged_at=at).as_json())
    part = {"passed": True, "against": first.name, "why": [], "not_judged": ["recall"]}
    write_verdict(database, second.name, part)
    rows = {row["name"]: row for row in json.loads(lalafo("releases", "--json"))}
    assert rows[first.name]["gate"] == "not judged"
    assert rows[second.name]["gate"] == "passed"
    shown = lalafo("releases")
    assert "not judged: no release was live" in shown
    assert f"passed (recall not judged) against {first.name}" in shown


def test_a_photo_missing_from_the_store_is_reported(
    home: Path, database: Database, second: RegisteredRelease
) -> None:
    """A re-score that can't finish reports the reason, and is not marked as done."""
    with database.cursor() as cursor:
        cursor.execute(
            "DELETE FROM lalafo.embeddings WHERE sha256 IN "
            "(SELECT sha256 FROM lalafo.ad_photos WHERE ad_id = '0302-000')"
        )
    why = refusal("rescore", second.name, "--in-process")
    assert "1 days are still unscored" in why and "2026-03-02" in why and "1 photos" in why
    row = latest(database, second.name)
    assert row is not None and row.state == "cancelled"
    assert [d.isoformat() for d in read_coverage(database, second.name).unscored] == ["2026-03-02"]


def test_a_missing_dagster_home_is_named_and_costs_no_release(
    home: Path, release: Release, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The release is live; the report to Dagster is what failed, in one line."""
    source = home / "source"
    ReleaseStore(str(source)).save(release)
    monkeypatch.setenv("DAGSTER_HOME", str(home / "nowhere"))
    output = lalafo("releases", "install", str(source))
    assert "is live" in output and "DAGSTER_HOME=" in output
    assert "no such folder" in refusal("train"), "before it trains"
