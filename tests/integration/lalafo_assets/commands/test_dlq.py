"""`lalafo dlq` on a real database and both brokers: look, mend, send again."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
from typer.testing import CliRunner, Result

from lalafo_assets.cli import app
from lalafo_assets.commands.dlq_view import moment_of, safe_text
from ops.errors import ConfigurationError, RetryableError
from resources.kafka.dead_letter_replay import Choice, chosen, replay
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
    """A dead letter's row, as the commit writes it; its subject."""
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
    """Rows by time, the newest first; the counts cover what the limit cuts off."""
    for offset in range(3):
        refuse(database, offset, at=NOON + timedelta(minutes=offset))
    refuse(database, 9, reason="event_not_json", at=NOON - timedelta(days=1))
    message = run("list", "--limit", "2")
    assert message.exit_code == 0, message.output
    assert message.output.index("ads/0/2 ") < message.output.index("ads/0/1 ")
    assert "ads/0/0 " not in message.output and "ads/0/9 " not in message.output
    assert "2 of 4 dead letters" in message.output
    lines = [line.split() for line in message.output.splitlines()]
    assert ["3", "event_unknown_schema"] in lines and ["1", "event_not_json"] in lines


def test_list_filters_by_reason_and_time(database: Database) -> None:
    """--reason and --since choose rows and counts alike; --json gives a line a letter."""
    refuse(database, 0, reason="event_not_json")
    refuse(database, 1)
    refuse(database, 2, at=NOON - timedelta(days=2))
    message = run("list", "--reason", "event_unknown_schema", "--since", "2026-05-01", "--json")
    assert [json.loads(line)["subject"] for line in message.output.splitlines()] == [subject(1)]


def test_an_unknown_reason_names_those_there_are() -> None:
    """A typo is no empty list."""
    message = run("list", "--reason", "event_nope")
    assert isinstance(message.exception, ConfigurationError)
    assert "event_not_json" in str(message.exception)


def test_show_tells_everything_and_harms_no_terminal(database: Database) -> None:
    """Binary bytes and escape sequences are written out; nothing of them is carried out."""
    refuse(database, 3, original=b'{"title": "\x1b[2J caf\xc3\xa9 [red]"}\xff\x00', key=b"\x07")
    message = run("show", "ads/0/3")
    assert message.exit_code == 0, message.output
    for part in ("event_unknown_schema", "schema is 2", "ads[0] at offset 3", "run-1", "never"):
        assert part in message.output
    assert r'{"title": "\x1b[2J café [red]"}\xff\x00' in message.output
    assert r"\x07" in message.output
    assert f"lalafo-replay-of: {subject(3)}" in message.output
    assert not {"\x1b", "\x00", "\x07"} & set(message.output)


def test_show_gives_programs_the_very_bytes(database: Database) -> None:
    """--raw is the original; --json carries it as base64, and as text where it is text."""
    refuse(database, 3, original=b"\xff\x00")
    assert run("show", subject(3), "--raw").stdout_bytes == b"\xff\x00"
    found = json.loads(run("show", subject(3), "--json").output)
    assert (found["original"], found["original_base64"]) == (None, "/wA=")


def test_what_is_not_there_or_not_one_is_named(database: Database) -> None:
    """No letter: how to list them. Several: which."""
    message = run("show", "ads/0/77")
    assert isinstance(message.exception, ConfigurationError)
    assert "lalafo dlq list" in str(message.exception)
    refuse(database, 3)
    with database.cursor() as cursor:
        cursor.execute(
            "INSERT INTO lalafo.failures (kind, subject, reason, detail, day, stream_id, topic, "
            "partition, \"offset\", run_id) VALUES ('event', 'other/ads/0/3', 'event_empty', '', "
            "now(), 'other', 'ads', 0, 3, '')"
        )
    assert "fits several" in str(run("show", "ads/0/3").exception)
    assert run("show", "other/ads/0/3").exit_code == 0


def test_a_replay_puts_the_original_back_on_the_topic(database: Database, stream: AdStream) -> None:
    """Value and key are the very bytes; the header names the letter; then the row says so."""
    original = b'{"schema": 2}\xff'
    refuse(database, 3, original=original, key=b"kg/7")
    refuse(database, 4)
    message = run("replay", "ads/0/3")
    assert message.exit_code == 0, message.output
    (record,) = everything_on(stream, stream.config.ads_topic)
    assert (record.key, record.value) == (b"kg/7", original)
    assert record.headers == (("lalafo-replay-of", subject(3).encode()),)
    assert replayed(database) == {subject(3)}
    assert "1 sent" in message.output


def test_a_reason_is_replayed_once_unless_asked_again(database: Database, stream: AdStream) -> None:
    """--reason takes those that nobody sent; --again takes all; another reason stays."""
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
    """It names what it would send."""
    refuse(database, 3)
    message = run("replay", "--all", "--dry-run")
    assert f"would send {subject(3)}" in message.output and "nothing was sent" in message.output
    assert everything_on(stream, stream.config.ads_topic) == []
    assert replayed(database) == set()


def test_a_letter_that_cannot_be_sent_is_told_and_stops_no_other(
    database: Database, stream: AdStream
) -> None:
    """An empty record and one too large with its header: named, status 1; the others are sent."""
    refuse(database, 1, original=None, reason="event_empty")
    refuse(database, 2, original=b"x" * (2**20 - 140))
    refuse(database, 3)
    message = run("replay", "--all")
    assert message.exit_code == 1
    assert "nothing to send again" in message.output and "larger than" in message.output
    assert replayed(database) == {subject(3)}
    assert len(everything_on(stream, stream.config.ads_topic)) == 1


def test_one_choice_is_needed() -> None:
    """Neither nothing nor two ways of choosing."""
    assert run("replay").exit_code == 2
    assert run("replay", "x", "--all").exit_code == 2


@pytest.mark.parametrize("broker", ["embedded"], indirect=True)
def test_what_nobody_acknowledged_is_not_called_replayed(
    database: Database, stream: AdStream, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A broker that is away: an error that names the setting, and the row stays as it was."""
    refuse(database, 3)
    with stream.publisher() as publisher:
        publisher.close()
        with pytest.raises(RetryableError, match="0 of 1 were sent"):
            replay(database, publisher, "ads", next(chosen(database, Choice())))
    monkeypatch.setenv("LALAFO_KAFKA_BOOTSTRAP", "127.0.0.1:9")
    message = run("replay", "--all")
    assert isinstance(message.exception, RetryableError)
    assert "LALAFO_KAFKA_BOOTSTRAP" in str(message.exception)
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
def test_since_is_a_span_or_a_moment(text: str, expected: datetime) -> None:
    """UTC throughout."""
    assert moment_of(text, NOON) == expected


@pytest.mark.parametrize("text", ["", "d", "7y", "-3d", "soon", "99999999999999w"])
def test_since_refuses_anything_else(text: str) -> None:
    """With the forms that it takes."""
    with pytest.raises(ConfigurationError, match="90m"):
        moment_of(text, NOON)


def test_long_bytes_are_cut_with_their_size() -> None:
    """A megabyte does not scroll by."""
    assert safe_text(b"x" * 10, limit=4) == "xxxx\n… and 6 characters more (--raw prints them)"
