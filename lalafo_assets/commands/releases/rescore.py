"""`lalafo rescore`: the catalogue under a release, by Dagster or in this process.

Decides options and words; the work is in the modules that it calls, imported on use.
"""

from contextlib import closing
from typing import TYPE_CHECKING, Annotated

import typer

from lalafo_assets.commands.console import DEFAULT_HOME, Home, new_console, open_database, say
from lalafo_assets.commands.releases.dagster_report import cancel_rescore, has_dagster
from ops.errors import NotReadyError

if TYPE_CHECKING:
    from resources.postgres.database import Database
    from resources.releases.registry import RegisteredRelease
    from resources.rescoring.attempts import Rescore

console = new_console()


def rescore(
    name: Annotated[
        str | None,
        typer.Argument(help="Of the release; the candidate, else the live one, if not given."),
    ] = None,
    detach: Annotated[
        bool, typer.Option("--detach", help="Start it, and do not wait for its end.")
    ] = False,
    here: Annotated[
        bool, typer.Option("--here", help="In this process, without Dagster's daemon.")
    ] = False,
    cancel: Annotated[
        bool, typer.Option("--cancel", help="End the one that waits or runs; what it did stays.")
    ] = False,
    home: Home = DEFAULT_HOME,
) -> None:
    """Score the whole catalogue under a release, beside the live one: only what is stale.

    A release that passed its gate becomes the candidate first. Again goes on where it was.
    """
    from resources.rescoring.attempts import latest, request

    if sum((detach, here, cancel)) > 1:
        raise typer.BadParameter("one of --detach, --here and --cancel")
    with closing(open_database(home)) as database:
        known = _to_rescore(database, name)
        if cancel:
            row = latest(database, known.name)
            if row is None or not row.unfinished:
                raise NotReadyError(f"no re-score for {known.name} waits or runs")
            cancel_rescore(database, row)
            say(f"re-score {row.backfill_id} is ended; `lalafo rescore {known.name}` goes on")
            return
        if _owes_nothing(database, known):
            say(f"every day is scored under {known.name}: nothing to do")
            return
        asked = "lalafo rescore --here" if here else "lalafo rescore"
        if not here:
            _require_daemon()
        row = request(database, known, requested_by=asked, any_time=True)
        if here:
            _here(database, known, row)
        else:
            _by_dagster(database, known, row, detach=detach)


def _to_rescore(database: "Database", name: str | None) -> "RegisteredRelease":
    from resources.releases.active import read_active_releases
    from resources.releases.registry import find_release

    if name is not None:
        return find_release(database, name)
    active = read_active_releases(database)
    return active.live if active.candidate is None else active.candidate


def _owes_nothing(database: "Database", known: "RegisteredRelease") -> bool:
    """Whether it is in force, and every day is scored under it."""
    from resources.releases.active import read_active_releases
    from resources.releases.coverage import read_coverage

    names = [release.name for release in read_active_releases(database).all]
    return known.name in names and read_coverage(database, known.name).complete


def _here(database: "Database", known: "RegisteredRelease", row: "Rescore") -> None:
    """In this process, with the bars drawn by a thread beside the work."""
    from lalafo_assets.commands.releases.rescore_follow import bars_beside
    from resources.rescoring.in_process import rescore_here, wait_until_candidate
    from resources.settings import load_settings

    wait_until_candidate(database, row, on_progress=say)
    with bars_beside(console, database, known):
        rescore_here(database, load_settings(), row)
    _finished(database, known)


def _by_dagster(
    database: "Database", known: "RegisteredRelease", row: "Rescore", *, detach: bool
) -> None:
    import dagster as dg

    from lalafo_assets.commands.releases.rescore_follow import follow, start
    from resources.rescoring.progress import Watch

    with dg.DagsterInstance.get() as instance:
        start(instance, database, row, console)
        if detach:
            say("`lalafo releases` shows how far it is")
            return
        try:
            follow(instance, database, row, Watch.begin(database, known), console)
        except KeyboardInterrupt:
            say("the re-score goes on; `lalafo releases` shows how far it is")
            raise
    _finished(database, known)


def _finished(database: "Database", known: "RegisteredRelease") -> None:
    from resources.releases.active import read_active_releases

    say(f"every day is scored under {known.name}")
    candidate = read_active_releases(database).candidate
    if candidate is not None and candidate.name == known.name:
        say(f"Next: lalafo diff; then: lalafo promote {known.name}")


def _require_daemon() -> None:
    """Refuse to wait for a daemon that is not there."""
    if not has_dagster():
        raise NotReadyError(
            "DAGSTER_HOME is not set: start the stack with `lalafo up`, or `lalafo rescore --here`"
        )
    import dagster as dg

    with dg.DagsterInstance.get() as instance:
        beats = instance.get_daemon_statuses(["BACKFILL"])
        if not beats["BACKFILL"].healthy:
            raise NotReadyError(
                "Dagster's daemon does not run, and no backfill would start: `lalafo up`, or "
                "`lalafo rescore --here`"
            )
