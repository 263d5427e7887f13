"""`lalafo releases`: lists, installs and withdraws model releases.

Owns the options and messages; the modules that do the work are imported on use.
"""

from contextlib import closing, suppress
from typing import TYPE_CHECKING, Annotated

import typer

from lalafo_assets.commands.console import DEFAULT_HOME, Home, new_console, open_database, say
from lalafo_assets.commands.releases.dagster_report import cancel_rescore, report_live
from ops.errors import ConfigurationError, NotReadyError

if TYPE_CHECKING:
    from ops.models.release import Release

releases = typer.Typer(help="List, install, evaluate and withdraw model releases.")
console = new_console()

Name = Annotated[
    str, typer.Argument(help="Name or digest of the release; a unique prefix is enough.")
]


@releases.callback(invoke_without_command=True)
def releases_alone(context: typer.Context, home: Home = DEFAULT_HOME) -> None:
    """List, install, evaluate and withdraw model releases. Without a command: `list`."""
    if context.invoked_subcommand is None:
        list_releases(home)


@releases.command("list")
def list_releases(home: Home = DEFAULT_HOME) -> None:
    """List all releases: role, result of the gate, days scored, predictions and re-score."""
    from lalafo_assets.commands.releases.tables import print_releases

    with closing(open_database(home)) as database:
        print_releases(database, console)


@releases.command("install")
def install_release(
    source: Annotated[
        str,
        typer.Argument(
            help="'starter', or the folder or URL of a release store that holds one release."
        ),
    ],
    live: Annotated[
        bool,
        typer.Option(
            "--live",
            help="Make it live at once, without the gate. Ads that it has not scored then have no "
            "predictions.",
        ),
    ] = False,
    home: Home = DEFAULT_HOME,
) -> None:
    """Copy a release into the store and register it. The first release becomes live."""
    from lalafo_assets.starter import load_starter
    from resources.inference.loading import install
    from resources.releases.active import read_active_releases
    from resources.releases.promotion import make_live
    from resources.settings import load_settings
    from resources.storage.releases import ReleaseStore

    with closing(open_database(home)) as database:
        release = load_starter() if source == "starter" else _only_release(source)
        known = install(database, ReleaseStore(load_settings().resolved_store_url), release)
        before = None
        with suppress(ConfigurationError):
            before = read_active_releases(database).live.name
        if before is None or (live and before != known.name):
            make_live(database, known.name)
            report_live(known)
            say(f"{known.name} is live")
        elif before == known.name:
            say(f"{known.name} is already live")
        else:
            say(f"{known.name} is installed; {before} is live")
            say(f"Next: lalafo releases check {known.name}")
            say(f"then:  lalafo rescore {known.name}")


@releases.command("withdraw")
def withdraw_release(name: Name, home: Home = DEFAULT_HOME) -> None:
    """Withdraw a candidate: ads are no longer scored under it.

    Cancels its re-score. The job `upkeep` removes its predictions later.
    """
    from resources.releases.active import read_active_releases, read_announced
    from resources.releases.promotion import withdraw
    from resources.releases.registry import find_release
    from resources.rescoring.attempts import latest

    with closing(open_database(home)) as database:
        known = find_release(database, name)
        candidate, announced = read_active_releases(database).candidate, read_announced(database)
        row = latest(database, known.name)
        if known.name not in [r.name for r in (candidate, announced) if r is not None] and (
            row is None or not row.unfinished
        ):
            raise NotReadyError(f"{known.name} is not a candidate: there is nothing to withdraw")
        withdraw(database, known.name)
        if row is not None and row.unfinished:
            cancel_rescore(database, row)
        say(f"{known.name} is withdrawn: ads are no longer scored under it")


def _only_release(source: str) -> "Release":
    from resources.storage.releases import ReleaseStore

    store = ReleaseStore(source)
    digests = store.list()
    if len(digests) != 1:
        raise ConfigurationError(f"{source} holds {len(digests)} releases; expected one")
    return store.load(digests[0])
