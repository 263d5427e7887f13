"""`lalafo diff` and `lalafo promote`: what a flip would change, the flip, and the way back.

Decides options and words; the flip itself is one transaction of `resources/releases/active.py`.
"""

from contextlib import closing
from typing import TYPE_CHECKING, Annotated

import typer

from lalafo_assets.commands.console import DEFAULT_HOME, Home, new_console, open_database, say
from lalafo_assets.commands.releases.dagster_report import report_diff, report_live
from ops.errors import ConfigurationError, RetryableError

if TYPE_CHECKING:
    from resources.postgres.database import Database
    from resources.releases.registry import RegisteredRelease

console = new_console()


def diff(home: Home = DEFAULT_HOME) -> None:
    """What a promotion of the candidate would change: ads that move, and between which labels."""
    from lalafo_assets.assets.release_diff import read_diff
    from lalafo_assets.commands.releases.tables import print_diff
    from resources.releases.active import read_active_releases

    with closing(open_database(home)) as database:
        found = read_diff(database)
        if read_active_releases(database).candidate is None:
            say("There is no candidate: this is what the last flip changed.")
        print_diff(found, console)
        report_diff(database, found)


def promote(
    name: Annotated[
        str | None, typer.Argument(help="Of the candidate; its first letters will do.")
    ] = None,
    allow_partial: Annotated[
        bool,
        typer.Option("--allow-partial", help="Also while days are owed: their ads have no values."),
    ] = False,
    back: Annotated[
        bool, typer.Option("--rollback", help="Return to the release that was live before.")
    ] = False,
    home: Home = DEFAULT_HOME,
) -> None:
    """Flip what readers read to the candidate, in one transaction."""
    from resources.dagster.release_scores import ranges
    from resources.releases.active import promote, read_active_releases, rollback
    from resources.releases.registry import find_release
    from resources.settings import load_settings

    if back == (name is not None):
        raise typer.BadParameter("name the candidate, or give --rollback: one of them")
    with closing(open_database(home)) as database:
        topic = f"{load_settings().ads_topic}.scored"
        was = read_active_releases(database).live
        if name is None:
            now, unscored = rollback(database, scored_topic=topic, allow_partial=allow_partial)
        else:
            now = find_release(database, name).name
            unscored = promote(database, now, scored_topic=topic, allow_partial=allow_partial)
        say(f"{was.name} was live; [bold]{now}[/] is live now")
        if unscored:
            say(
                f"[yellow]{len(unscored)} days are owed, and their ads have no values:[/] "
                f"{ranges(unscored)}"
            )
            say(f"Next: lalafo rescore {now}")
        say("To go back: lalafo promote --rollback")
        _print_switch(database, find_release(database, now))


def _print_switch(database: "Database", known: "RegisteredRelease") -> None:
    """Send what the flip owes `ads.scored` now, and tell Dagster which release is live."""
    from resources.kafka.outbox import relay
    from resources.kafka.topics import AdStream
    from resources.settings import load_settings

    try:
        with AdStream.from_settings(load_settings()) as stream, stream.publisher() as publisher:
            relay(database, publisher, older_than_s=0, limit=500)
    except (RetryableError, ConfigurationError):
        say("Kafka is out of reach: a session or upkeep sends `release_promoted` later")
    report_live(known)
