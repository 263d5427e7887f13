"""The tables that `lalafo releases` and `lalafo diff` print, from rows in PostgreSQL."""

from contextlib import suppress

from rich.console import Console
from rich.table import Table

from ops.errors import ConfigurationError
from resources.postgres.database import Database
from resources.releases.active import read_active_releases, read_announced
from resources.releases.coverage import read_coverage
from resources.releases.diff import ReleaseDiff
from resources.releases.registry import RegisteredRelease, read_releases
from resources.rescoring.attempts import latest
from resources.rescoring.progress import estimated_rows, remaining_s

BAR_CELLS = 16
MAX_MOVES = 30


def print_releases(database: Database, console: Console) -> None:
    """Print all releases, the newest first: role, result of the gate, and days scored."""
    roles = _roles(database)
    table = Table()
    table.add_column("release", no_wrap=True)
    for name in ("role", "gate", "days scored", "predictions", "re-score"):
        table.add_column(name)
    releases = read_releases(database)
    for release in releases:
        table.add_row(
            release.name,
            roles.get(release.name, ""),
            _gate(release),
            _days(database, release),
            _predictions(database, release),
            _rescore(database, release),
        )
    if not releases:
        console.print("no release is installed; `lalafo releases install starter` installs one")
        return
    console.print(table)


def print_diff(diff: ReleaseDiff, console: Console) -> None:
    """Print each task's most frequent label changes, and which ads and days are not compared."""
    console.print(f"{diff.live} → {diff.candidate}", highlight=False)
    for task in diff.tasks:
        share = task.changed / max(task.ads, 1)
        console.print(
            f"[bold]{task.task}[/]: {task.changed:,} of {task.ads:,} ads change their label "
            f"({share:.1%})",
            highlight=False,
        )
        table = Table()
        table.add_column("before")
        table.add_column("after")
        table.add_column("ads", justify="right")
        moves = task.top_moves(MAX_MOVES)
        for before, after, count in moves:
            table.add_row(before, after, f"{count:,}")
        if moves:
            console.print(table)
        if task.number is not None:
            console.print(
                f"the number changes by {task.number.p50:+.1%} at the median "
                f"({task.number.p10:+.1%} at p10, {task.number.p90:+.1%} at p90); "
                f"{task.number.beyond_a_tenth:,} ads change by more than 10%",
                highlight=False,
            )
        if task.only_live:
            console.print(
                f"{task.only_live:,} ads are not compared: {diff.candidate} has not scored them",
                highlight=False,
            )
    if diff.unscored:
        console.print(
            f"[yellow]{diff.unscored} of {diff.days} days are unscored:[/] "
            f"lalafo rescore {diff.candidate}",
            highlight=False,
        )


def _roles(database: Database) -> dict[str, str]:
    roles: dict[str, str] = {}
    with suppress(ConfigurationError):
        active = read_active_releases(database)
        announced = read_announced(database)
        if announced is not None:
            roles[announced.name] = "announced"
        if active.previous is not None:
            roles[active.previous.name] = "previous"
        if active.candidate is not None:
            roles[active.candidate.name] = "[yellow]candidate[/]"
        roles[active.live.name] = "[green]live[/]"
    return roles


def _gate(release: RegisteredRelease) -> str:
    if release.gate is None:
        return "not evaluated"
    live = release.gate.get("against")
    against = f" against {live}" if live else ""
    if release.passed:
        return f"[green]passed[/]{against}"
    return f"[red]failed[/]{against}: {'; '.join(release.gate['why'])}"


def _days(database: Database, release: RegisteredRelease) -> str:
    coverage = read_coverage(database, release.name)
    if coverage.days == 0:
        return ""
    done = coverage.days - len(coverage.unscored)
    cells = BAR_CELLS * done // coverage.days
    colour = "green" if coverage.complete else "yellow"
    bar = f"[{colour}]{'━' * cells}[/][dim]{'━' * (BAR_CELLS - cells)}[/]"
    return f"{bar} {done}/{coverage.days}" + ("" if coverage.complete else ", the rest unscored")


def _predictions(database: Database, release: RegisteredRelease) -> str:
    rows = estimated_rows(database, release)
    return f"about {rows:,}" if rows > 0 else "none"


def _rescore(database: Database, release: RegisteredRelease) -> str:
    row = latest(database, release.name)
    if row is None:
        return ""
    text = f"{row.state} ({row.backfill_id})"
    if row.state == "running" and row.started_at is not None:
        left_s = remaining_s(database, release.name, row.started_at)
        text += ", no day complete yet" if left_s is None else f", about {span(left_s)} left"
    return text


def span(seconds: float) -> str:
    """Format a length of time for people."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 5_400:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3_600:.1f} h"
