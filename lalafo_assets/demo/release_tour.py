"""The second half of the demo: trains a better release and takes it through its whole lifecycle.

Owns the steps and their order. Each step runs the command that a person would type; a closing table
lists the page of Dagster's UI for each. The tour ends early if the release fails the gate.
"""

from collections.abc import Callable, Sequence
from pathlib import Path

import typer
from rich.console import Console

from lalafo_assets.commands.terminal.tables import print_facts
from ops.errors import ConfigurationError, NotReadyError
from resources.postgres.database import Database
from resources.releases.active import read_active_releases
from resources.releases.coverage import read_coverage
from resources.releases.registry import read_releases
from resources.rescoring.attempts import latest

Step = Callable[[], None]


def run_release_tour(
    home: Path,
    ui_url: str,
    database: Database,
    console: Console,
    *,
    unknown: Sequence[str],
    labelled: bool,
) -> bool:
    """Train, gate, re-score, compare, promote, roll back, and forward again.

    Returns whether all steps ran; the better release is live then.

    Args:
        unknown: categories that ads have and the live release does not know.
        labelled: whether the demo's ads have categories.

    Raises:
        NotReadyError: a step is refused; the message says what to do.
    """
    from lalafo_assets.commands.releases.lifecycle import list_releases
    from lalafo_assets.commands.releases.promote import diff, promote
    from lalafo_assets.commands.releases.rescore import rescore
    from lalafo_assets.commands.releases.train import train

    console.rule("a second release")
    if not labelled:
        console.print(
            "A release is trained on the categories that sellers chose. These ads have none, so "
            "this part is left out: put your photos into one subfolder per class to see it."
        )
        return False
    live = read_active_releases(database).live.name
    if not read_coverage(database, live).complete:
        console.print(
            "Ads of an earlier start are not scored under the live release yet. Score them first: "
            "only a release that has scored every ad can be rolled back to."
        )
        _run(console, f"rescore {live}", lambda: rescore(live, home=home))
    if unknown:
        console.print(
            f"Some ads have the new categories {', '.join(unknown)}, which the live release does "
            "not know."
        )
    console.print(
        "The categories that sellers chose are labels. Train a release on them, and compare it "
        "with the live one on photos that neither was trained on here:"
    )
    try:
        passed = _run(console, "train", lambda: train(home=home))
    except (ConfigurationError, NotReadyError) as error:  # too few labelled photos
        console.print(f"[yellow]No release can be trained:[/] {error}", highlight=False)
        console.print(f"[bold]{live}[/] stays live. More ads with photos of each class help.")
        return False
    if not passed:
        console.print(f"The release failed the gate: [bold]{live}[/] stays live.")
        _print_pages(console, ui_url, None)
        return False
    name = read_releases(database)[0].name
    if name == live:
        console.print("The trained release is identical to the live one: nothing changes.")
        return False
    console.print(
        "Score every stored ad under the new release too. From now on, new ads are scored under "
        "both releases:"
    )
    _run(console, f"rescore {name}", lambda: rescore(name, home=home))
    row = latest(database, name)
    _run(console, "diff", lambda: diff(home=home))
    _run(console, f"promote {name}", lambda: promote(name, home=home))
    console.print("\nRoll back to the previous release, as if the new one had been a mistake:")
    _run(console, "promote --rollback", lambda: promote(None, rollback=True, home=home))
    console.print("\nIt was none. The same command goes forward again:")
    _run(console, "promote --rollback", lambda: promote(None, rollback=True, home=home))
    _run(console, "releases", lambda: list_releases(home=home))
    console.print(f"[bold]{name}[/] is live: the page and the API answer with it from now on.")
    _print_pages(console, ui_url, None if row is None else row.backfill_id)
    return True


def _run(console: Console, command: str, step: Step) -> bool:
    """Print the command and run it; return False if it ended with another status than 0."""
    console.print(f"\n[bold green]$[/] [bold]lalafo {command}[/]", highlight=False)
    try:
        step()
    except typer.Exit as end:
        return end.exit_code == 0
    return True


def _print_pages(console: Console, ui_url: str, backfill: str | None) -> None:
    """Print the page of Dagster's UI that shows each step."""
    pages = {
        "train": "assets/training_set",
        "gate": "assets/model_release?view=checks",
        "promote": "assets/model_release?view=events",
    }
    if backfill is not None:
        pages |= {
            "re-score": f"runs/b/{backfill}",
            "days scored": "assets/release_scores?view=partitions",
            "diff": "assets/release_diff",
        }
    rows = [(step, f"{ui_url}/{page}") for step, page in pages.items()]
    print_facts(console, rows, title="The steps in Dagster's UI", indent=2)
