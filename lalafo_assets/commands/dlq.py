"""`lalafo dlq`: look at dead letters, and send them again once what was wrong is mended.

Decides options and words; what is printed is `dlq.py`'s, what is sent `resources`'.
"""

import sys
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from lalafo_assets.commands.console import DEFAULT_HOME, Home, new_console, open_database
from ops.errors import ConfigurationError, Reason

if TYPE_CHECKING:
    from resources.kafka.dead_letter_replay import Choice, DeadLetterRecord
    from resources.postgres.database import Database

dlq = typer.Typer(
    help="Dead letters: events that could not be used, with the original bytes and the reason.",
    no_args_is_help=True,
)

OfReason = Annotated[
    str | None, typer.Option("--reason", help="Only of this reason, such as event_not_json.")
]
Since = Annotated[
    str | None, typer.Option(help="Only from then on: 90m, 36h, 7d ago, or an ISO date or time.")
]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON object a line.")]


@dlq.command("list")
def list_letters(
    reason: OfReason = None,
    since: Since = None,
    limit: Annotated[int, typer.Option(min=1, help="The newest so many.")] = 50,
    as_json: AsJson = False,
    home: Home = DEFAULT_HOME,
) -> None:
    """The newest dead letters, and how many there are of each reason."""
    from lalafo_assets.commands.dlq_view import as_json as line
    from lalafo_assets.commands.dlq_view import print_letters
    from resources.kafka.dead_letter_replay import counts_by_reason, latest

    choice = _choice(reason, since)
    with closing(open_database(home)) as database:
        letters = latest(database, choice, limit)
        counts = counts_by_reason(database, choice)
    if as_json:
        for letter in letters:
            print(line(letter, with_original=False))  # noqa: T201 - the result
        return
    print_letters(letters, counts, new_console())


@dlq.command("show")
def show_letter(
    subject: Annotated[
        str, typer.Argument(help="As `list` prints it; its end, such as ads/0/17, is enough.")
    ],
    as_json: AsJson = False,
    raw: Annotated[
        bool, typer.Option("--raw", help="Nothing but the original bytes, as they came.")
    ] = False,
    home: Home = DEFAULT_HOME,
) -> None:
    """One dead letter: its reason, where it came from, its key and its bytes."""
    from lalafo_assets.commands.dlq_view import as_json as line
    from lalafo_assets.commands.dlq_view import print_letter
    from resources.kafka.dead_letter_replay import find

    with closing(open_database(home)) as database:
        letter = find(database, subject)
    if raw:
        sys.stdout.buffer.write(letter.value or b"")
        sys.stdout.flush()
    elif as_json:
        print(line(letter, with_original=True))  # noqa: T201 - the result
    else:
        print_letter(letter, new_console())


@dlq.command("replay")
def replay_letters(
    subjects: Annotated[
        list[str] | None, typer.Argument(metavar="[SUBJECT]...", help="These, replayed or not.")
    ] = None,
    reason: OfReason = None,
    since: Since = None,
    every: Annotated[bool, typer.Option("--all", help="Every one.")] = False,
    again: Annotated[
        bool, typer.Option("--again", help="With --reason or --all: those replayed before too.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Tell, and send nothing.")] = False,
    home: Home = DEFAULT_HOME,
) -> None:
    """Send the original records to the topic `ads` again, after mending what was wrong."""
    from resources.kafka.dead_letter_replay import chosen, counts_by_reason, find

    named = subjects or []
    if sum((len(named) > 0, reason is not None, every)) != 1:
        raise typer.BadParameter("name SUBJECTs, or give --reason X, or --all: one of them")
    if since is not None and named:
        raise typer.BadParameter("--since goes with --reason or --all")
    choice = _choice(reason, since, unreplayed=not again)
    with closing(open_database(home)) as database:
        if named:
            found = {letter.subject: letter for letter in (find(database, n) for n in named)}
            chunks, total = iter([list(found.values())]), len(found)
        else:
            chunks, total = (
                chosen(database, choice),
                sum(counts_by_reason(database, choice).values()),
            )
        if dry_run:
            _tell_only(chunks, total)
        else:
            _send(database, chunks, total)


def _tell_only(chunks: "Iterator[list[DeadLetterRecord]]", total: int) -> None:
    console = new_console()
    for letters in chunks:
        for letter in letters:
            console.print(f"would send {letter.subject} ({letter.reason})", highlight=False)
    console.print(f"{total} dead letters; nothing was sent (--dry-run)", highlight=False)


def _send(database: "Database", chunks: "Iterator[list[DeadLetterRecord]]", total: int) -> None:
    from rich.console import Console
    from rich.progress import Progress

    from resources.kafka.dead_letter_replay import Replayed, replay
    from resources.kafka.topics import AdStream
    from resources.settings import load_settings

    whole = Replayed()
    with (
        AdStream.from_settings(load_settings()) as stream,
        stream.publisher() as publisher,
        Progress(console=Console(stderr=True), transient=True) as progress,
    ):
        bar = progress.add_task("replaying", total=total)
        for letters in chunks:
            message = replay(database, publisher, stream.config.ads_topic, letters)
            whole.sent += message.sent
            whole.refused += message.refused
            progress.advance(bar, len(letters))
    console = new_console()
    for subject, why in whole.refused:
        console.print(f"not sent: {subject}: {why}", highlight=False, markup=False)
    console.print(
        f"{whole.sent} sent to {stream.config.ads_topic} again; one that still can't be used "
        "comes back as a new dead letter (`lalafo dlq list --since 5m`)",
        highlight=False,
    )
    if whole.refused:
        raise typer.Exit(1)


def _choice(reason: str | None, since: str | None, *, unreplayed: bool = False) -> "Choice":
    from lalafo_assets.commands.dlq_view import moment_of
    from resources.kafka.dead_letter_replay import Choice

    known = [name for name in Reason if name.startswith("event_")]
    if reason is not None and reason not in known:
        raise ConfigurationError(f"--reason {reason}: expected one of {', '.join(known)}")
    moment = None if since is None else moment_of(since, datetime.now(UTC))
    return Choice(reason, moment, unreplayed)
