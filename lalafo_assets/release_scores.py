"""The asset `release_scores`: which days are scored under which release, as Dagster shows it.

A filled cell: every ad of that day is scored under that release. Its days are those that a release
in force had to be brought to; an ad that was committed later has its predictions by construction.

Decides what is shown, and brings Dagster to what PostgreSQL says: whoever calls `show_scores` at
whatever moment, the outcome is the same. Dagster 1.13 can't empty a cell (wiping partitions is not
in its open storage): a day that is owed again, since a photo of it was mended, is named by the
check `no_day_is_behind`, and its assets are stale in Dagster's own eyes.
"""

from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import date, timedelta

import dagster as dg

from lalafo_assets.columns import table_metadata
from ops.asset_names import OWNERS, RELEASE_SCORES
from ops.dagster_ops import plain_failures
from resources import tables
from resources.dagster_resources import DatabaseResource
from resources.database import Database
from resources.release_days import DayState, settle
from resources.release_registry import RegisteredRelease

BEHIND_CHECK = "no_day_is_behind"
NAMED_RANGES = 12

RELEASES, DAYS = "releases", "release_days"
scored_releases = dg.DynamicPartitionsDefinition(name=RELEASES)
scored_days = dg.DynamicPartitionsDefinition(name=DAYS)

release_scores = dg.AssetSpec(
    key=RELEASE_SCORES,
    partitions_def=dg.MultiPartitionsDefinition({"day": scored_days, "release": scored_releases}),
    group_name="models",
    kinds={"postgres"},
    owners=OWNERS,
    metadata=table_metadata(tables.release_days),
    description=(
        "A filled cell: every ad of that day is scored under that release. An empty one is a day "
        "that a re-score still has to bring. Releases that score no more are left out."
    ),
)


@dataclass(frozen=True, slots=True)
class ReleaseCoverage:
    """How far a release in force is."""

    release: str
    role: str  # live, candidate, previous
    complete: tuple[date, ...]
    owed: tuple[date, ...]


def read_scores(database: Database) -> list[ReleaseCoverage]:
    """How far each release in force is, the live one first; none where none is live."""
    with database.cursor() as cursor:
        cursor.execute(
            "SELECT r.name, r.role, "
            "coalesce(array_agg(d.day ORDER BY d.day) FILTER (WHERE d.completed_at IS NOT NULL), "
            "'{}'), "
            "coalesce(array_agg(d.day ORDER BY d.day) FILTER (WHERE d.day IS NOT NULL "
            "AND d.completed_at IS NULL), '{}') FROM lalafo.releases_in_force AS f, "
            "unnest(ARRAY[f.live, f.candidate, f.previous], "
            "ARRAY['live', 'candidate', 'previous']) AS r (name, role) "
            "LEFT JOIN lalafo.release_days AS d ON d.release = r.name "
            "WHERE r.name IS NOT NULL GROUP BY 1, 2"
        )
        rows = cursor.fetchall()
    found = [
        ReleaseCoverage(name, role, tuple(done), tuple(owed)) for name, role, done, owed in rows
    ]
    order = ("live", "candidate", "previous")
    return sorted(found, key=lambda coverage: order.index(coverage.role))


def show_scores(instance: dg.DagsterInstance, scores: Sequence[ReleaseCoverage]) -> int:
    """Bring the asset's partitions, cells and check to the scores; how many cells were filled."""
    names = {coverage.release for coverage in scores}
    days = {day.isoformat() for coverage in scores for day in (*coverage.complete, *coverage.owed)}
    for name, wanted in ((RELEASES, names), (DAYS, days)):
        known = set(instance.get_dynamic_partitions(name))
        instance.add_dynamic_partitions(name, sorted(wanted - known))
        for gone in sorted(known - wanted):
            instance.delete_dynamic_partition(name, gone)
    filled = instance.get_materialized_partitions(RELEASE_SCORES)
    new = 0
    for coverage in scores:
        # A day that it was never brought to came after it did: complete by construction.
        for day in sorted(days - {day.isoformat() for day in coverage.owed}):
            key = dg.MultiPartitionKey({"day": day, "release": coverage.release})
            if key not in filled:
                instance.report_runless_asset_event(
                    dg.AssetMaterialization(
                        RELEASE_SCORES, partition=key, metadata={"release": coverage.release}
                    )
                )
                new += 1
    instance.report_runless_asset_event(evaluation(scores))
    return new


def evaluation(scores: Sequence[ReleaseCoverage]) -> dg.AssetCheckEvaluation:
    """The check's answer: no day is behind the live release."""
    result = _finding(scores)
    return dg.AssetCheckEvaluation(
        asset_key=RELEASE_SCORES,
        check_name=BEHIND_CHECK,
        passed=result.passed,
        severity=result.severity,
        description=result.description,
        metadata=result.metadata,
    )


@dg.asset_check(
    asset=RELEASE_SCORES,
    name=BEHIND_CHECK,
    description="Every ad of every day is scored under the live release; else its days are named.",
)
def no_day_is_behind(database: DatabaseResource) -> dg.AssetCheckResult:
    """Ask PostgreSQL now."""
    with plain_failures(), closing(database.open()) as held:
        return _finding(read_scores(held))


def settle_days(
    instance: dg.DagsterInstance,
    database: Database,
    release: RegisteredRelease,
    covered: Sequence[date],
) -> dict[str, dg.MetadataValue]:
    """Close the days that a run has completed, show it, and say how each stands, as metadata."""
    states = settle(database, release, covered)
    scores = read_scores(database)
    show_scores(instance, scores)
    mine = [coverage for coverage in scores if coverage.release == release.name]
    metadata: dict[str, dg.MetadataValue] = {"days": dg.MetadataValue.md(_table(states))}
    for coverage in mine:
        metadata["days_complete"] = dg.MetadataValue.int(len(coverage.complete))
        metadata["days_owed"] = dg.MetadataValue.int(len(coverage.owed))
    return metadata


def ranges(days: Sequence[date]) -> str:
    """Ascending days for people: "2026-01-03 to 2026-01-09, 2026-02-01", the first dozen."""
    runs: list[tuple[date, date]] = []
    for day in days:
        if runs and day - runs[-1][1] == timedelta(days=1):
            runs[-1] = (runs[-1][0], day)
        else:
            runs.append((day, day))
    told = [
        first.isoformat() if first == last else f"{first.isoformat()} to {last.isoformat()}"
        for first, last in runs[:NAMED_RANGES]
    ]
    left = len(runs) - NAMED_RANGES
    return ", ".join(told) + (f" and {left} more stretches" if left > 0 else "")


def _finding(scores: Sequence[ReleaseCoverage]) -> dg.AssetCheckResult:
    live = next((coverage for coverage in scores if coverage.role == "live"), None)
    if live is None:
        told = "no release is live"
    elif not live.owed:
        told = f"no day is behind {live.release}"
    else:
        told = f"{len(live.owed)} days are behind {live.release}: {ranges(live.owed)}"
    lines = ["| release | | days complete | days behind |", "|---|---|---|---|"]
    lines += [
        f"| {c.release} | {c.role} | {len(c.complete)} | {len(c.owed)}: {ranges(c.owed)} |"
        if c.owed
        else f"| {c.release} | {c.role} | {len(c.complete)} | 0 |"
        for c in scores
    ]
    return dg.AssetCheckResult(
        passed=live is None or not live.owed,
        severity=dg.AssetCheckSeverity.WARN,
        description=told,
        metadata={
            "days_behind": 0 if live is None else len(live.owed),
            # Plotted, as every number is: it falls to 0 while the candidate's re-score goes on.
            "candidate_days_owed": sum(len(c.owed) for c in scores if c.role == "candidate"),
            "releases": dg.MetadataValue.md("\n".join(lines)),
        },
    )


def _table(states: Sequence[DayState]) -> str:
    lines = [
        "| day | ads with photos | not scored | photos not embedded | |",
        "|---|--:|--:|--:|---|",
    ]
    lines += [
        f"| {s.day} | {s.ads} | {s.unscored} | {s.unembedded} "
        f"| {'complete' if s.complete else 'owed'} |"
        for s in states
    ]
    return "\n".join(lines)
