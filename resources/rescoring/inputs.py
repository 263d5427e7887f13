"""Reads what tasks read of stale ads: their fields, other tasks' answers, and photos as pixels.

Owns that a re-score gives a task the same inputs as the stream did. What a chunk's ads have is read
by one statement for each kind of input, and each rendition once. `resources/catalogue/stale_ads.py`
reads the ads and their vectors.
"""

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ops.errors import BadInputError, StoredObjectError
from ops.scoring.predictions import AdInput
from ops.tasks import AdFields, Inputs
from ops.types import AdKey, Prediction
from resources.catalogue.stale_ads import StaleAds
from resources.postgres.database import Database
from resources.storage.photos import PhotoStore

PIXEL_BYTES = 64 * 2**20
"""Pixels of a chunk in memory at once."""

Image = NDArray[np.uint8]
Unreadable = BadInputError | StoredObjectError

_LENGTH = struct.Struct(">i")
_REVISION = struct.Struct(">q")


@dataclass(frozen=True, slots=True)
class StaleKey:
    """The key and the revision of a stale ad."""

    ad: AdKey
    revision: int


def photos_a_chunk(inputs: Inputs, most: int) -> int:
    """How many photos of a chunk fit PIXEL_BYTES, `most` at most."""
    if inputs.pixels is None:
        return most
    return max(1, min(most, PIXEL_BYTES // (3 * inputs.pixels**2)))


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
        attributes=attributes or {},
    )


class InputReader:
    """Reads the inputs of one task under one release.

    Args:
        store_url: of the store of photos, for a task that reads pixels.
    """

    def __init__(
        self, database: Database, *, inputs: Inputs, release: str, store_url: str | None
    ) -> None:
        self._database = database
        self._inputs = inputs
        self._release = release
        self._store = None
        if inputs.view is not None and store_url is not None:
            import torch

            torch.set_num_threads(1)  # workers are processes, one for each core
            self._store = PhotoStore(store_url)

    def read(self, stale: StaleAds) -> list[AdInput | Unreadable | None]:
        """The inputs of each ad. None: the ad has changed meanwhile, and another read will find it.
        An exception: a photo of it can't be read.

        Raises:
            RetryableError: PostgreSQL or the store is unavailable.
        """
        keys = [decode_key(key) for key in stale.keys]
        fields = self._fields(keys) if self._inputs.fields else None
        answers = self._answers(keys) if self._inputs.answers else None
        renditions = self._renditions(stale) if self._store is not None else {}
        ends = np.searchsorted(stale.owner, np.arange(len(keys) + 1)).tolist()
        found: list[AdInput | Unreadable | None] = []
        for index, (first, end) in enumerate(pairwise(ends)):
            if fields is not None and fields[index] is None:
                found.append(None)
                continue
            try:
                pixels = self._pixels(stale.photos[first:end], renditions)
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

    def _fields(self, keys: Sequence[StaleKey]) -> list[AdFields | None]:
        rows: list[AdFields | None] = [None] * len(keys)
        for number, *values in self._of_ads(
            "SELECT k.number, a.catalog, a.ad_id, a.title, a.description, a.category, a.price, "
            "a.currency, a.occurred_at, a.kafka_at, a.attributes "
            "FROM keys AS k JOIN lalafo.ads AS a ON a.catalog = k.catalog "
            "AND a.ad_id = k.ad_id AND a.revision = k.revision",
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

    def _renditions(self, stale: StaleAds) -> dict[bytes, bytes]:
        """The rendition's SHA-256 of each photo."""
        with self._database.cursor() as cursor:
            cursor.execute(
                "SELECT sha256, rendition_sha256 FROM lalafo.photos WHERE sha256 = ANY(%s)",
                (list(set(stale.photos)),),
            )
            return {bytes(sha256): bytes(rendition) for sha256, rendition in cursor.fetchall()}

    def _pixels(
        self, photos: Sequence[bytes], renditions: Mapping[bytes, bytes]
    ) -> dict[int, list[Image]]:
        view, side = self._inputs.view, self._inputs.pixels
        if view is None or side is None:
            return {}
        from ops.models.embed import prepare

        if self._store is None:
            raise StoredObjectError("photos as pixels need a store, and none was given")
        images = []
        for sha256 in photos:
            if sha256 not in renditions:
                raise StoredObjectError(f"the photo {sha256.hex()} has no row")
            data = self._store.get("renditions", renditions[sha256])
            images.append(prepare(data, view[1]))
        return {side: images}
