"""Shows in Dagster which days are scored under which release: partitions and a check."""

from collections.abc import Sequence
from datetime import date, timedelta

import dagster as dg

from resources.dagster.names import RELEASE_SCORES
from resources.releases.coverage import ReleaseCoverage

BEHIND_CHECK = "no_day_is_behind"
NAMED_RANGES = 12

RELEASES, DAYS = "releases", "release_days"
scored_releases = dg.DynamicPartitionsDefinition(name=RELEASES)
scored_days = dg.DynamicPartitionsDefinition(name=DAYS)


def report_coverage(instance: dg.DagsterInstance, scores: Sequence[ReleaseCoverage]) -> int:
    """Update the asset's partitions, materializations and check.

    Returns: the number of new materializations.
    """
    names = {coverage.release for coverage in scores}
    days = {
        day.isoformat() for coverage in scores for day in (*coverage.complete, *coverage.unscored)
    }
    for name, expected in ((RELEASES, names), (DAYS, days)):
        existing = set(instance.get_dynamic_partitions(name))
        instance.add_dynamic_partitions(name, sorted(expected - existing))
        for obsolete in sorted(existing - expected):
            instance.delete_dynamic_partition(name, obsolete)
    materialized = instance.get_materialized_partitions(RELEASE_SCORES)
    new = 0
    for coverage in scores:
        # A day without coverage began after the release was proposed: it is complete by
        # construction.
        for day in sorted(days - {day.isoformat() for day in coverage.unscored}):
            key = dg.MultiPartitionKey({"day": day, "release": coverage.release})
            if key not in materialized:
                instance.report_runless_asset_event(
                    dg.AssetMaterialization(
                        RELEASE_SCORES, partition=key, metadata={"release": coverage.release}
                    )
                )
                new += 1
    instance.report_runless_asset_event(evaluation(scores))
    return new


def evaluation(scores: Sequence[ReleaseCoverage]) -> dg.AssetCheckEvaluation:
    """The evaluation of the check that no day is behind the live release."""
    result = check_result(scores)
    return dg.AssetCheckEvaluation(
        asset_key=RELEASE_SCORES,
        check_name=BEHIND_CHECK,
        passed=result.passed,
        severity=result.severity,
        description=result.description,
        metadata=result.metadata,
    )


def ranges(days: Sequence[date]) -> str:
    """Ascending days as text: "2026-01-03 to 2026-01-09, 2026-02-01"; the first NAMED_RANGES."""
    runs: list[tuple[date, date]] = []
    for day in days:
        if runs and day - runs[-1][1] == timedelta(days=1):
            runs[-1] = (runs[-1][0], day)
        else:
            runs.append((day, day))
    texts = [
        first.isoformat() if first == last else f"{first.isoformat()} to {last.isoformat()}"
        for first, last in runs[:NAMED_RANGES]
    ]
    more = len(runs) - NAMED_RANGES
    return ", ".join(texts) + (f" and {more} more ranges" if more > 0 else "")


def check_result(scores: Sequence[ReleaseCoverage]) -> dg.AssetCheckResult:
    """The check's result, with a table of all releases as metadata."""
    live = next((coverage for coverage in scores if coverage.role == "live"), None)
    if live is None:
        message = "no release is live"
    elif not live.unscored:
        message = f"no day is behind {live.release}"
    else:
        message = f"{len(live.unscored)} days are behind {live.release}: {ranges(live.unscored)}"
    lines = ["| release | | days complete | days behind |", "|---|---|---|---|"]
    lines += [
        f"| {c.release} | {c.role} | {len(c.complete)} | {len(c.unscored)}: {ranges(c.unscored)} |"
        if c.unscored
        else f"| {c.release} | {c.role} | {len(c.complete)} | 0 |"
        for c in scores
    ]
    return dg.AssetCheckResult(
        passed=live is None or not live.unscored,
        severity=dg.AssetCheckSeverity.WARN,
        description=message,
        metadata={
            "days_behind": 0 if live is None else len(live.unscored),
            # Dagster plots numbers: this one falls to 0 during the candidate's re-score.
            "candidate_days_unscored": sum(
                len(c.unscored) for c in scores if c.role == "candidate"
            ),
            "releases": dg.MetadataValue.md("\n".join(lines)),
        },
    )
