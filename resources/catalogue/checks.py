"""Data quality checks of a day's rows in PostgreSQL; sessions and assets report them to Dagster.

Owns the checks and their thresholds. Does not depend on Dagster.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta

from ops.tasks import all_tasks
from resources.postgres.database import Database
from resources.releases.active import read_active_releases

PHOTOS_CHECK = "in_is_out_plus_failed"
EMBEDDINGS_CHECK = "unit_vectors"
SHARES_CHECK = "no_label_above_its_usual_share"

NORM_TOLERANCE = 2e-3  # halfvec has 11 bits: a unit vector of 576 halves is off by at most 5e-4
SHARE_MARGIN = 0.25
SHARE_MIN_ADS = 100
HISTORY_DAYS = 14


@dataclass(frozen=True, slots=True)
class Finding:
    """The result of one check."""

    passed: bool
    description: str
    figures: dict[str, int | float | str] = field(default_factory=dict)


def every_photo_is_accounted_for(database: Database, days: Sequence[date]) -> Finding:
    """Check that each photo of an ad is either stored or has a row in `failures`."""
    with database.cursor() as cursor:
        cursor.execute(
            "SELECT count(*), count(p.sha256), count(f.subject), count(*) FILTER "
            "(WHERE (p.sha256 IS NULL) = (f.subject IS NULL)) "
            "FROM lalafo.ads AS a JOIN lalafo.ad_photos AS ap USING (catalog, ad_id) "
            "LEFT JOIN lalafo.photos AS p ON p.sha256 = ap.sha256 "
            "LEFT JOIN lalafo.failures AS f ON f.kind = 'photo' "
            "AND f.subject = ap.catalog || '/' || ap.ad_id || '#' || ap.position "
            "WHERE a.day = ANY(%s)",
            (list(days),),
        )
        row = cursor.fetchone()
        assert row is not None
        named, stored, failed, wrong = row
    return Finding(
        passed=wrong == 0 and named == stored + failed,
        description=f"{named} photos in ads = {stored} stored + {failed} failed",
        figures={"named": named, "stored": stored, "failed": failed, "unaccounted": wrong},
    )


def embeddings_are_unit_vectors(database: Database, days: Sequence[date], backbone: str) -> Finding:
    """Check that every stored photo of the days has a unit-length embedding under a backbone."""
    with database.cursor() as cursor:
        cursor.execute(
            "SELECT count(*), count(e.embedding), "
            "count(*) FILTER (WHERE abs(l2_norm(e.embedding) - 1) > %s) FROM (SELECT DISTINCT "
            "ap.sha256 FROM lalafo.ads AS a JOIN lalafo.ad_photos AS ap USING (catalog, ad_id) "
            "WHERE a.day = ANY(%s) AND ap.sha256 IS NOT NULL) AS p "
            "LEFT JOIN lalafo.embeddings AS e ON e.sha256 = p.sha256 AND e.backbone = %s",
            (NORM_TOLERANCE, list(days), backbone),
        )
        row = cursor.fetchone()
        assert row is not None
        photos, embedded, off = row
    return Finding(
        passed=photos == embedded and off == 0,
        description=f"{embedded} of {photos} photos embedded, {off} not of unit length",
        figures={"photos": photos, "embedded": embedded, "not_unit": off},
    )


def no_label_above_its_usual_share(
    database: Database, days: Sequence[date], release: str, task: str
) -> Finding:
    """Check that no label's share of the days' ads is far above its share before.

    The usual share is that of the release's own predictions over the 14 days before. A broken
    model or feed tends to give every ad the same label.
    """
    first = min(days)
    with database.cursor() as cursor:
        cursor.execute(
            "SELECT p.label, count(*) FILTER (WHERE a.day = ANY(%s)), "
            "count(*) FILTER (WHERE a.day < %s) FROM lalafo.ads AS a "
            "JOIN lalafo.predictions AS p USING (catalog, ad_id) "
            "WHERE (a.day = ANY(%s) OR a.day BETWEEN %s AND %s) "
            "AND p.release = %s AND p.task = %s GROUP BY p.label",
            (
                *(list(days), first, list(days)),
                *(first - timedelta(days=HISTORY_DAYS), first - timedelta(days=1)),
                *(release, task),
            ),
        )
        rows = cursor.fetchall()
    now, before = sum(row[1] for row in rows), sum(row[2] for row in rows)
    if now < SHARE_MIN_ADS or before < SHARE_MIN_ADS:
        message = f"{now} ads now, {before} before: too few to compare (at least {SHARE_MIN_ADS})"
        return Finding(passed=True, description=message, figures={"ads": now, "ads_before": before})
    excess, label = max((row[1] / now - row[2] / before, row[0]) for row in rows)
    return Finding(
        passed=excess <= SHARE_MARGIN,
        description=f"the share of '{label}' differs by {excess:+.0%} from its usual share",
        figures={"ads": now, "ads_before": before, "label": label, "excess_share": excess},
    )


Check = Callable[[Database, Sequence[date]], Finding]


def catalogue_checks() -> Iterator[tuple[str, str, Check]]:
    """Yield (asset, check's name, check under the live release) of every check."""
    yield "ad_photos", PHOTOS_CHECK, every_photo_is_accounted_for
    yield "photo_embeddings", EMBEDDINGS_CHECK, _unit_vectors
    for task in all_tasks():
        yield task.asset_name, SHARES_CHECK, _usual_shares(task.name)


def _unit_vectors(database: Database, days: Sequence[date]) -> Finding:
    live = read_active_releases(database).live
    return embeddings_are_unit_vectors(database, days, live.backbone)


def _usual_shares(task: str) -> Check:
    def check(database: Database, days: Sequence[date]) -> Finding:
        live = read_active_releases(database).live
        return no_label_above_its_usual_share(database, days, live.name, task)

    return check
