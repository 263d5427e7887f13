"""`lalafo releases`: lists, installs and withdraws model releases.

Owns the options and messages; the modules that do the work are imported on use.
"""

import json
from collections.abc import Sequence
from contextlib import closing, suppress
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from lalafo_assets.commands.console import (
    DEFAULT_HOME,
    AsJson,
    Home,
    new_console,
    open_database,
    print_json,
    say,
)
from lalafo_assets.commands.releases.dagster_report import cancel_rescore, report_live
from lalafo_assets.commands.terminal.help_pages import LalafoCommand, LalafoGroup, help_page
from ops.errors import ConfigurationError, NotReadyError

if TYPE_CHECKING:
    from ops.models.release import Release

releases = typer.Typer(cls=LalafoGroup, help="List, install, evaluate and withdraw model releases.")

Name = Annotated[
    str, typer.Argument(help="Name or digest of the release; a unique prefix is enough.")
]


@releases.callback(invoke_without_command=True, cls=LalafoGroup)
@help_page(
    ("lalafo releases", "all releases: roles, gates, days scored"),
    ("lalafo releases install starter", "the release that ships with the package"),
    ("lalafo releases check NAME", "judge one by the gate"),
    reads="PostgreSQL and the release store",
    settings=("home", "database_url", "store_url"),
)
def releases_alone(
    context: typer.Context, as_json: AsJson = False, home: Home = DEFAULT_HOME
) -> None:
    """List, install, evaluate and withdraw model releases. Without a command: `list`."""
    if context.invoked_subcommand is None:
        list_releases(home, as_json=as_json)


@releases.command("list", cls=LalafoCommand)
@help_page(
    ("lalafo releases list", "the newest first; `lalafo releases` does the same"),
    ("lalafo releases list --json | jq '.[] | select(.role == \"live\")'", "the live one"),
    reads="PostgreSQL: releases, their days and re-scores",
    writes="nothing",
    settings=("home", "database_url"),
)
def list_releases(home: Home = DEFAULT_HOME, as_json: AsJson = False) -> None:
    """List all releases: role, result of the gate, days scored, predictions and re-score."""
    from lalafo_assets.commands.releases.tables import print_releases, read_rows

    with closing(open_database(home)) as database:
        rows = read_rows(database)
    if as_json:
        print_json([asdict(row) for row in rows])
    else:
        print_releases(rows, new_console())


@releases.command("install", cls=LalafoCommand)
@help_page(
    ("lalafo releases install starter", "the release that ships with the package"),
    ("lalafo releases install s3://models/kg --live", "live at once, without the gate"),
    reads="the release that ships with the package, or a store",
    writes="the release store (LALAFO_STORE_URL) and PostgreSQL",
    settings=("home", "database_url", "store_url"),
    failure="the source does not hold exactly one release, it can't be read, or its weights are "
    "another network's",
)
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
    """Copy a release into the store and register it. The first release becomes live.

    `lalafo up` does it with the starter where no release is live.
    """
    from lalafo_assets.starter import load_starter
    from resources.inference.loading import check_backbone_of, install
    from resources.releases.active import read_active_releases
    from resources.releases.promotion import make_live
    from resources.settings import load_settings
    from resources.storage.releases import ReleaseStore

    with closing(open_database(home)) as database:
        release = load_starter() if source == "starter" else _only_release(source)
        if source != "starter":
            check_backbone_of(release)
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


@releases.command("extend", cls=LalafoCommand)
@help_page(
    ("lalafo releases extend", "the live release, with a task that was installed since"),
    ("lalafo releases extend NAME", "another one"),
    ("lalafo releases extend --set moderation.block=0.9", "with another setting of a task"),
    ("lalafo releases extend --network u2netp.onnx", "with another network of masks"),
    reads="PostgreSQL, the release store, and the installed tasks",
    writes="the release store (LALAFO_STORE_URL) and PostgreSQL",
    settings=("home", "database_url", "store_url"),
    failure="no task is installed that the release lacks",
)
def extend_release(
    name: Annotated[
        str, typer.Argument(help="Name or digest of the release; without one, the live release.")
    ] = "",
    changes: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="TASK.SETTING=JSON",
            help="Another value for a setting of a task; may be repeated. It holds for this "
            "release: give it again for the next.",
        ),
    ] = None,
    network: Annotated[
        str | None,
        typer.Option(
            metavar="FILE.onnx|torchvision:NAME",
            help="Another network for the task segments, one input and one output.",
        ),
    ] = None,
    weights: Annotated[
        Path | None,
        typer.Option(exists=True, dir_okay=False, help="The weights of torchvision:NAME."),
    ] = None,
    labels: Annotated[
        str,
        typer.Option(
            help="The classes of torchvision:NAME after the background, comma-separated; those of "
            "PASCAL VOC if not given."
        ),
    ] = "",
    answers: Annotated[
        Literal["probability", "logit"], typer.Option(help="What the ONNX network's output is.")
    ] = "probability",
    output: Annotated[
        str | None, typer.Option(help="The ONNX network's output, where it has several.")
    ] = None,
    home: Home = DEFAULT_HOME,
) -> None:
    """Make a release of another one and the installed tasks that learn nothing.

    Its backbone and its other heads are the same, so stored embeddings are used again.
    """
    from ops.tasks import all_tasks, tasks_left_out
    from resources.inference.loading import install
    from resources.releases.active import read_active_releases
    from resources.releases.installed_tasks import record_tasks
    from resources.releases.registry import find_release
    from resources.settings import load_settings
    from resources.storage.releases import ReleaseStore
    from resources.training.extend import extended

    wanted = _settings_of_tasks(changes or [])
    heads = {}
    if network is not None:
        from ops.models.segments.conversion import Answers
        from resources.training.masks.networks import NetworkOptions, mask_network

        options = NetworkOptions(
            weights=weights,
            labels=tuple(label.strip() for label in labels.split(",") if label.strip()),
            answers=Answers(answers),
            output=output,
        )
        heads["segments"] = mask_network(network, options).as_head()
    with closing(open_database(home)) as database:
        known = find_release(database, name) if name else read_active_releases(database).live
        store = ReleaseStore(load_settings().resolved_store_url)
        for task, extra in tasks_left_out().items():
            say(f"without {task}, which needs: pip install 'lalafo-vision[{extra}]'")
        new = install(database, store, extended(store.load(known.digest), wanted, heads))
        record_tasks(database, all_tasks())
        say(f"{new.name} is installed: {known.name}, with {', '.join(new.tasks)}")
        say(f"Next: lalafo releases check {new.name}")
        say(f"then:  lalafo rescore {new.name}")


def _settings_of_tasks(changes: Sequence[str]) -> dict[str, dict[str, Any]]:
    """The settings by task, of texts such as `moderation.block=0.9`."""
    found: dict[str, dict[str, Any]] = {}
    for change in changes:
        name, separator, text = change.partition("=")
        task, dot, setting = name.partition(".")
        try:
            if not (separator and dot and setting):
                raise ValueError("expected TASK.SETTING=JSON")
            found.setdefault(task, {})[setting] = json.loads(text)
        except ValueError as error:
            raise ConfigurationError(
                f"--set {change}: {error}. For example: --set moderation.block=0.9"
            ) from error
    return found


@releases.command("withdraw", cls=LalafoCommand)
@help_page(
    ("lalafo releases withdraw NAME", "NAME: a name or digest, or its beginning"),
    reads="PostgreSQL: releases and re-scores",
    writes="PostgreSQL: the candidate's role; cancels its re-score in Dagster",
    settings=("home", "database_url"),
    failure="it is not a candidate, or there is no such release",
)
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
