"""`lalafo rescore`: scores the catalogue under a release, through Dagster or in this process.

Owns the options and messages; the modules that do the work are imported on use.
"""

from contextlib import closing
from typing import TYPE_CHECKING, Annotated

import typer

from lalafo_assets.commands.console import DEFAULT_HOME, Home, new_console, open_database, say
from lalafo_assets.commands.releases.dagster_report import cancel_rescore, has_dagster
from lalafo_assets.commands.terminal.help_pages import help_page
from ops.errors import NotReadyError

if TYPE_CHECKING:
    from resources.postgres.database import Database
    from resources.releases.registry import RegisteredRelease
    from resources.rescoring.attempts import Rescore


@help_page(
    ("lalafo rescore NAME", "follow it; Ctrl-C stops following, not the re-score"),
    ("lalafo rescore --in-process", "the candidate, without Dagster's daemon"),
    ("lalafo rescore NAME --cancel", "its predictions are kept"),
    reads="PostgreSQL: ads, embeddings; the photo store, for another backbone",
    writes="PostgreSQL: predictions and embeddings of this release; a backfill in Dagster",
    settings=("home", "database_url", "store_url", "rescore_rows_per_s", "device"),
    failure="a day stays unscored, or the release failed its gate",
)
def rescore(
    name: Annotated[
        str | None,
        typer.Argument(
            help="Name or digest of the release; a unique prefix is enough. Default: the "
            "candidate, otherwise the live release."
        ),
    ] = None,
    detach: Annotated[
        bool, typer.Option("--detach", help="Start the re-score and return at once.")
    ] = False,
    here: Annotated[
        bool, typer.Option("--in-process", help="Run it in this process, without Dagster's daemon.")
    ] = False,
    cancel: Annotated[
        bool,
        typer.Option(
            "--cancel", help="Cancel the pending or running re-score. Its predictions are kept."
        ),
    ] = False,
    home: Home = DEFAULT_HOME,
) -> None:
    """Score the whole catalogue under a release. This does not change which release is live.

    A release that passed the gate becomes the candidate first. Only missing or stale predictions
    are computed, so that a repeated command continues where the last one ended.
    """
    from resources.rescoring.attempts import latest, request

    if sum((detach, here, cancel)) > 1:
        raise typer.BadParameter("expected at most one of --detach, --in-process and --cancel")
    with closing(open_database(home)) as database:
        known = _to_rescore(database, name)
        if cancel:
            row = latest(database, known.name)
            if row is None or not row.unfinished:
                raise NotReadyError(f"no re-score of {known.name} is pending or running")
            cancel_rescore(database, row)
            say(
                f"re-score {row.backfill_id} is cancelled; `lalafo rescore {known.name}` continues "
                "it"
            )
            return
        if _is_complete(database, known):
            say(f"every day is scored under {known.name}: nothing to do")
            return
        requested_by = "lalafo rescore --in-process" if here else "lalafo rescore"
        if not here:
            _require_daemon()
        row = request(database, known, requested_by=requested_by, any_time=True)
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


def _is_complete(database: "Database", known: "RegisteredRelease") -> bool:
    """Return whether the release is active and every day is scored under it."""
    from resources.releases.active import read_active_releases
    from resources.releases.coverage import read_coverage

    names = [release.name for release in read_active_releases(database).all]
    return known.name in names and read_coverage(database, known.name).complete


def _here(database: "Database", known: "RegisteredRelease", row: "Rescore") -> None:
    """Re-score in this process, while a thread draws the progress bars."""
    from lalafo_assets.commands.releases.rescore_follow import bars_beside
    from resources.processes.priority import become_idle
    from resources.rescoring.in_process import rescore_in_process, wait_until_candidate
    from resources.settings import load_settings

    settings = load_settings()
    if settings.background_priority == "idle":
        become_idle(from_terminal=True)
    wait_until_candidate(database, row, on_progress=say)
    with bars_beside(new_console(), database, known):
        rescore_in_process(database, settings, row)
    _finished(database, known)


def _by_dagster(
    database: "Database", known: "RegisteredRelease", row: "Rescore", *, detach: bool
) -> None:
    import dagster as dg

    from lalafo_assets.commands.releases.rescore_follow import follow, start
    from resources.rescoring.progress import Watch

    with dg.DagsterInstance.get() as instance:
        start(instance, database, row, new_console())
        if detach:
            say("`lalafo releases` shows the progress")
            return
        try:
            follow(instance, database, row, Watch.begin(database, known), new_console())
        except KeyboardInterrupt:
            say("the re-score continues; `lalafo releases` shows the progress")
            raise
    _finished(database, known)


def _finished(database: "Database", known: "RegisteredRelease") -> None:
    from resources.releases.active import read_active_releases

    say(f"every day is scored under {known.name}")
    candidate = read_active_releases(database).candidate
    if candidate is not None and candidate.name == known.name:
        say(f"Next: lalafo diff; then: lalafo promote {known.name}")


def _require_daemon() -> None:
    """Raise NotReadyError unless Dagster's daemon is running."""
    if not has_dagster():
        raise NotReadyError(
            "DAGSTER_HOME is not set: start the stack with `lalafo up`, or run "
            "`lalafo rescore --in-process`"
        )
    import dagster as dg

    with dg.DagsterInstance.get() as instance:
        statuses = instance.get_daemon_statuses(["BACKFILL"])
        if not statuses["BACKFILL"].healthy:
            raise NotReadyError(
                "Dagster's daemon is not running, so no backfill would start: start the stack with "
                "`lalafo up`, or run `lalafo rescore --in-process`"
            )
