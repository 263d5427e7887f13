"""Reads what tasks read of stored ads: their fields, other tasks' answers, and their photos.

Owns that a re-score, and a task after the ad's path, get the same inputs as one on it. What a
chunk's ads have is read by one statement for each kind of input, and each rendition once.
`stale_ads.py` reads the ads and their vectors.
"""

import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ops.errors import BadInputError, Reason, StoredObjectError
from ops.isolation import describe
from ops.models.preprocessing import LONGEST_SIDE, Preprocessing
from ops.scoring.photo_answers import PhotoInput
from ops.scoring.predictions import AdInput
from ops.tasks import AdFields, Inputs, Scope, Task
from ops.types import AdKey, Failure, Prediction
from resources.catalogue.stale_ads import StaleAds
from resources.postgres.database import Database
from resources.releases.photo_answers import read_photo_answers
from resources.storage.photos import PhotoStore

PIXEL_BYTES = 64 * 2**20
"""Pixels of a chunk in memory at once."""

Image = NDArray[np.uint8]
Unreadable = BadInputError | StoredObjectError

_LENGTH = struct.Struct(">i")
_REVISION = struct.Struct(">q")
_DAY = struct.Struct(">i")
_FIRST_DATE = date(2000, 1, 1)  # PostgreSQL's day 0


@dataclass(frozen=True, slots=True)
class StoredPhoto:
    """What a row of `photos` has for tasks."""

    rendition_sha256: bytes
    source: tuple[int, int]  # width and height of the seller's file


@dataclass(frozen=True, slots=True)
class StaleKey:
    """The key and the revision of a stale ad."""

    ad: AdKey
    revision: int


def photos_a_chunk(inputs: Inputs, most: int) -> int:
    """How many photos of a chunk fit PIXEL_BYTES, `most` at most."""
    sides = [side for side in (inputs.pixels, LONGEST_SIDE if inputs.rendition else None) if side]
    if not sides:
        return most
    return max(1, min(most, PIXEL_BYTES // sum(3 * side**2 for side in sides)))


def encode_key(ad: AdKey, revision: int, day: date) -> bytes:
    """The key of an ad as fields of binary COPY: catalog, id, revision, day."""
    fields = (
        *(ad.catalog.encode(), ad.ad_id.encode(), _REVISION.pack(revision)),
        _DAY.pack((day - _FIRST_DATE).days),
    )
    return b"".join(_LENGTH.pack(len(data)) + data for data in fields)


def decode_key(data: bytes) -> StaleKey:
    """The key of an ad from its fields of binary COPY: catalog, id, revision, day."""
    values, at = [], 0
    for _ in range(3):
        (size,) = _LENGTH.unpack_from(data, at)
        values.append(data[at + _LENGTH.size : at + _LENGTH.size + size])
        at += _LENGTH.size + size
    catalog, ad_id, revision = values
    return StaleKey(AdKey(catalog.decode(), ad_id.decode()), *_REVISION.unpack(revision))


def ad_fields(values: Sequence[Any]) -> AdFields:
    """The fields of an ad from its columns, in the order of AdFields."""
    *texts, occurred_at, kafka_at, attributes = values
    catalog, ad_id, title, description, category, price, currency = texts
    return AdFields(
        *(catalog, ad_id, title, description, category, price, currency),
        occurred_at=occurred_at.astimezone(UTC),
        received_at=kafka_at.astimezone(UTC),
        attributes={} if attributes is None else attributes,
    )


class InputReader:
    """Reads the inputs of one task under one release.

    Args:
        store: of the photos, for a task that reads them.
    """

    def __init__(
        self, database: Database, *, task: Task, release: str, store: PhotoStore | None
    ) -> None:
        self._database = database
        self._task = task
        self._inputs = task.inputs
        self._release = release
        self._store = store

    def read(self, stale: StaleAds) -> list[AdInput | Unreadable | None]:
        """The inputs of each ad. None: the ad has changed, and another read will find it.
        An exception: a photo of it can't be read.

        Raises:
            RetryableError: PostgreSQL or the store is unavailable.
        """
        if self._task.scope is Scope.PHOTO:
            return self._of_photos(stale)
        keys = [decode_key(key) for key in stale.keys]
        fields = self._fields(keys) if self._inputs.fields else None
        answers = self._answers(keys) if self._inputs.answers else None
        stored = self._stored(stale.photos) if self._inputs.views else {}
        found: list[AdInput | Unreadable | None] = []
        for index, (first, end) in enumerate(_spans(stale)):
            if fields is not None and fields[index] is None:
                found.append(None)
                continue
            try:
                pixels = self._pixels(stale.photos[first:end], stored)
            except (BadInputError, StoredObjectError) as error:
                found.append(error)
                continue
            found.append(
                AdInput(
                    keys[index].ad,
                    list(stale.vectors[first:end]),
                    pixels,
                    None if fields is None else fields[index],
                    {} if answers is None else answers[index],
                    photos=end - first,
                )
            )
        return found

    def _of_photos(self, stale: StaleAds) -> list[AdInput | Unreadable | None]:
        """The inputs of a task of scope photo; a photo that can't be read fails alone."""
        keys = [decode_key(key) for key in stale.keys]
        places = self._places(keys)
        answered_by = (self._release, self._task.name)
        answers = read_photo_answers(self._database, list(set(stale.photos)), [answered_by])
        without = [sha256 for sha256 in dict.fromkeys(stale.photos) if sha256 not in answers]
        stored = self._stored(without)
        at = {sha256: index for index, sha256 in reversed(list(enumerate(stale.photos)))}
        photos: dict[bytes, PhotoInput] = {}
        for sha256, index in at.items():
            row = answers.get(sha256, {}).get(answered_by)
            vector = stale.vectors[index] if self._inputs.embedding else None
            photo = PhotoInput(sha256, vector)
            if row is not None:
                photo.stored = {self._task.name: row}
            else:
                self._read_photo(photo, stored)
            photos[sha256] = photo
        found: list[AdInput | Unreadable | None] = []
        for index, (first, end) in enumerate(_spans(stale)):
            of = stale.photos[first:end]
            if not all(sha256 in places[index] for sha256 in of):
                found.append(None)
                continue
            found.append(
                AdInput(
                    keys[index].ad,
                    (),
                    photos=len(of),
                    of_photos=[photos[sha256] for sha256 in of],
                    positions=[places[index][sha256] for sha256 in of],
                )
            )
        return found

    def _read_photo(self, photo: PhotoInput, stored: Mapping[bytes, StoredPhoto]) -> None:
        """Read what the task reads of a photo; it has failed for one that can't be read."""
        try:
            row = _row_of(photo.sha256, stored)
            photo.source = row.source
            photo.images = self._images(row, self._inputs.views)
        except (BadInputError, StoredObjectError) as error:
            failure = Failure(Reason.INTERNAL_ERROR, describe(error))
            photo.made[self._task.name] = failure

    def _places(self, keys: Sequence[StaleKey]) -> list[dict[bytes, int]]:
        """The first position of each distinct photo of each ad."""
        rows: list[dict[bytes, int]] = [{} for _ in keys]
        for number, sha256, position in self._of_ads(
            "SELECT k.number, ap.sha256, min(ap.position) FROM keys AS k "
            "JOIN lalafo.ads AS a ON a.catalog = k.catalog AND a.ad_id = k.ad_id "
            "AND a.revision = k.revision JOIN lalafo.ad_photos AS ap "
            "ON ap.catalog = k.catalog AND ap.ad_id = k.ad_id WHERE ap.sha256 IS NOT NULL "
            "GROUP BY 1, 2",
            keys,
        ):
            rows[number - 1][bytes(sha256)] = position
        return rows

    def _fields(self, keys: Sequence[StaleKey]) -> list[AdFields | None]:
        rows: list[AdFields | None] = [None] * len(keys)
        for number, *values in self._of_ads(
            "SELECT k.number, a.catalog, a.ad_id, a.title, a.description, a.category, a.price, "
            "a.currency, a.occurred_at, a.kafka_at, a.attributes FROM keys AS k "
            "JOIN lalafo.ads AS a "
            "ON a.catalog = k.catalog AND a.ad_id = k.ad_id AND a.revision = k.revision",
            keys,
        ):
            rows[number - 1] = ad_fields(values)
        return rows

    def _answers(self, keys: Sequence[StaleKey]) -> list[dict[str, Prediction]]:
        rows: list[dict[str, Prediction]] = [{} for _ in keys]
        for number, task, label, score, details in self._of_ads(
            "SELECT k.number, p.task, p.label, p.score::float8, p.details FROM keys AS k "
            "JOIN lalafo.predictions_with_details AS p ON p.release = %(release)s "
            "AND p.catalog = k.catalog AND p.ad_id = k.ad_id AND p.task = ANY(%(tasks)s) "
            "AND p.revision = k.revision",
            keys,
        ):
            rows[number - 1][task] = Prediction(task, label, score, details)
        return rows

    def _of_ads(self, query: str, keys: Sequence[StaleKey]) -> list[tuple[Any, ...]]:
        with self._database.cursor() as cursor:
            cursor.execute(
                "WITH keys AS MATERIALIZED (SELECT * FROM unnest(%(catalogs)s::text[], "
                "%(ad_ids)s::text[], %(revisions)s::bigint[]) WITH ORDINALITY "
                f"AS k (catalog, ad_id, revision, number)) {query}",
                {
                    "catalogs": [key.ad.catalog for key in keys],
                    "ad_ids": [key.ad.ad_id for key in keys],
                    "revisions": [key.revision for key in keys],
                    "release": self._release,
                    "tasks": list(self._inputs.answers),
                },
            )
            return cursor.fetchall()

    def _stored(self, photos: Sequence[bytes]) -> dict[bytes, StoredPhoto]:
        """The rows of photos."""
        if not photos:
            return {}
        with self._database.cursor() as cursor:
            cursor.execute(
                "SELECT sha256, rendition_sha256, source_width, source_height FROM lalafo.photos "
                "WHERE sha256 = ANY(%s)",
                (list(set(photos)),),
            )
            return {
                bytes(sha256): StoredPhoto(bytes(rendition), (width, height))
                for sha256, rendition, width, height in cursor.fetchall()
            }

    def _pixels(
        self, photos: Sequence[bytes], stored: Mapping[bytes, StoredPhoto]
    ) -> dict[int, list[Image]]:
        view, side = self._inputs.view, self._inputs.pixels
        if view is None or side is None:
            return {}
        key, how = view
        rows = [_row_of(sha256, stored) for sha256 in photos]
        return {side: [self._images(row, {key: how})[key] for row in rows]}

    def _images(self, row: StoredPhoto, views: Mapping[str, Preprocessing]) -> dict[str, Image]:
        """A photo's views; its rendition is read once.

        Raises:
            BadInputError: it can't be decoded.
            StoredObjectError: it is lost or damaged.
        """
        if not views:
            return {}
        from ops.models.embed import prepare

        if self._store is None:
            raise StoredObjectError("tasks read photos from a store, and none was given")
        data = self._store.get("renditions", row.rendition_sha256)
        return {key: prepare(data, how) for key, how in views.items()}


def _spans(stale: StaleAds) -> Iterator[tuple[int, int]]:
    """The first index of each ad's photos, and the one after the last."""
    ends: list[int] = np.searchsorted(stale.owner, np.arange(len(stale.keys) + 1)).tolist()
    return pairwise(ends)


def _row_of(sha256: bytes, stored: Mapping[bytes, StoredPhoto]) -> StoredPhoto:
    if sha256 not in stored:
        raise StoredObjectError(f"the photo {sha256.hex()} has no row")
    return stored[sha256]
