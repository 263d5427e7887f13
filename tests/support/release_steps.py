"""Steps shared by the tests of releases: install, judge, re-score, and check predictions."""

from collections.abc import Sequence
from datetime import date

from ops.models.release import Release
from ops.scoring.ready_release import ReadyRelease
from ops.tasks import all_tasks
from resources.catalogue.stale_photos import Catalogue
from resources.inference.loading import install, new_embedder, ready
from resources.postgres.database import Database
from resources.releases.active import read_active_releases
from resources.releases.coverage import DayState, close_complete_days, read_coverage
from resources.releases.registry import RegisteredRelease, find_release, write_verdict
from resources.rescoring.embed_and_score import embed_days, score_days
from resources.settings import Settings
from resources.storage.photos import PhotoStore
from resources.storage.releases import ReleaseStore

TOPIC = "ads.scored"


def judged(database: Database, settings: Settings, release: Release, why: str = "") -> str:
    """Install a release, store a verdict of its gate, and return its name."""
    name = install(database, ReleaseStore(settings.resolved_store_url), release).name
    against = read_active_releases(database).live.name
    verdict = {"passed": not why, "against": against, "why": [why] if why else []}
    write_verdict(database, name, verdict)
    return name


def loaded(settings: Settings, known: RegisteredRelease) -> ReadyRelease:
    """Load a registered release, ready to score."""
    release = ReleaseStore(settings.resolved_store_url).load(known.digest)
    embedder = new_embedder(release.backbone, settings)
    return ready(release.manifest, release.heads, embedder)


def rescore(
    database: Database, settings: Settings, name: str, days: Sequence[date] | None = None
) -> tuple[DayState, ...]:
    """Score a release's unscored days, as the assets do; return the state of these days."""
    known = find_release(database, name)
    unscored = read_coverage(database, name).unscored if days is None else days
    release = loaded(settings, known)
    catalogue = Catalogue(database, run_id=f"rescore-{name}")
    store = PhotoStore(settings.resolved_store_url, fsync=False)
    embed_days(catalogue, release, [release.embedder], store, unscored, on_progress=lambda _: None)
    for task in all_tasks():
        score_days(catalogue, release, task, list(unscored), on_progress=lambda _: None)
    return close_complete_days(database, known, unscored)


def without_a_value(database: Database, name: str) -> list[tuple[str, int]]:
    """Return scored ads without exactly one prediction of their revision under a release."""
    with database.cursor() as cursor:
        cursor.execute(
            "SELECT a.ad_id, a.revision FROM lalafo.ads AS a WHERE a.status = 'scored' AND "
            "(SELECT count(*) FROM lalafo.predictions AS p WHERE p.release = %s "
            "AND p.catalog = a.catalog AND p.ad_id = a.ad_id AND p.task = 'category' "
            "AND p.revision = a.revision) <> 1 ORDER BY 1",
            (name,),
        )
        return cursor.fetchall()


def left_over(database: Database, name: str) -> list[tuple[str, int]]:
    """Return predictions under a release that don't belong to an ad's current revision."""
    with database.cursor() as cursor:
        cursor.execute(
            "SELECT p.ad_id, p.revision FROM lalafo.predictions AS p LEFT JOIN lalafo.ads AS a "
            "ON a.catalog = p.catalog AND a.ad_id = p.ad_id AND a.revision = p.revision "
            "AND a.status = 'scored' WHERE p.release = %s AND a.ad_id IS NULL ORDER BY 1",
            (name,),
        )
        return cursor.fetchall()
