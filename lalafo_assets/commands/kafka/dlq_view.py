"""The output of `lalafo dlq`: tables for people, the fields of JSON for programs.

Owns how arbitrary bytes are printed safely on a terminal. Does not read the database or Kafka.
"""

import base64
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta

from rich.console import Console
from rich.text import Text

from lalafo_assets.commands.terminal.tables import Col, print_facts, print_table
from ops.errors import ConfigurationError
from resources.kafka.dead_letter_replay import DeadLetterRecord

MAX_CHARS = 4_000
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


def moment_of(text: str, now: datetime) -> datetime:
    """Parse the value of `--since`: "90m", "36h" or "7d" before now, or an ISO date or time.

    A time without a zone is UTC.

    Raises:
        ConfigurationError: the text has none of these forms.
    """
    number, unit = text[:-1], text[-1:]
    try:
        if unit in _UNITS and number.isdecimal():
            return now - timedelta(**{_UNITS[unit]: int(number)})
        moment = datetime.fromisoformat(text)
    except (ValueError, OverflowError) as error:
        raise ConfigurationError(
            f"--since {text}: expected a time span before now such as 90m, 36h or 7d, or an ISO "
            "date or time such as 2026-05-01 or 2026-05-01T12:00"
        ) from error
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def safe_text(data: bytes, *, limit: int = MAX_CHARS) -> str:
    """Return bytes as text that is safe on a terminal: all but printable UTF-8 is escaped."""
    text = data.decode("utf-8", "backslashreplace")
    safe = "".join(
        char if char.isprintable() or char in "\n\t" else _escaped(char) for char in text[:limit]
    )
    remaining = len(text) - limit
    more = f"\n… and {remaining} characters more (--raw prints them)"
    return safe if remaining <= 0 else f"{safe}{more}"


def fields_of(letter: DeadLetterRecord, *, with_original: bool) -> dict[str, object]:
    """Return one dead letter as the fields of a JSON object.

    The original is given as text where it is UTF-8, and always as base64.
    """
    fields: dict[str, object] = {
        "subject": letter.subject,
        "reason": letter.reason,
        "detail": letter.detail,
        "failed_at": letter.failed_at.isoformat(),
        "topic": letter.topic,
        "partition": letter.partition,
        "offset": letter.offset,
        "run_id": letter.run_id,
        "replayed_at": None if letter.replayed_at is None else letter.replayed_at.isoformat(),
        "key": None if letter.key is None else safe_text(letter.key),
        "headers": letter.stored_headers or [],
        "bytes": None if letter.value is None else len(letter.value),
    }
    if with_original:
        fields["replay_headers"] = {
            name: value.decode("utf-8", "backslashreplace") for name, value in letter.replay_headers
        }
        fields["original"] = _utf8(letter.value)
        fields["original_base64"] = (
            None if letter.value is None else base64.b64encode(letter.value).decode()
        )
    return fields


def print_letters(
    letters: Sequence[DeadLetterRecord], counts: Mapping[str, int], console: Console
) -> None:
    """Print the letters, the newest first, and the total number for each reason."""
    # Only the end of the subject, without the long stream id: enough for `show` and `replay`.
    print_table(
        console,
        ("failed at, UTC", "subject", "reason", "key", "replayed, UTC", Col("detail", prose=True)),
        [
            (
                f"{letter.failed_at:%d %b %H:%M:%S}",
                f"{letter.topic}/{letter.partition}/{letter.offset}",
                letter.reason,
                _key(letter),
                "" if letter.replayed_at is None else f"{letter.replayed_at:%d %b %H:%M:%S}",
                safe_text(letter.detail.encode(), limit=160),
            )
            for letter in letters
        ],
    )
    total = sum(counts.values())
    console.print(f"{len(letters)} of {total} dead letters", highlight=False)
    for reason, count in counts.items():
        console.print(f"{count:>8}  {reason}", highlight=False)


def print_letter(letter: DeadLetterRecord, console: Console) -> None:
    """Print all fields of one dead letter, and its original bytes as text."""
    replayed = "never" if letter.replayed_at is None else f"{letter.replayed_at:%F %T} UTC"
    headers = "\n".join(_header(name, value) for name, value in letter.headers) or "none"
    sent = "\n".join(_header(name, value) for name, value in letter.replay_headers)
    size = "no value" if letter.value is None else f"{len(letter.value)} bytes"
    facts = (
        ("subject", letter.subject),
        ("reason", letter.reason),
        ("detail", safe_text(letter.detail.encode())),
        ("failed at", f"{letter.failed_at:%F %T} UTC, in Dagster run {letter.run_id}"),
        ("source", f"{letter.topic}[{letter.partition}] at offset {letter.offset}"),
        ("replayed", replayed),
        ("headers", headers),
        ("replay headers", sent),
        ("key", _key(letter)),
        ("original", size),
    )
    print_facts(console, facts)
    if letter.value is not None:
        console.print(Text(safe_text(letter.value)), soft_wrap=True)


def _key(letter: DeadLetterRecord) -> str:
    return "none" if letter.key is None else safe_text(letter.key, limit=80)


def _header(name: str, value: bytes | None) -> str:
    shown = "null" if value is None else safe_text(value, limit=200)
    return f"{safe_text(name.encode('utf-8', 'backslashreplace'), limit=200)}: {shown}"


def _utf8(value: bytes | None) -> str | None:
    try:
        return None if value is None else value.decode()
    except UnicodeDecodeError:
        return None


def _escaped(char: str) -> str:
    return char.encode("unicode_escape").decode()
