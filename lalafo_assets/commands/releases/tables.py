"""The tables that `lalafo releases` and `lalafo diff` print, from rows in PostgreSQL."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

from rich.console import Console
from rich.text import Text

from lalafo_assets.commands.terminal.tables import Cell, Col, print_facts, print_table
from ops.errors import ConfigurationError
from ops.training.verdict import MEASURES
from resources.postgres.database import Database
from resources.releases.active import read_active_releases, read_announced
from resources.releases.coverage import read_coverage
from resources.releases.diff import NumberShift, ReleaseDiff, change_bins
from resources.releases.registry import RegisteredRelease, read_releases
from resources.rescoring.attempts import latest
from resources.rescoring.progress import estimated_rows, remaining_s

MAX_MOVES = 30
BAR_CHARS = 40


@dataclass(frozen=True, slots=True)
class ReleaseRow:
    """What `lalafo releases` shows of one release."""

    name: str
    digest: str
    role: str  # "live", "candidate", "previous", "announced" or ""
    gate: str  # "passed", "failed", "not judged" or "not checked"
    gate_against: str | None  # the release that was live then
    gate_why: list[str]
    gate_not_judged: list[str]  # measures
    days: int
    days_scored: int
    predictions: int  # estimated
    rescore: str  # its state in words; "" if none was requested


def read_rows(database: Database) -> list[ReleaseRow]:
    """Return all releases, the newest first."""
    roles = _roles(database)
    return [_row(database, release, roles) for release in read_releases(database)]


def print_releases(rows: Sequence[ReleaseRow], console: Console) -> None:
    """Print a line for each release; below, what is to be known of each that needs a sentence."""
    if not rows:
        console.print("no release is installed; `lalafo releases install starter` installs one")
        return
    colours = {
        **{"live": "green", "candidate": "yellow"},
        **{"passed": "green", "failed": "red", "not judged": "yellow"},
    }
    print_table(
        console,
        ("release", "role", "gate", Col("days", "right"), Col("predictions", "right")),
        [
            (
                row.name,
                Text(row.role, style=colours.get(row.role, "")),
                Text(row.gate, style=colours.get(row.gate, "")),
                f"{row.days_scored}/{row.days}" if row.days else "",
                f"{row.predictions:,}" if row.predictions > 0 else "none",
            )
            for row in rows
        ],
    )
    for row in rows:
        facts = list(_facts(row))
        if facts:
            console.print()
            print_facts(console, facts, title=row.name, indent=2)


def _facts(row: ReleaseRow) -> Iterator[tuple[str, Cell]]:
    """What does not fit a cell: why a gate failed, what is unscored, how far a re-score is."""
    against = f" against {row.gate_against}" if row.gate_against else ""
    if row.gate_why:
        yield "gate", Text.assemble((row.gate, "red"), f"{against}: {'; '.join(row.gate_why)}")
    elif row.gate == "not judged":
        yield "gate", "not judged: no release was live, or there was nothing to compare"
    elif against:
        but = f" ({', '.join(row.gate_not_judged)} not judged)" if row.gate_not_judged else ""
        yield "gate", f"{row.gate}{but}{against}"
    if row.days_scored < row.days and row.role:
        left = f"{row.days_scored}/{row.days}, the rest unscored"
        yield "days", f"{left}: `lalafo rescore {row.name}`"
    if row.rescore:
        yield "re-score", row.rescore


def _row(database: Database, release: RegisteredRelease, roles: Mapping[str, str]) -> ReleaseRow:
    coverage = read_coverage(database, release.name)
    gate = release.gate
    return ReleaseRow(
        name=release.name,
        digest=release.digest,
        role=roles.get(release.name, ""),
        gate=_gate(release),
        gate_against=None if gate is None else gate.get("against"),
        gate_why=[] if gate is None or release.passed else list(gate["why"]),
        gate_not_judged=_not_judged(release),
        days=coverage.days,
        days_scored=coverage.days - len(coverage.unscored),
        predictions=estimated_rows(database, release),
        rescore=_rescore(database, release),
    )


def print_diff(diff: ReleaseDiff, console: Console) -> None:
    """Print each task's most frequent label changes, and which ads and days are not compared."""
    console.print(f"{diff.live} → {diff.candidate}", highlight=False, soft_wrap=True)
    for task in diff.tasks:
        share = task.changed / max(task.ads, 1)
        console.print(
            f"[bold]{task.task}[/]: {task.changed:,} of {task.ads:,} ads change their label "
            f"({share:.1%})",
            highlight=False,
        )
        moves = task.top_moves(MAX_MOVES)
        if moves:
            rows = [(before, after, f"{count:,}") for before, after, count in moves]
            print_table(console, ("before", "after", Col("ads", "right")), rows)
        if task.number is not None and task.number.ads > 0:
            console.print(
                f"the number changes by {task.number.p50:+.1%} at the median "
                f"({task.number.p10:+.1%} at p10, {task.number.p90:+.1%} at p90); "
                f"{task.number.beyond_a_tenth:,} ads change by more than 10%",
                highlight=False,
            )
            _print_histogram(task.number, console)
        if task.masks is not None and task.masks.pairs:
            console.print(
                f"the masks of {len(task.masks.pairs):,} photos have a mean IoU of "
                f"{task.masks.mean_iou:.3f} ({task.masks.p10_iou:.3f} at p10)",
                highlight=False,
            )
        if task.only_live:
            console.print(
                f"{task.only_live:,} ads are not compared: {diff.candidate} has not scored them",
                highlight=False,
                soft_wrap=True,
            )
    if diff.unscored:
        console.print(
            f"[yellow]{diff.unscored} of {diff.days} days are unscored:[/] "
            f"lalafo rescore {diff.candidate}",
            highlight=False,
            soft_wrap=True,
        )


def _print_histogram(number: NumberShift, console: Console) -> None:
    """Print a bar for each bin of the number's change, unless all ads are in one bin."""
    counts: list[int] = number.histogram.tolist()
    if sum(ads > 0 for ads in counts) < 2:
        return
    width = BAR_CHARS / max(counts)
    rows = [
        (name, f"{ads:,}", "█" * max(round(ads * width), int(ads > 0)))
        for name, ads in zip(change_bins(), counts, strict=True)
    ]
    print_table(console, ("change", Col("ads", "right"), ""), rows)


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
            roles[active.candidate.name] = "candidate"
        roles[active.live.name] = "live"
    return roles


def _gate(release: RegisteredRelease) -> str:
    """The gate's result in a word or two; "passed" only where something was judged."""
    if release.gate is None:
        return "not checked"
    if not release.passed:
        return "failed"
    if release.gate.get("against") is None or len(_not_judged(release)) == len(MEASURES):
        return "not judged"
    return "passed"


def _not_judged(release: RegisteredRelease) -> list[str]:
    return [] if release.gate is None else list(release.gate.get("not_judged", ()))


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
