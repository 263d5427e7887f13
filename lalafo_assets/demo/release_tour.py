"""The demo's second half: a better model comes, step by step, by the commands that a person types.

Decides which steps and in which order; each is the command itself, with the page of Dagster's UI
that shows it. A candidate that its gate refuses ends the story there: that is what gates are for.
"""

from collections.abc import Callable, Sequence
from pathlib import Path

import typer
from rich.console import Console
from rich.table import Table

from ops.errors import ConfigurationError
from resources.postgres.database import Database
from resources.releases.active import read_active_releases
from resources.releases.registry import read_releases
from resources.rescoring.attempts import latest

Step = Callable[[], None]


def run_release_tour(
    home: Path, ui_url: str, database: Database, unknown: Sequence[str], console: Console
) -> bool:
    """Train, gate, re-score, diff, promote, roll back; whether the gate let it go to the end.

    Args:
        unknown: categories that ads are filed under and the live release does not know.

    Raises:
        NotReadyError: a step is refused; the message says what to do.
    """
    from lalafo_assets.commands.releases.lifecycle import list_releases
    from lalafo_assets.commands.releases.promote import diff, promote
    from lalafo_assets.commands.releases.rescore import rescore
    from lalafo_assets.commands.releases.train import train

    console.rule("a better model")
    if unknown:
        console.print(
            f"Sellers file ads under {', '.join(unknown)}: new, and unknown to the live release."
        )
    console.print(
        "What sellers filed are labels. A release is trained on them, and judged against the one "
        "that is live on photos that neither was trained on here:"
    )
    try:
        passed = _typed(console, "train", lambda: train(home=home))
    except ConfigurationError as error:
        console.print(f"[yellow]Nothing to tell:[/] {error}", highlight=False)
        return False
    if not passed:
        console.print("The gate refused it: nothing changes, for readers or for the stream.")
        _pages(console, ui_url, None)
        return False
    name = read_releases(database)[0].name
    if name == read_active_releases(database).live.name:
        console.print("The training made the release that is live: there is nothing to change.")
        return False
    console.print("Now every stored ad is scored beside the live release; new ads get both.")
    _typed(console, f"rescore {name}", lambda: rescore(name, home=home))
    row = latest(database, name)
    _typed(console, "diff", lambda: diff(home=home))
    _typed(console, f"promote {name}", lambda: promote(name, home=home))
    _typed(console, "releases", lambda: list_releases(home=home))
    console.print("And back again, as one would at night:")
    _typed(console, "promote --rollback", lambda: promote(None, back=True, home=home))
    _pages(console, ui_url, None if row is None else row.backfill_id)
    return True


def _typed(console: Console, command: str, step: Step) -> bool:
    """Show the command, and do it; False where it ended with another status than 0."""
    console.print(f"\n[bold green]$[/] [bold]lalafo {command}[/]", highlight=False)
    try:
        step()
    except typer.Exit as end:
        return end.exit_code == 0
    return True


def _pages(console: Console, ui_url: str, backfill: str | None) -> None:
    """Where each step is seen in Dagster's UI."""
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
    table = Table("step", "its page", title="the story in Dagster's UI")
    for step, page in pages.items():
        table.add_row(step, f"{ui_url}/{page}")
    console.print(table)
