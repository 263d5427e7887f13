"""A small catalogue inserted directly into the tables: ads of several days, one photo each."""

import hashlib
import json
from collections.abc import Mapping
from datetime import UTC, date, datetime, time
from pathlib import Path

import numpy as np

from ops.models.release import Release
from ops.outcomes import PhotoEmbedding
from resources.catalogue.rows import insert_embeddings
from resources.inference.loading import install
from resources.postgres.database import Database
from resources.releases.active import read_active_releases
from resources.releases.registry import RegisteredRelease, write_verdict
from resources.storage.releases import ReleaseStore

FIRST, SECOND, THIRD = date(2026, 3, 1), date(2026, 3, 2), date(2026, 3, 5)


def known(database: Database, home: Path, release: Release) -> RegisteredRelease:
    """Install a release in the store below `home`, and register it."""
    return install(database, ReleaseStore(str(home / "store")), release)


def judged(database: Database, home: Path, release: Release, why: str = "") -> RegisteredRelease:
    """Install a release, with a verdict of its gate against the live one."""
    registered = known(database, home, release)
    against = read_active_releases(database).live.name
    write_verdict(
        database,
        registered.name,
        {"passed": not why, "against": against, "why": [why] if why else [], "figures": {}},
    )
    return registered


def add_ads(database: Database, release: RegisteredRelease, counts: Mapping[date, int]) -> None:
    """Add scored ads by day, with embeddings under a release's backbone, without predictions."""
    vectors = []
    dimension = release.manifest["dimension"]
    for day, count in counts.items():
        for number in range(count):
            name = f"{day:%m%d}-{number:03}"
            sha = hashlib.sha256(name.encode()).digest()
            add_ad(database, day, name, sha)
            row = np.random.default_rng(list(sha[:4])).normal(size=dimension)
            unit = (row / np.linalg.norm(row)).astype(np.float16)
            vectors.append(PhotoEmbedding(sha, release.backbone, release.name, unit))
    with database.cursor() as cursor:
        insert_embeddings(cursor, vectors, "run-0")


def add_ad(database: Database, day: date, ad_id: str, sha: bytes) -> None:
    """Add an ad of revision 1 with one stored photo."""
    at = datetime.combine(day, time(12), UTC)
    with database.cursor() as cursor:
        cursor.execute(
            "INSERT INTO lalafo.ads (catalog, ad_id, revision, day, status, title, description, "
            "category, event_id, occurred_at, kafka_at, received_at, stream_id, topic, partition, "
            "\"offset\", run_id) VALUES ('kg', %s, 1, %s, 'scored', '', '', 'chair', %s, "
            "%s, %s, %s, 's', 'ads', 0, 0, 'run-0')",
            (ad_id, day, ad_id, at, at, at),
        )
        cursor.execute(
            "INSERT INTO lalafo.photos (sha256, rendition_sha256, rendition_bytes, width, height, "
            "source_format, source_width, source_height, source_bytes, run_id) "
            "VALUES (%s, %s, 9, 4, 4, 'jpeg', 4, 4, 9, 'run-0')",
            (sha, sha),
        )
        cursor.execute(
            "INSERT INTO lalafo.ad_photos (catalog, ad_id, position, url, sha256, reason, "
            "revision, run_id) VALUES ('kg', %s, 0, 'https://p.example/1', %s, NULL, 1, 'run-0')",
            (ad_id, sha),
        )


def add_prediction(
    database: Database,
    release: str,
    ad_id: str,
    label: str,
    score: float,
    details: Mapping[str, object] | None = None,
    revision: int = 1,
) -> None:
    """Add a release's prediction for an ad."""
    with database.cursor() as cursor:
        cursor.execute(
            "INSERT INTO lalafo.predictions (release, catalog, ad_id, task, revision, day, label, "
            "score, details, run_id) SELECT %s, catalog, ad_id, 'category', %s, day, %s, %s, %s, "
            "'run-0' FROM lalafo.ads WHERE ad_id = %s",
            (release, revision, label, score, json.dumps(dict(details or {})), ad_id),
        )


def rows(database: Database, query: str, *values: object) -> list[tuple]:
    with database.cursor() as cursor:
        cursor.execute(query, values)
        return cursor.fetchall()
