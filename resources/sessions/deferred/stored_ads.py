"""Reads the ads of the queue as they are stored now, with their photos and vectors."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np

from resources.catalogue.inputs import encode_key
from resources.catalogue.stale_ads import StaleAds
from resources.catalogue.stored_vectors import read_vectors
from resources.postgres.database import Database
from resources.sessions.deferred.queue import DeferredAd


@dataclass(frozen=True, slots=True)
class StoredAd:
    """A scored ad of the revision that was queued.

    `updated_at`: of its last commit. Results are written only if the ad still has it.
    `photos`: (sha256, reason) of each photo by its position; one of the two is None.
    """

    queued: DeferredAd
    event_id: str
    updated_at: datetime
    photos: tuple[tuple[bytes | None, str | None], ...]

    @property
    def distinct(self) -> list[bytes]:
        """The SHA-256 of its usable photos, each once, in order."""
        return list(dict.fromkeys(sha256 for sha256, _ in self.photos if sha256 is not None))


def read_ads(database: Database, queued: Sequence[DeferredAd]) -> list[StoredAd]:
    """The ads that are scored and have the queued revision; the others are left out.

    An ad that is queued twice is returned once, for the last of its rows.
    """
    last = {ad.key: ad for ad in sorted(queued, key=lambda ad: ad.id)}
    with database.cursor() as cursor:
        cursor.execute(
            "SELECT k.id, a.event_id, a.updated_at, ap.sha256, ap.reason "
            "FROM unnest(%s::bigint[], %s::text[], %s::text[], %s::bigint[]) "
            "AS k (id, catalog, ad_id, revision) JOIN lalafo.ads AS a "
            "ON a.catalog = k.catalog AND a.ad_id = k.ad_id AND a.revision = k.revision "
            "JOIN lalafo.ad_photos AS ap ON ap.catalog = k.catalog AND ap.ad_id = k.ad_id "
            "WHERE a.status = 'scored' ORDER BY k.id, ap.position",
            (
                [ad.id for ad in last.values()],
                [ad.key.catalog for ad in last.values()],
                [ad.key.ad_id for ad in last.values()],
                [ad.revision for ad in last.values()],
            ),
        )
        rows: dict[int, list[tuple[Any, ...]]] = {}
        for id_, *row in cursor.fetchall():
            rows.setdefault(id_, []).append(tuple(row))
    return [
        StoredAd(
            *(ad, rows[ad.id][0][0], rows[ad.id][0][1]),
            tuple((None if sha is None else bytes(sha), why) for _, _, sha, why in rows[ad.id]),
        )
        for ad in last.values()
        if ad.id in rows
    ]


def in_chunks(ads: Sequence[StoredAd], photos: int) -> Iterator[list[StoredAd]]:
    """The ads in chunks of so many photos, or of one ad with more."""
    chunk: list[StoredAd] = []
    count = 0
    for ad in ads:
        if chunk and count + len(ad.distinct) > photos:
            yield chunk
            chunk, count = [], 0
        chunk.append(ad)
        count += len(ad.distinct)
    if chunk:
        yield chunk


def as_stale(
    database: Database, ads: Sequence[StoredAd], backbone: str, dimension: int
) -> StaleAds:
    """The ads as a re-score reads them; without those that have a photo without a vector.

    Args:
        dimension: of the backbone's vectors; 0: they are not read.
    """
    photos = [ad.distinct for ad in ads]
    flat = [sha256 for of in photos for sha256 in of]
    vectors = np.zeros((len(flat), 0), np.float16)
    stored = np.ones(len(flat), np.bool_)
    if dimension > 0:
        with database.cursor() as cursor:
            cursor.execute("SET LOCAL enable_seqscan = off")
            vectors, stored = read_vectors(cursor, backbone, dimension, flat)
    owner = np.repeat(np.arange(len(ads)), [len(of) for of in photos])
    complete = np.ones(len(ads), np.bool_)
    complete[owner[~stored]] = False
    kept = np.flatnonzero(complete).tolist()
    rows = np.flatnonzero(complete[owner]).tolist()
    index = {ad: number for number, ad in enumerate(kept)}
    keys = (ads[ad].queued for ad in kept)
    return StaleAds(
        [encode_key(it.key, it.revision, it.day) for it in keys],
        vectors[rows],
        np.array([index[ad] for ad in owner[rows].tolist()], np.int64),
        [flat[row] for row in rows],
    )


def by_key(ads: Sequence[StoredAd]) -> Mapping[bytes, StoredAd]:
    """The ads by their keys in `StaleAds`."""
    return {encode_key(ad.queued.key, ad.queued.revision, ad.queued.day): ad for ad in ads}
