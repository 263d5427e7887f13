"""Compares an ad with its candidates, and says what is to be stored. Writes nothing but hashes.

An ad whose photos and title are the same as when it was compared last is not searched for again:
others that came since have found it.
"""

from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, field, replace
from typing import Any

import psycopg

from ops.duplicates.ads.ad_pairs import ComparedAd, compare_ads
from ops.duplicates.ads.titles import title_key
from ops.duplicates.pdq import Pdq
from ops.duplicates.photos.photo_scores import Verdict
from ops.types import AdKey
from resources.duplicates import candidates
from resources.duplicates.photo_matches import (
    MOST_PAIRS,
    USUAL,
    VERSION,
    Effort,
    PhotoComparer,
    PhotoMatch,
    known_matches,
    pairs_to_compare,
)
from resources.duplicates.prints import Prints
from resources.duplicates.stored_ads import (
    StoredAd,
    StoredPhoto,
    live_backbone,
    read_ads,
    read_details,
    read_photos,
)
from resources.postgres.database import Database

Cursor = psycopg.Cursor[Any]

# Not of photos that were deleted meanwhile. A row of an earlier version lacks the details.
_PUT_HASHES = """
    INSERT INTO lalafo.photo_hashes AS held (sha256, pdq, quality, details)
    SELECT p.sha256, new.pdq::bit(256), new.quality, new.details
    FROM unnest(%s::bytea[], %s::text[], %s::smallint[], %s::bytea[])
        AS new (sha256, pdq, quality, details)
    JOIN lalafo.photos AS p USING (sha256) ORDER BY p.sha256 FOR KEY SHARE OF p
    ON CONFLICT (sha256) DO UPDATE SET details = EXCLUDED.details WHERE held.details IS NULL"""
_BEFORE = (
    "SELECT photos, common, version, title_key FROM lalafo.compared_ads "
    "WHERE catalog = %s AND ad_id = %s"
)
_COMMON = "SELECT sha256 FROM lalafo.common_photos WHERE catalog = %s AND sha256 = ANY(%s)"
_BEST = {Verdict.EXACT: 0, Verdict.ALTERED: 1, Verdict.SAME_THING: 2}


@dataclass(frozen=True, slots=True)
class AdMatch:
    """What a comparison with another ad has found. `copies`: whether they share a photo."""

    other: StoredAd
    probability: float
    reasons: tuple[tuple[str, float], ...]
    matches: tuple[PhotoMatch, ...]

    @property
    def verdict(self) -> Verdict | None:
        """The best one of their photos."""
        return min((it.verdict for it in self.matches), key=_BEST.__getitem__, default=None)

    @property
    def copies(self) -> bool:
        return any(match.is_copy for match in self.matches)


@dataclass(frozen=True, slots=True)
class Comparison:
    """Of one ad. `ad`: None if it is deleted or unknown. `before`: its photos when it was compared
    last. `common`: those of its photos that were left out. `found`: pairs of photos that are
    new."""

    key: AdKey
    ad: StoredAd | None
    before: frozenset[bytes]
    common: frozenset[bytes] = frozenset()
    ads: tuple[AdMatch, ...] = ()
    found: tuple[PhotoMatch, ...] = field(default=(), repr=False)


def compare(
    database: Database, comparer: PhotoComparer, key: AdKey, *, effort: Effort = USUAL
) -> Comparison:
    """Compare an ad, as it is stored now, with its candidates.

    Raises:
        RetryableError: PostgreSQL or the store is unavailable.
    """
    with database.cursor() as cursor:
        ad = read_ads(cursor, key.catalog, [key.ad_id]).get(key.ad_id)
        row = cursor.execute(_BEFORE, (key.catalog, key.ad_id)).fetchone()
        before = frozenset() if row is None else _set(row[0])
        if ad is None or not ad.is_scored:
            return Comparison(key, ad, before)
        common = _common(cursor, key.catalog, ad.photos)
        own = [sha256 for sha256 in ad.photos if sha256 not in common]
        same = row is not None and _is_same(row, own, ad.title)
        backbone = live_backbone(cursor)
        photos = read_photos(cursor, own, backbone)
    comparer.use(backbone)
    made = {} if same else _hashed(database, comparer.prints, photos.values())
    ids, of_title = _candidates(database, ad, list(photos), made, search=not same)
    with database.cursor() as cursor:
        others = read_ads(cursor, key.catalog, ids)
        others = {ad_id: it for ad_id, it in others.items() if it.is_scored}
        shown = {sha256 for it in others.values() for sha256 in it.photos}
        left_out = _common(cursor, key.catalog, list(shown)) | common
        shown -= left_out
        matches = known_matches(cursor, own, list(shown))
        stored = {} if same else read_photos(cursor, shown, backbone)
    found: list[PhotoMatch] = []
    if not same:
        with_hash = [_with_hash(photo, made) for photo in photos.values()]
        mirrored = {sha256: pdq.mirrored for sha256, pdq in made.items()}
        chosen = pairs_to_compare(with_hash, stored.values(), mirrored, matches, effort=effort)
        details = _details(database, comparer.prints, {it.sha256: it for _, it in chosen.alike})
        alike = comparer.promising(chosen.alike, details, most=effort.compared)
        found = comparer.compare([*chosen.near, *alike][:MOST_PAIRS])
        matches |= {(it.sha256, it.other_sha256): it for it in found}
    ads = (_compare(ad, others[ad_id], matches, left_out) for ad_id in ids if ad_id in others)
    kept = (it for it in ads if it.matches or not _is_of_title(ad, it.other, of_title))
    return Comparison(key, ad, before, frozenset(common), tuple(kept), tuple(found))


def _is_of_title(ad: StoredAd, other: StoredAd, of_title: Set[str]) -> bool:
    """Whether their titles alone made another seller's ad a candidate: they are no evidence then,
    and a photo must be."""
    return other.key.ad_id in of_title and (ad.seller is None or ad.seller != other.seller)


def _is_same(row: tuple[Any, ...], own: Sequence[bytes], title: str) -> bool:
    photos, common, version, key = row
    then = _set(photos) - _set(common)
    return version == VERSION and then == set(own) and key == title_key(title)


def _candidates(
    database: Database,
    ad: StoredAd,
    photos: Sequence[bytes],
    hashes: Mapping[bytes, Pdq],
    *,
    search: bool,
) -> tuple[list[str], Set[str]]:
    """The ids of the ads to compare with, those with a photo of its bytes first; and of these,
    those that nothing but their titles found."""
    with database.cursor() as cursor:
        cursor.execute(candidates.LOOK_UPS)
        found = candidates.with_same_bytes(cursor, ad.key, photos) if photos else []
        found += candidates.partners(cursor, ad.key)
        if search:
            found += candidates.with_near_hashes(cursor, ad.key, hashes)
        of_title = candidates.of_title(cursor, ad) if search else []
        of_seller = candidates.of_seller(cursor, ad)
    nearest = candidates.nearest(database, ad.key, photos) if search and photos else []
    others = dict.fromkeys([*found, *nearest, *of_seller])
    ids = list(dict.fromkeys([*found, *nearest, *of_title, *of_seller]))
    return ids[: candidates.MOST_CANDIDATES], set(of_title) - others.keys()


def _hashed(database: Database, prints: Prints, photos: Iterable[StoredPhoto]) -> dict[bytes, Pdq]:
    """The hashes of photos that can be read; what is not stored of them yet is stored."""
    found, new = {}, []
    for photo in photos:
        made = prints.of(photo)
        if made is None:
            continue
        found[photo.sha256] = made.pdq
        if photo.pdq is None or not photo.has_details:
            hash_ = candidates.bits_of(made.pdq.hash)
            new.append((photo.sha256, hash_, made.pdq.quality, made.details))
    if new:
        with database.statement() as cursor:
            cursor.execute(_PUT_HASHES, [list(column) for column in zip(*new, strict=True)])
    return found


def _details(
    database: Database, prints: Prints, photos: Mapping[bytes, StoredPhoto]
) -> dict[bytes, bytes]:
    """The binary features of photos; those that are not stored yet are made, and stored."""
    if not photos:
        return {}
    missing = [photo for photo in photos.values() if not photo.has_details]
    _hashed(database, prints, missing)
    with database.cursor() as cursor:
        return read_details(cursor, list(photos))


def _with_hash(photo: StoredPhoto, made: Mapping[bytes, Pdq]) -> StoredPhoto:
    pdq = made.get(photo.sha256)
    if pdq is None:
        return photo
    return replace(photo, pdq=pdq.hash, quality=pdq.quality)


def _compare(
    ad: StoredAd,
    other: StoredAd,
    known: Mapping[tuple[bytes, bytes], PhotoMatch],
    common: Set[bytes],
) -> AdMatch:
    matches = tuple(
        known[one, another]
        for one in ad.photos
        for another in other.photos
        if (one, another) in known
    )
    copies = _Names(match for match in matches if match.is_copy)
    things = _Names(matches)
    answer = compare_ads(
        _compared_ad(ad, copies, things, common), _compared_ad(other, copies, things, common)
    )
    reasons = tuple((outcome.value, weight) for outcome, weight in answer.outcomes)
    return AdMatch(other, answer.probability, reasons, matches)


class _Names:
    """One name for all photos that are matched with each other: that of the smallest."""

    def __init__(self, matches: Iterable[PhotoMatch]) -> None:
        self._parent: dict[bytes, bytes] = {}
        for match in matches:
            one, other = sorted((self.of(match.sha256), self.of(match.other_sha256)))
            if one != other:
                self._parent[other] = one

    def of(self, sha256: bytes) -> bytes:
        while sha256 in self._parent:
            sha256 = self._parent[sha256]
        return sha256


def _compared_ad(ad: StoredAd, copies: _Names, things: _Names, common: Set[bytes]) -> ComparedAd:
    photos = [sha256 for sha256 in ad.photos if sha256 not in common]
    return ComparedAd(
        photos={copies.of(sha256).hex() for sha256 in photos},
        things={things.of(sha256).hex() for sha256 in photos},
        title=ad.title,
        price=ad.price,
        currency=ad.currency,
        seller=ad.seller,
        attributes=ad.attributes,
        posted_at=ad.occurred_at,
    )


def _common(cursor: Cursor, catalog: str, photos: Sequence[bytes]) -> set[bytes]:
    if not photos:
        return set()
    return {bytes(sha256) for (sha256,) in cursor.execute(_COMMON, (catalog, list(photos)))}


def _set(photos: Iterable[Any]) -> frozenset[bytes]:
    return frozenset(bytes(sha256) for sha256 in photos)
