"""`lalafo diff` and `lalafo promote`: compares releases, promotes a candidate, and rolls back.

Owns the options and messages. A promotion is one transaction in `resources/releases/promotion.py`.
"""

from contextlib import closing
from typing import TYPE_CHECKING, Annotated

import typer

from lalafo_assets.commands.console import DEFAULT_HOME, Home, new_console, open_database, say
from lalafo_assets.commands.releases.dagster_report import report_live
from lalafo_assets.commands.terminal.help_pages import help_page
from ops.errors import ConfigurationError, RetryableError

if TYPE_CHECKING:
    from resources.postgres.database import Database
    from resources.releases.registry import RegisteredRelease


@help_page(
    ("lalafo diff", "labels before and after, and the days that are not compared"),
    reads="PostgreSQL: the predictions of both releases",
    writes="Dagster: the comparison as an event of `release_diff`",
    settings=("home", "database_url"),
    failure="there is nothing to compare",
)
def diff(home: Home = DEFAULT_HOME) -> None:
    """Show how a promotion of the candidate would change the labels of ads.

    Without a candidate, show what the last promotion changed. This command writes nothing: the
    asset `release_diff` is materialized by the sensor `releases`, after a re-score.
    """
    from lalafo_assets.assets.release_diff import read_diff
    from lalafo_assets.commands.releases.tables import print_diff
    from resources.releases.active import read_active_releases

    with closing(open_database(home)) as database:
        result = read_diff(database)
        if read_active_releases(database).candidate is None:
            say("There is no candidate: this is what the last promotion changed.")
        print_diff(result, new_console())


@help_page(
    ("lalafo promote NAME", "NAME: a name or digest, or its beginning"),
    ("lalafo promote --rollback", "the release that was live before"),
    reads="PostgreSQL: which days the release has scored",
    writes="PostgreSQL: the active releases; Kafka: `release_promoted` on ads.scored",
    settings=("home", "database_url", "kafka_bootstrap"),
    failure="days are unscored, the index of similar ads is not ready, or there is no such "
    "candidate",
)
def promote(
    name: Annotated[
        str | None,
        typer.Argument(help="Name or digest of the candidate; a unique prefix is enough."),
    ] = None,
    allow_partial: Annotated[
        bool,
        typer.Option(
            "--allow-partial",
            help="Promote even if days are unscored, whose ads then have no predictions, or if "
            "the index of similar ads is not ready, which then are not found until it is.",
        ),
    ] = False,
    rollback: Annotated[
        bool, typer.Option("--rollback", help="Return to the release that was live before.")
    ] = False,
    home: Home = DEFAULT_HOME,
) -> None:
    """Make the candidate the live release, for all readers at once, in one transaction."""
    from resources.dagster.release_scores import ranges
    from resources.releases import promotion
    from resources.releases.active import read_active_releases
    from resources.releases.registry import find_release
    from resources.settings import load_settings

    if rollback == (name is not None):
        raise typer.BadParameter("expected either the name of the candidate or --rollback")
    with closing(open_database(home)) as database:
        topic = f"{load_settings().ads_topic}.scored"
        before = read_active_releases(database).live
        if name is None:
            live, unscored = promotion.rollback(
                database, scored_topic=topic, allow_partial=allow_partial
            )
        else:
            live = find_release(database, name).name
            unscored = promotion.promote(
                database, live, scored_topic=topic, allow_partial=allow_partial
            )
        say(f"{before.name} was live; [bold]{live}[/] is live now")
        if unscored:
            say(
                f"[yellow]{len(unscored)} days are unscored; their ads have no predictions:[/] "
                f"{ranges(unscored)}"
            )
            say(f"Next: lalafo rescore {live}")
        say("To undo: lalafo promote --rollback")
        _publish_promotion(database, find_release(database, live))


def _publish_promotion(database: "Database", known: "RegisteredRelease") -> None:
    """Publish the promotion's pending records to `ads.scored`, and report it to Dagster."""
    from resources.kafka.outbox import relay
    from resources.kafka.topics import AdStream
    from resources.settings import load_settings

    try:
        with AdStream.from_settings(load_settings()) as stream, stream.publisher() as publisher:
            relay(database, publisher, older_than_s=0, limit=500)
    except (RetryableError, ConfigurationError):
        say("Kafka is unreachable: a session or upkeep publishes `release_promoted` later")
    report_live(known)
