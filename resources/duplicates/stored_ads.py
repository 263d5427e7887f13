"""Reads ads and their photos as they are stored now, to compare them."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Any

import numpy as np
import psycopg
from numpy.typing import NDArray

from ops.types import AdKey

Cursor = psycopg.Cursor[Any]

_ADS = """
    SELECT a.ad_id, a.revision, a.status, a.title, a.price, a.currency, a.seller, a.attributes,
        a.occurred_at, a.received_at, ARRAY(SELECT p.sha256 FROM lalafo.ad_photos AS p
            WHERE p.catalog = a.catalog AND p.ad_id = a.ad_id AND p.sha256 IS NOT NULL
            ORDER BY p.position)
    FROM lalafo.ads AS a WHERE a.catalog = %s AND a.ad_id = ANY(%s)
    AND a.status IN ('scored', 'unscored', 'no_photos')"""
_PHOTOS = """
    SELECT p.sha256, p.rendition_sha256, h.pdq::text, h.quality, h.details IS NOT NULL,
        (SELECT halfvec_send(e.embedding) FROM lalafo.embeddings AS e
            WHERE e.backbone = %(backbone)s AND e.sha256 = p.sha256)
    FROM lalafo.photos AS p LEFT JOIN lalafo.photo_hashes AS h USING (sha256)
    WHERE p.sha256 = ANY(%(photos)s)"""
_DETAILS = """
    SELECT sha256, details FROM lalafo.photo_hashes
    WHERE sha256 = ANY(%s) AND details IS NOT NULL"""
_HEADER = 4  # bytes before the numbers: how many there are, and nothing
_BITS = 256


@dataclass(frozen=True, slots=True)
class StoredAd:
    """An ad that is committed and not deleted. `photos`: the SHA-256 of each usable one, in order.

    Only a scored ad is compared: of others no photo is known, or not yet.
    """

    key: AdKey
    revision: int
    status: str
    title: str
    price: Decimal | None
    currency: str | None
    seller: str | None
    attributes: Mapping[str, float]
    occurred_at: datetime
    received_at: datetime
    photos: tuple[bytes, ...]

    @property
    def is_scored(self) -> bool:
        return self.status == "scored"


@dataclass(frozen=True, slots=True)
class StoredPhoto:
    """What is stored of a photo. `pdq`: 32 bytes, None if it was not computed yet. `has_details`:
    whether its binary features are stored. `embedding`: (D,) float32 of unit length, None if there
    is none."""

    sha256: bytes
    rendition_sha256: bytes
    pdq: bytes | None
    quality: int
    has_details: bool
    embedding: NDArray[np.float32] | None = field(repr=False)


def read_ads(cursor: Cursor, catalog: str, ad_ids: Sequence[str]) -> dict[str, StoredAd]:
    """The ads of a catalog by their ids; without those that are unknown, deleted, or not scored
    again yet."""
    cursor.execute(_ADS, (catalog, list(ad_ids)))
    found = {}
    for ad_id, revision, status, title, price, currency, seller, attributes, *rest in cursor:
        occurred_at, received_at, photos = rest
        distinct = dict.fromkeys(bytes(sha256) for sha256 in photos)
        found[ad_id] = StoredAd(
            *(AdKey(catalog, ad_id), revision, status, title, price, currency, seller),
            *(attributes or {}, occurred_at, received_at, tuple(distinct)),
        )
    return found


def read_photos(
    cursor: Cursor, photos: Iterable[bytes], backbone: str | None
) -> dict[bytes, StoredPhoto]:
    """The photos by their SHA-256; without those that are deleted.

    Args:
        backbone: whose embeddings are read; None: none.
    """
    cursor.execute(_PHOTOS, {"photos": list(photos), "backbone": backbone})
    found = {}
    for sha256, rendition, pdq, quality, has_details, vector in cursor:
        embedding = None
        if vector is not None:
            embedding = np.frombuffer(vector, ">f2", offset=_HEADER).astype(np.float32)
        found[bytes(sha256)] = StoredPhoto(
            bytes(sha256),
            bytes(rendition),
            None if pdq is None else int(pdq, 2).to_bytes(_BITS // 8, "big"),
            quality or 0,
            has_details,
            embedding,
        )
    return found


def read_details(cursor: Cursor, photos: Sequence[bytes]) -> dict[bytes, bytes]:
    """The packed binary features of photos; without those that have none stored."""
    return {bytes(sha256): bytes(it) for sha256, it in cursor.execute(_DETAILS, (list(photos),))}


def live_backbone(cursor: Cursor) -> str | None:
    """The backbone of the live release; None before there is one."""
    cursor.execute(
        "SELECT r.backbone FROM lalafo.active_releases AS f "
        "JOIN lalafo.releases AS r ON r.name = f.live"
    )
    row = cursor.fetchone()
    return None if row is None else str(row[0])
