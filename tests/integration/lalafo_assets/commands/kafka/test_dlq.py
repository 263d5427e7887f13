"""`lalafo dlq` on a real database and both brokers: list, show and replay."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
from typer.testing import CliRunner, Result

from lalafo_assets.cli import app
from lalafo_assets.commands.kafka.dlq_view import moment_of, safe_text
from ops.errors import ConfigurationError, RetryableError
from resources.kafka.dead_letter_replay import DeadLetterFilter, chosen, replay
from resources.kafka.topics import AdStream
from resources.postgres.database import Database
from tests.conftest import BrokerUnderTest
from tests.support.topic_records import everything_on

STREAM = "cluster:topic-id"
NOON = datetime(2026, 5, 1, 12, tzinfo=UTC)


def subject(offset: int) -> str:
    return f"{STREAM}/ads/0/{offset}"


def refuse(
    database: Database,
    offset: int,
    *,
    original: bytes | None = b"{}",
    key: bytes | None = b"kg/1",
    reason: str = "event_unknown_schema",
    at: datetime = NOON,
) -> str:
    """Insert a dead letter as a commit does, and return its subject."""
    with database.cursor() as cursor:
        cursor.execute(
            "INSERT INTO lalafo.failures (kind, subject, reason, detail, day, stream_id, topic, "
            'partition, "offset", original, original_key, run_id, failed_at) VALUES '
            "('event', %s, %s, 'schema is 2, expected 1', %s, %s, 'ads', 0, %s, %s, %s, 'run-1', "
            "%s)",
            (subject(offset), reason, at.date(), STREAM, offset, original, key, at),
        )
    return subject(offset)


def replayed(database: Database) -> set[str]:
    with database.cursor() as cursor:
        cursor.execute("SELECT subject FROM lalafo.failures WHERE replayed_at IS NOT NULL")
        return {name for (name,) in cursor.fetchall()}


def run(*args: str) -> Result:
    return CliRunner().invoke(app, ["dlq", *args])


@pytest.fixture(autouse=True)
def environment(database: Database, tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LALAFO_HOME", str(tmp_path))
    monkeypatch.setenv("LALAFO_DATABASE_URL", database.url.render_as_string())
    monkeypatch.setenv("COLUMNS", "200")


@pytest.fixture
def stream(broker: BrokerUnderTest, monkeypatch: pytest.MonkeyPatch) -> Iterator[AdStream]:
    settings = broker.settings()
    for name in ("ads_topic", "dlq_topic", "kafka_bootstrap", "kafka_api_version"):
        monkeypatch.setenv(f"LALAFO_{name.upper()}", getattr(settings, name))
    with AdStream.from_settings(settings) as stream:
        stream.ensure_topics(partitions=2)
        yield stream


def test_list_shows_the_newest_and_counts_by_reason(database: Database) -> None:
    """Rows by time, the newest first; the counts include the rows beyond the limit."""
    for offset in range(3):
        refuse(database, offset, at=NOON + timedelta(minutes=offset))
    refuse(database, 9, reason="event_not_json", at=NOON - timedelta(days=1))
    result = run("list", "--limit", "2")
    assert result.exit_code == 0, result.output
    assert result.output.index("ads/0/2 ") < result.output.index("ads/0/1 ")
    assert "ads/0/0 " not in result.output and "ads/0/9 " not in result.output
    assert "2 of 4 dead letters" in result.output
    lines = [line.split() for line in result.output.splitlines()]
    assert ["3", "event_unknown_schema"] in lines and ["1", "event_not_json"] in lines


def test_list_filters_by_reason_and_time(database: Database) -> None:
    """--reason and --since filter both rows and counts; --json has both in one document."""
    refuse(database, 0, reason="event_not_json")
    refuse(database, 1)
    refuse(database, 2, at=NOON - timedelta(days=2))
    result = run("list", "--reason", "event_unknown_schema", "--since", "2026-05-01", "--json")
    found = json.loads(result.output)
    assert [letter["subject"] for letter in found["letters"]] == [subject(1)]
    assert found["counts"] == {"event_unknown_schema": 1}


def test_an_unknown_reason_is_refused_with_the_known_ones() -> None:
    """A typo does not give an empty list."""
    result = run("list", "--reason", "event_nope")
    assert result.exit_code == 2 and "event_not_json" in result.output


def test_show_prints_everything_and_is_safe_on_a_terminal(database: Database) -> None:
    """Binary bytes and escape sequences are printed in escaped form."""
    refuse(database, 3, original=b'{"title": "\x1b[2J caf\xc3\xa9 [red]"}\xff\x00', key=b"\x07")
    result = run("show", "ads/0/3")
    assert result.exit_code == 0, result.output
    for part in ("event_unknown_schema", "schema is 2", "ads[0] at offset 3", "run-1", "never"):
        assert part in result.output
    assert r'{"title": "\x1b[2J café [red]"}\xff\x00' in result.output
    assert r"\x07" in result.output
    assert f"lalafo-replay-of: {subject(3)}" in result.output
    assert not {"\x1b", "\x00", "\x07"} & set(result.output)


def test_show_gives_programs_the_original_bytes(database: Database) -> None:
    """--raw writes the original; --json has it as base64, and as text if it is UTF-8."""
    refuse(database, 3, original=b"\xff\x00")
    assert run("show", subject(3), "--raw").stdout_bytes == b"\xff\x00"
    found = json.loads(run("show", subject(3), "--json").output)
    assert (found["original"], found["original_base64"]) == (None, "/wA=")


def test_a_missing_or_ambiguous_subject_is_an_error(database: Database) -> None:
    """No match: the error names the command that lists letters. Several: the error says so."""
    result = run("show", "ads/0/77")
    assert isinstance(result.exception, ConfigurationError)
    assert "lalafo dlq list" in str(result.exception)
    refuse(database, 3)
    with database.cursor() as cursor:
        cursor.execute(
            "INSERT INTO lalafo.failures (kind, subject, reason, detail, day, stream_id, topic, "
            "partition, \"offset\", run_id) VALUES ('event', 'other/ads/0/3', 'event_empty', '', "
            "now(), 'other', 'ads', 0, 3, '')"
        )
    assert "matches several" in str(run("show", "ads/0/3").exception)
    assert run("show", "other/ads/0/3").exit_code == 0


def test_a_replay_puts_the_original_back_on_the_topic(database: Database, stream: AdStream) -> None:
    """Value and key are the original bytes, a header names the letter, and its row is marked."""
    original = b'{"schema": 2}\xff'
    refuse(database, 3, original=original, key=b"kg/7")
    refuse(database, 4)
    result = run("replay", "ads/0/3")
    assert result.exit_code == 0, result.output
    (record,) = everything_on(stream, stream.config.ads_topic)
    assert (record.key, record.value) == (b"kg/7", original)
    assert record.headers == (("lalafo-replay-of", subject(3).encode()),)
    assert replayed(database) == {subject(3)}
    assert "1 sent" in result.output


def test_a_replay_restores_the_headers(database: Database, stream: AdStream) -> None:
    """Those of the original, in order, and the one that names the letter; `show` prints them."""
    refuse(database, 3)
    stored = '[["a", "1"], ["a", {"base64": "/wA="}], ["\\u001b", null]]'
    with database.cursor() as cursor:
        cursor.execute("UPDATE lalafo.failures SET original_headers = %s", (stored,))
    shown = run("show", "ads/0/3").output
    assert r"a: \xff\x00" in shown and r"\x1b: null" in shown and "\x1b" not in shown
    assert json.loads(run("show", "ads/0/3", "--json").output)["headers"] == json.loads(stored)
    assert run("replay", "ads/0/3").exit_code == 0
    (record,) = everything_on(stream, stream.config.ads_topic)
    assert record.headers == (
        *(("a", b"1"), ("a", b"\xff\x00"), ("\x1b", b"")),
        ("lalafo-replay-of", subject(3).encode()),
    )


def test_a_reason_is_replayed_once_unless_asked_again(database: Database, stream: AdStream) -> None:
    """--reason skips letters that were replayed; --again includes them; other reasons stay."""
    for offset in range(250):  # more than a chunk
        refuse(database, offset, original=b"%d" % offset)
    refuse(database, 999, reason="event_not_json")
    assert "250 sent" in run("replay", "--reason", "event_unknown_schema").output
    found = everything_on(stream, stream.config.ads_topic)
    assert sorted(int(r.value or b"-1") for r in found) == list(range(250))
    assert "0 sent" in run("replay", "--reason", "event_unknown_schema").output
    assert "1 sent" in run("replay", "--all").output
    assert "251 sent" in run("replay", "--all", "--again").output
    assert len(everything_on(stream, stream.config.ads_topic)) == 250 + 1 + 251
    assert len(replayed(database)) == 251


def test_a_dry_run_sends_nothing(database: Database, stream: AdStream) -> None:
    """It lists what it would send."""
    refuse(database, 3)
    result = run("replay", "--all", "--dry-run")
    assert f"would send {subject(3)}" in result.output and "nothing was sent" in result.output
    assert everything_on(stream, stream.config.ads_topic) == []
    assert replayed(database) == set()


def test_a_letter_that_cannot_be_sent_is_reported_and_stops_no_other(
    database: Database, stream: AdStream
) -> None:
    """An empty record and one too large with its header are listed, with status 1."""
    refuse(database, 1, original=None, reason="event_empty")
    refuse(database, 2, original=b"x" * (2**20 - 140))
    refuse(database, 3)
    result = run("replay", "--all")
    assert result.exit_code == 1
    assert "nothing to send again" in result.output and "larger than" in result.output
    assert replayed(database) == {subject(3)}
    assert len(everything_on(stream, stream.config.ads_topic)) == 1


def test_exactly_one_selection_is_required() -> None:
    """Neither no selection nor two are accepted."""
    assert run("replay").exit_code == 2
    assert run("replay", "x", "--all").exit_code == 2


@pytest.mark.parametrize("broker", ["embedded"], indirect=True)
def test_an_unacknowledged_letter_is_not_marked_as_replayed(
    database: Database, stream: AdStream, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An unreachable broker: the error names the setting, and the row stays as it was."""
    refuse(database, 3)
    with stream.publisher() as publisher:
        publisher.close()
        with pytest.raises(RetryableError, match="0 of 1 dead letters were replayed"):
            replay(database, publisher, "ads", next(chosen(database, DeadLetterFilter())))
    monkeypatch.setenv("LALAFO_KAFKA_BOOTSTRAP", "127.0.0.1:9")
    result = run("replay", "--all")
    assert isinstance(result.exception, RetryableError)
    assert "LALAFO_KAFKA_BOOTSTRAP" in str(result.exception)
    assert replayed(database) == set()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("90m", NOON - timedelta(minutes=90)),
        ("36h", NOON - timedelta(hours=36)),
        ("7d", NOON - timedelta(days=7)),
        ("2026-04-30", datetime(2026, 4, 30, tzinfo=UTC)),
        ("2026-04-30T10:00+02:00", datetime(2026, 4, 30, 8, tzinfo=UTC)),
    ],
)
def test_since_is_a_time_span_or_a_date(text: str, expected: datetime) -> None:
    """The result is always in UTC."""
    assert moment_of(text, NOON) == expected


@pytest.mark.parametrize("text", ["", "d", "7y", "-3d", "soon", "99999999999999w"])
def test_since_refuses_anything_else(text: str) -> None:
    """The error lists the accepted forms."""
    with pytest.raises(ConfigurationError, match="90m"):
        moment_of(text, NOON)


def test_long_bytes_are_cut_with_their_size() -> None:
    """A large original does not flood the terminal."""
    assert safe_text(b"x" * 10, limit=4) == "xxxx\n… and 6 characters more (--raw prints them)"
