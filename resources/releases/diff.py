"""Compare the predictions of two releases ad by ad, in PostgreSQL.

A change is a different label and, for a task with a number to compare (a price), the relative
change of that number. Only ads that both releases have scored at the same revision are compared, so
the comparison also works before a re-score is complete; it then reports what is missing. Does not
depend on the presentation.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from ops.tasks import Task
from resources.postgres.database import Database
from resources.releases.coverage import read_coverage
from resources.releases.mask_diff import MaskDiff, compare_masks

SHIFT_BINS = 40
"""Histogram bins of the score's change, from -1 to 1."""

CHANGE_EDGES = (-0.5, -0.2, -0.1, -0.05, 0.05, 0.1, 0.2, 1.0)
"""Between the histogram bins of a number's relative change; a bin includes its lower end."""


@dataclass(frozen=True, slots=True)
class NumberShift:
    """The relative change of a number in the details, candidate against live; 0.1 is +10 %."""

    ads: int  # whose number is above zero under both releases
    p10: float
    p50: float
    p90: float
    beyond_a_tenth: int  # ads whose number changes by more than 10 %
    histogram: NDArray[np.int64]  # (len(CHANGE_EDGES) + 1,) ads by change, in ascending order


@dataclass(frozen=True, slots=True)
class TaskDiff:
    """One task's predictions under both releases."""

    task: str
    only_live: int  # ads that only the live release has scored at their revision
    moves: Mapping[tuple[str, str], int]  # ads by (live label, candidate label), equal ones too
    shifts: NDArray[np.int64]  # (SHIFT_BINS,) ads by change of score, from -1 to 1
    number: NumberShift | None = None
    masks: MaskDiff | None = None

    @property
    def ads(self) -> int:
        """The number of ads that both releases have scored."""
        return sum(self.moves.values())

    @property
    def changed(self) -> int:
        """The number of these ads whose label differs."""
        return sum(count for (before, after), count in self.moves.items() if before != after)

    def top_moves(self, limit: int) -> list[tuple[str, str, int]]:
        """Return the largest flows between different labels: (live, candidate, ads)."""
        flows = [(*pair, count) for pair, count in self.moves.items() if pair[0] != pair[1]]
        return sorted(flows, key=lambda flow: (-flow[2], flow[0], flow[1]))[:limit]

    def matrix(self, limit: int) -> tuple[list[str], NDArray[np.int64]]:
        """Return the labels in the largest flows, and a (C, C) matrix of ads: rows are live labels,
        columns are candidate labels."""
        labels = sorted({name for flow in self.top_moves(limit) for name in flow[:2]})
        index = {label: position for position, label in enumerate(labels)}
        matrix = np.zeros((len(labels), len(labels)), np.int64)
        for (before, after), count in self.moves.items():
            if before in index and after in index:
                matrix[index[before], index[after]] = count
        return labels, matrix


@dataclass(frozen=True, slots=True)
class Example:
    """An ad whose label differs between the releases."""

    catalog: str
    ad_id: str
    task: str
    live: str
    candidate: str
    rendition_sha256: bytes  # of its first photo


@dataclass(frozen=True, slots=True)
class ReleaseDiff:
    """The comparison of two releases in all tasks."""

    live: str
    candidate: str
    days: int
    unscored: int  # of these days, not complete under the candidate
    tasks: tuple[TaskDiff, ...]


def compare(database: Database, *, live: str, candidate: str, tasks: Sequence[Task]) -> ReleaseDiff:
    """Compare two releases on every ad that both have scored."""
    coverage = read_coverage(database, candidate)
    return ReleaseDiff(
        live=live,
        candidate=candidate,
        days=coverage.days,
        unscored=len(coverage.unscored),
        tasks=tuple(_compare(database, live, candidate, task) for task in tasks),
    )


_BOTH = (
    "lalafo.predictions AS l JOIN lalafo.predictions AS c ON c.catalog = l.catalog "
    "AND c.ad_id = l.ad_id AND c.task = l.task AND c.revision = l.revision AND c.release = %(new)s "
    "WHERE l.release = %(old)s AND l.task = %(task)s"
)


def _compare(database: Database, live: str, candidate: str, task: Task) -> TaskDiff:
    values = {"old": live, "new": candidate, "task": task.name, "bins": SHIFT_BINS}
    moves: dict[tuple[str, str], int] = {}
    shifts = np.zeros(SHIFT_BINS, np.int64)
    with database.cursor() as cursor:
        cursor.execute(
            "SELECT l.label, c.label, least(%(bins)s, greatest(1, width_bucket("
            f"c.score::float8 - l.score::float8, -1, 1, %(bins)s))), count(*) FROM {_BOTH} "
            "GROUP BY 1, 2, 3",
            values,
        )
        for before, after, bucket, count in cursor.fetchall():
            moves[before, after] = moves.get((before, after), 0) + count
            shifts[bucket - 1] += count
        cursor.execute(
            "SELECT count(*) FROM lalafo.predictions WHERE release = %(old)s AND task = %(task)s",
            values,
        )
        (scored,) = cursor.fetchall()[0]
    number = None if task.number is None else _number_shift(database, values, task.number)
    masks = None
    if task.mask_of is not None:
        masks = compare_masks(database, live=live, candidate=candidate, task=task)
    return TaskDiff(task.name, scored - sum(moves.values()), moves, shifts, number, masks)


def _number_shift(database: Database, values: Mapping[str, object], key: str) -> NumberShift:
    """How the number `key` of the details changes."""
    histogram = np.zeros(len(CHANGE_EDGES) + 1, np.int64)
    with database.cursor() as cursor:
        cursor.execute(
            # Rounded, so that 120 is 20 % above 100, and not a little less.
            "WITH n AS (SELECT round(((c.details->>%(key)s)::float8 "
            "/ (l.details->>%(key)s)::float8 - 1)::numeric, 9)::float8 AS moved "
            f"FROM {_BOTH} AND (l.details->>%(key)s)::float8 > 0 "
            "AND (c.details->>%(key)s)::float8 > 0), "
            "bins AS (SELECT width_bucket(moved, %(edges)s::float8[]) AS bin, count(*) AS ads "
            "FROM n GROUP BY 1) "
            "SELECT count(*), coalesce(percentile_cont(0.1) WITHIN GROUP (ORDER BY moved), 0), "
            "coalesce(percentile_cont(0.5) WITHIN GROUP (ORDER BY moved), 0), "
            "coalesce(percentile_cont(0.9) WITHIN GROUP (ORDER BY moved), 0), "
            "count(*) FILTER (WHERE abs(moved) > 0.1), "
            "(SELECT coalesce(jsonb_object_agg(bin, ads), '{}') FROM bins) FROM n",
            {**values, "key": key, "edges": list(CHANGE_EDGES)},
        )
        ads, p10, p50, p90, beyond, bins = cursor.fetchall()[0]
    for bin_, count in bins.items():
        histogram[int(bin_)] = count
    return NumberShift(ads, p10, p50, p90, beyond, histogram)


def change_bins() -> list[str]:
    """The histogram bins of a number's change in words, in ascending order."""
    low, high = CHANGE_EDGES[0], CHANGE_EDGES[-1]
    between = [f"{lower:+.0%} to {upper:+.0%}" for lower, upper in pairwise(CHANGE_EDGES)]
    return [f"below {low:+.0%}", *between, f"{high:+.0%} and more"]


def examples(
    database: Database, *, live: str, candidate: str, task: str, limit: int
) -> list[Example]:
    """Return ads whose label differs, a few per move, the candidate's highest scores first."""
    with database.cursor() as cursor:
        cursor.execute(
            "WITH moved AS (SELECT l.catalog, l.ad_id, l.label AS old, c.label AS new, c.score, "
            "row_number() OVER (PARTITION BY l.label, c.label ORDER BY c.score DESC, l.catalog, "
            "l.ad_id) AS place, count(*) OVER (PARTITION BY l.label, c.label) AS flow "
            f"FROM {_BOTH} AND l.label <> c.label) "
            "SELECT m.catalog, m.ad_id, %(task)s::text, m.old, m.new, p.rendition_sha256 "
            "FROM moved AS m JOIN LATERAL (SELECT ap.sha256 FROM lalafo.ad_photos AS ap "
            "WHERE ap.catalog = m.catalog AND ap.ad_id = m.ad_id AND ap.sha256 IS NOT NULL "
            "ORDER BY ap.position LIMIT 1) AS first ON true "
            "JOIN lalafo.photos AS p ON p.sha256 = first.sha256 WHERE m.place <= %(limit)s "
            "ORDER BY m.place, m.flow DESC, m.old, m.new LIMIT %(limit)s",
            {"old": live, "new": candidate, "task": task, "limit": limit},
        )
        return [Example(*row) for row in cursor.fetchall()]
