"""`lalafo dlq`: inspect dead letters, and replay them once their cause is fixed.

Owns the options. `dlq_view.py` formats the output; `resources/kafka/dead_letter_replay.py` reads
and replays.
"""

import sys
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer
from rich.text import Text

from lalafo_assets.commands.console import (
    DEFAULT_HOME,
    AsJson,
    Home,
    new_console,
    open_database,
    print_json,
)
from lalafo_assets.commands.terminal.bars import new_bars
from lalafo_assets.commands.terminal.help_pages import LalafoCommand, LalafoGroup, help_page
from ops.errors import ConfigurationError, Reason

if TYPE_CHECKING:
    from resources.kafka.dead_letter_replay import DeadLetterFilter, DeadLetterRecord
    from resources.postgres.database import Database

dlq = typer.Typer(
    cls=LalafoGroup,
    help="Inspect and replay dead letters: events that could not be used, with their original "
    "bytes and the reason.",
    no_args_is_help=True,
)

OfReason = Annotated[
    str | None,
    typer.Option("--reason", help="Only dead letters with this reason, such as event_not_json."),
]
Since = Annotated[
    str | None,
    typer.Option(
        help="Only dead letters since then: a time span before now (90m, 36h, 7d), or an ISO date "
        "or time."
    ),
]


@dlq.command("list", cls=LalafoCommand)
@help_page(
    ("lalafo dlq list --since 24h", "of the last day, and how many of each reason"),
    ("lalafo dlq list --reason event_not_json", "of one reason"),
    ("lalafo dlq list --json | jq .counts", "for programs"),
    reads="PostgreSQL: the failures of events",
    writes="nothing",
    settings=("home", "database_url"),
)
def list_letters(
    reason: OfReason = None,
    since: Since = None,
    limit: Annotated[int, typer.Option(min=1, help="How many dead letters to list.")] = 50,
    as_json: AsJson = False,
    home: Home = DEFAULT_HOME,
) -> None:
    """List the newest dead letters, and count them by reason."""
    from lalafo_assets.commands.kafka.dlq_view import fields_of, print_letters
    from resources.kafka.dead_letter_replay import counts_by_reason, latest

    choice = _choice(reason, since)
    with closing(open_database(home)) as database:
        letters = latest(database, choice, limit)
        counts = counts_by_reason(database, choice)
    if as_json:
        listed = [fields_of(letter, with_original=False) for letter in letters]
        print_json({"counts": counts, "letters": listed})
        return
    print_letters(letters, counts, new_console())


@dlq.command("show", cls=LalafoCommand)
@help_page(
    ("lalafo dlq show ads/0/17", "the end of its subject is enough"),
    ("lalafo dlq show ads/0/17 --raw > event.json", "the original bytes"),
    reads="PostgreSQL: the failures of events",
    writes="nothing",
    settings=("home", "database_url"),
    failure="there is no such dead letter, or several match",
)
def show_letter(
    subject: Annotated[
        str,
        typer.Argument(
            help="The dead letter, as `list` prints it. The end of its subject, such as ads/0/17, "
            "is enough."
        ),
    ],
    as_json: AsJson = False,
    raw: Annotated[
        bool, typer.Option("--raw", help="Write only the original bytes, unchanged.")
    ] = False,
    home: Home = DEFAULT_HOME,
) -> None:
    """Show one dead letter: its reason, topic, partition and offset, its key and its bytes."""
    from lalafo_assets.commands.kafka.dlq_view import fields_of, print_letter
    from resources.kafka.dead_letter_replay import find

    with closing(open_database(home)) as database:
        letter = find(database, subject)
    if raw:
        sys.stdout.buffer.write(letter.value or b"")
        sys.stdout.flush()
    elif as_json:
        print_json(fields_of(letter, with_original=True))
    else:
        print_letter(letter, new_console())


@dlq.command("replay", cls=LalafoCommand)
@help_page(
    ("lalafo dlq replay ads/0/17", "one"),
    ("lalafo dlq replay --reason event_unknown_schema --dry-run", "what would be sent"),
    ("lalafo dlq replay --all --since 7d", "those of a week that were not replayed"),
    reads="PostgreSQL: the failures of events, with their original bytes",
    writes="Kafka: the topic of ads; PostgreSQL: when each was replayed",
    settings=("home", "database_url", "kafka_bootstrap", "ads_topic"),
    failure="a record could not be sent; it is listed",
)
def replay_letters(
    subjects: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="SUBJECT",
            help="The dead letters to replay, also those that were replayed before.",
        ),
    ] = None,
    reason: OfReason = None,
    since: Since = None,
    every: Annotated[bool, typer.Option("--all", help="Replay all dead letters.")] = False,
    again: Annotated[
        bool,
        typer.Option(
            "--again", help="With --reason or --all: include those that were replayed before."
        ),
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print what would be sent, and send nothing.")
    ] = False,
    home: Home = DEFAULT_HOME,
) -> None:
    """Send the original records to the topic `ads` again.

    Fix the cause first: a record that still can't be used becomes a new dead letter.
    """
    from resources.kafka.dead_letter_replay import chosen, counts_by_reason, find

    names = subjects or []
    if sum((len(names) > 0, reason is not None, every)) != 1:
        raise typer.BadParameter("expected exactly one of SUBJECTs, --reason and --all")
    if since is not None and names:
        raise typer.BadParameter("--since needs --reason or --all")
    choice = _choice(reason, since, unreplayed=not again)
    with closing(open_database(home)) as database:
        if names:
            found = {letter.subject: letter for letter in (find(database, n) for n in names)}
            chunks, total = iter([list(found.values())]), len(found)
        else:
            chunks, total = (
                chosen(database, choice),
                sum(counts_by_reason(database, choice).values()),
            )
        if dry_run:
            _print_only(chunks, total)
        else:
            _send(database, chunks, total)


def _print_only(chunks: "Iterator[list[DeadLetterRecord]]", total: int) -> None:
    console = new_console()
    for letters in chunks:
        for letter in letters:
            line = Text(f"would send {letter.subject} ({letter.reason})")
            console.print(line, soft_wrap=True)
    console.print(f"{total} dead letters; nothing was sent (--dry-run)", highlight=False)


def _send(database: "Database", chunks: "Iterator[list[DeadLetterRecord]]", total: int) -> None:
    from resources.kafka.dead_letter_replay import Replayed, replay
    from resources.kafka.topics import AdStream
    from resources.settings import load_settings

    total_result = Replayed()
    with (
        AdStream.from_settings(load_settings()) as stream,
        stream.publisher() as publisher,
        new_bars(new_console(stderr=True), transient=True) as progress,
    ):
        bar = progress.add_task("replaying", total=total)
        for letters in chunks:
            result = replay(database, publisher, stream.config.ads_topic, letters)
            total_result.sent += result.sent
            total_result.refused += result.refused
            progress.advance(bar, len(letters))
    console = new_console()
    for subject, why in total_result.refused:
        console.print(Text(f"not sent: {subject}: {why}"), soft_wrap=True)
    console.print(
        f"{total_result.sent} sent to {stream.config.ads_topic} again; an event that still can't "
        "be used becomes a new dead letter (`lalafo dlq list --since 5m`)",
        highlight=False,
    )
    if total_result.refused:
        raise typer.Exit(1)


def _choice(
    reason: str | None, since: str | None, *, unreplayed: bool = False
) -> "DeadLetterFilter":
    from lalafo_assets.commands.kafka.dlq_view import moment_of
    from resources.kafka.dead_letter_replay import DeadLetterFilter

    of_any = (Reason.INTERNAL_ERROR, Reason.QUARANTINED)
    known = [name for name in Reason if name.startswith("event_") or name in of_any]
    if reason is not None and reason not in known:
        raise typer.BadParameter(f"--reason {reason}: expected one of {', '.join(known)}")
    try:
        moment = None if since is None else moment_of(since, datetime.now(UTC))
    except ConfigurationError as error:
        raise typer.BadParameter(str(error)) from error
    return DeadLetterFilter(reason, moment, unreplayed)
