"""Reads and repairs the photos of whole days, for assets and backfills.

Owns the definition of stale photos: those without an embedding under a backbone, without a
thumbnail, or with a temporary failure. Only such rows are read, in chunks; a write never
overwrites rows of a newer event. Stale ads are in `stale_ads.py`.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

import psycopg

from ops.outcomes import PhotoEmbedding
from ops.types import AdKey, Failure, Rendition
from resources.catalogue.rows import insert_embeddings, insert_photos, photo_subject
from resources.postgres.database import Database
from resources.releases.coverage import reopen_day


@dataclass(frozen=True, slots=True)
class StoredPhoto:
    """A photo in the store."""

    sha256: bytes
    rendition_sha256: bytes


@dataclass(frozen=True, slots=True)
class FailedPhoto:
    """A photo that failed for a temporary reason."""

    key: AdKey
    position: int
    url: str
    revision: int


class Catalogue:
    """Reads and writes the rows of whole days."""

    def __init__(self, database: Database, *, run_id: str) -> None:
        self.database = database
        self.run_id = run_id

    def photos_to_embed(
        self, days: Sequence[date], backbone: str, *, chunk: int
    ) -> Iterator[list[StoredPhoto]]:
        """The days' photos without an embedding under a backbone, each once, in chunks."""
        query = (
            "SELECT DISTINCT p.sha256, p.rendition_sha256 FROM lalafo.ads AS a "
            "JOIN lalafo.ad_photos AS ap USING (catalog, ad_id) "
            "JOIN lalafo.photos AS p ON p.sha256 = ap.sha256 "
            "WHERE a.day = ANY(%s) AND NOT EXISTS (SELECT FROM lalafo.embeddings AS e "
            "WHERE e.backbone = %s AND e.sha256 = p.sha256)"
        )
        for rows in self._chunks(query, (list(days), backbone), chunk):
            yield [StoredPhoto(*row) for row in rows]

    def photos_without_thumbnail(
        self, days: Sequence[date], *, chunk: int
    ) -> Iterator[list[StoredPhoto]]:
        """The days' photos without a thumbnail, each once, in chunks."""
        query = (
            "SELECT DISTINCT p.sha256, p.rendition_sha256 FROM lalafo.ads AS a "
            "JOIN lalafo.ad_photos AS ap USING (catalog, ad_id) "
            "JOIN lalafo.photos AS p ON p.sha256 = ap.sha256 "
            "WHERE a.day = ANY(%s) AND p.thumbnail_sha256 IS NULL"
        )
        for rows in self._chunks(query, (list(days),), chunk):
            yield [StoredPhoto(*row) for row in rows]

    def photos_to_retry(self, days: Sequence[date], reasons: Sequence[str]) -> list[FailedPhoto]:
        """The days' photos with a URL that failed for one of these reasons."""
        with self.database.cursor() as cursor:
            cursor.execute(
                "SELECT ap.catalog, ap.ad_id, ap.position, ap.url, ap.revision "
                "FROM lalafo.ads AS a JOIN lalafo.ad_photos AS ap USING (catalog, ad_id) "
                "WHERE a.day = ANY(%s) AND ap.reason = ANY(%s) AND ap.url IS NOT NULL "
                "ORDER BY 1, 2, 3",
                (list(days), list(reasons)),
            )
            return [
                FailedPhoto(AdKey(catalog, ad_id), position, url, revision)
                for catalog, ad_id, position, url, revision in cursor.fetchall()
            ]

    def write_embeddings(self, embeddings: Sequence[PhotoEmbedding]) -> None:
        """Insert embeddings; existing ones are kept."""
        with self.database.cursor() as cursor:
            insert_embeddings(cursor, embeddings, self.run_id)

    def repair_photo(self, failed: FailedPhoto, sha256: bytes, rendition: Rendition | None) -> bool:
        """Replace a photo's failure by the photo, unless the ad has a newer revision.

        The ad's predictions are deleted, since they were computed without this photo: it is stale
        now.

        Returns: whether the photo was written.
        """
        key = (failed.key.catalog, failed.key.ad_id)
        with self.database.cursor() as cursor:
            cursor.execute(
                "SELECT day FROM lalafo.ads WHERE catalog = %s AND ad_id = %s AND revision = %s "
                "FOR UPDATE",
                (*key, failed.revision),
            )
            row = cursor.fetchone()
            if row is None:
                return False
            reopen_day(cursor, row[0])
            insert_photos(cursor, () if rendition is None else (rendition,), self.run_id)
            cursor.execute(
                "UPDATE lalafo.ad_photos SET sha256 = %s, reason = NULL, run_id = %s "
                "WHERE catalog = %s AND ad_id = %s AND position = %s",
                (sha256, self.run_id, *key, failed.position),
            )
            cursor.execute(
                "DELETE FROM lalafo.failures WHERE kind = 'photo' AND subject = %s",
                (photo_subject(failed.key, failed.position),),
            )
            cursor.execute(
                "UPDATE lalafo.ads SET status = 'scored', updated_at = now() "
                "WHERE catalog = %s AND ad_id = %s",
                key,
            )
            cursor.execute("DELETE FROM lalafo.predictions WHERE catalog = %s AND ad_id = %s", key)
            return True

    def replace_failure(self, failed: FailedPhoto, failure: Failure) -> None:
        """Replace the reason of a photo's failure, unless the ad has a newer revision."""
        reason = failure.reason.value
        with self.database.cursor() as cursor:
            cursor.execute(
                "UPDATE lalafo.ad_photos SET reason = %s WHERE catalog = %s AND ad_id = %s "
                "AND position = %s AND revision = %s AND sha256 IS NULL",
                (reason, failed.key.catalog, failed.key.ad_id, failed.position, failed.revision),
            )
            if cursor.rowcount:
                cursor.execute(
                    "UPDATE lalafo.failures SET reason = %s, detail = %s, failed_at = now() "
                    "WHERE kind = 'photo' AND subject = %s",
                    (reason, failure.detail, photo_subject(failed.key, failed.position)),
                )

    def write_thumbnails(self, thumbnails: Sequence[tuple[bytes, bytes]]) -> None:
        """Write the thumbnails' digests: (photo, thumbnail) pairs, both stored already."""
        with self.database.cursor() as cursor:
            cursor.execute(
                "UPDATE lalafo.photos AS p SET thumbnail_sha256 = m.thumbnail "
                "FROM unnest(%s::bytea[], %s::bytea[]) AS m (photo, thumbnail) "
                "WHERE p.sha256 = m.photo",
                ([photo for photo, _ in thumbnails], [thumbnail for _, thumbnail in thumbnails]),
            )

    def _chunks(
        self, query: str, values: tuple[Any, ...], chunk: int
    ) -> Iterator[list[tuple[Any, ...]]]:
        """Rows by a server-side cursor, so that memory does not grow with the day.

        It has a connection of its own: writers use others meanwhile.
        """
        with self.database.begin() as connection, self.database.errors():
            driver = connection.connection.driver_connection
            assert isinstance(driver, psycopg.Connection)
            with driver.cursor(name="catalogue") as named:
                named.execute(query, values, binary=True)
                while rows := named.fetchmany(chunk):
                    yield rows
