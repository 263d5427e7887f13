"""Commands that only look write nothing: not into PostgreSQL, Dagster, the topics or the home."""

import uuid
from pathlib import Path

import dagster as dg
import pytest
from typer.testing import CliRunner

from lalafo_assets.cli import app
from ops.models.release import Release
from resources.embedded.broker import EmbeddedBroker
from resources.kafka.topics import AdStream
from resources.postgres.database import Database
from resources.releases.promotion import make_live, promote, propose
from resources.settings import load_settings
from tests.support.gateway_place import Place
from tests.support.random_release import random_release
from tests.support.stored_days import FIRST, add_ads, add_prediction, judged, known, rows

LOOKS = [
    "diff",
    "dlq list",
    "doctor",
    "keys list",
    "releases",
    "releases list",
    "results",
    "results kg/0301-000",
    "results --json",
    "topics",
]


@pytest.fixture
def home(
    database: Database,
    embedded_broker: EmbeddedBroker,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Path:
    """A home with PostgreSQL, a broker and a Dagster instance."""
    for name, value in embedded_broker.exports().items():
        monkeypatch.setenv(name, value)
    topic = f"ads-{uuid.uuid4().hex[:8]}"
    monkeypatch.setenv("LALAFO_ADS_TOPIC", topic)
    monkeypatch.setenv("LALAFO_DLQ_TOPIC", f"{topic}.dlq")
    monkeypatch.setenv("LALAFO_HOME", str(tmp_path))
    monkeypatch.setenv("LALAFO_STORE_URL", str(tmp_path / "store"))
    monkeypatch.setenv("LALAFO_DATABASE_URL", database.url.render_as_string())
    (tmp_path / "dagster").mkdir()
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path / "dagster"))
    with AdStream.from_settings(load_settings()) as stream:
        stream.ensure_topics()
    with dg.DagsterInstance.get():  # creates its tables
        pass
    return tmp_path


@pytest.fixture
def promoted(home: Path, database: Database, release: Release) -> None:
    """A live release, the one before it, and an ad that both have scored."""
    first = known(database, home, release)
    make_live(database, first.name)
    add_ads(database, first, {FIRST: 1})
    second = judged(database, home, random_release(seed=1))
    propose(database, second.name)
    for name, label in ((first.name, "chair"), (second.name, "lamp")):
        add_prediction(database, name, "0301-000", label, 0.9)
    promote(database, second.name, scored_topic="ads.scored", allow_partial=True)


def state(home: Path, database: Database) -> dict[str, object]:
    """Everything that a command could have written."""
    found: dict[str, object] = {}
    tables = rows(
        database, "SELECT tablename FROM pg_tables WHERE schemaname = 'lalafo' ORDER BY 1"
    )
    for (table,) in tables:
        found[f"table {table}"] = rows(
            database, f"SELECT t::text, xmin::text FROM lalafo.{table} t ORDER BY 1"
        )
    with dg.DagsterInstance.get() as instance:
        found["events"] = instance.event_log_storage.get_maximum_record_id()
        found["assets"] = sorted(key.to_user_string() for key in instance.all_asset_keys())
        found["runs"] = instance.get_runs_count()
    with AdStream.from_settings(load_settings()) as stream:
        found["log"] = stream.end_offsets()
    found["files"] = sorted(
        str(path.relative_to(home))
        for path in home.rglob("*")
        if "dagster" not in path.relative_to(home).parts and "__pycache__" not in path.parts
    )
    return found


def test_a_look_writes_nothing(home: Path, database: Database, promoted: None) -> None:
    """`diff` too, where there is no candidate: it shows what the last promotion changed."""
    before = state(home, database)
    output = {}
    for command in LOOKS:
        ended = CliRunner().invoke(app, command.split(" "))
        assert ended.exception is None, (command, ended.output, ended.exception)
        assert state(home, database) == before, command
        output[command] = ended.output
    assert "this is what the last promotion changed" in output["diff"]
    assert "1 of 1 ads change their label" in output["diff"]


def test_a_look_at_the_statistics_writes_nothing(place: Place) -> None:
    """The gateway computes them; it stores nothing for it."""
    tables = place.live.rows("SELECT tablename FROM pg_tables WHERE schemaname = 'lalafo'")
    count = " UNION ALL ".join(
        f"SELECT '{table}', count(*), max(xmin::text::bigint) FROM lalafo.{table}"
        for (table,) in tables
        # Renewed; written by a session that starts; when a key was used.
        if table not in ("sessions", "leases", "tasks", "api_keys")
    )
    before = place.live.rows(count)
    ended = CliRunner().invoke(
        app, ["stats", "--gateway", place.url], env={"LALAFO_GATEWAY_KEY": place.key}
    )
    assert ended.exit_code == 0, (ended.output, ended.exception)
    assert place.live.rows(count) == before
