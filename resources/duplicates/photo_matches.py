"""Which photos of an ad are those of other ads: what is known of pairs, and what is compared.

Owns which pairs are compared, and how many: those whose hashes are near first, then those whose
embeddings are most alike.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import psycopg
import structlog

from ops.duplicates.look_up import FURTHEST
from ops.duplicates.pdq import LEAST_QUALITY, distance
from ops.duplicates.photos.photo_print import PhotoPrint
from ops.duplicates.photos.photo_scores import PhotoAnswer, Verdict, compare_photos
from ops.isolation import describe, divided
from resources.duplicates.prints import Prints
from resources.duplicates.stored_ads import StoredPhoto

VERSION = 1
"""Of the comparison: what another one has found is compared again."""

MOST_PAIRS = 200
MOST_ALIKE, MOST_ALIKE_BEHIND = 12, 3
"""Of those, pairs that only their embeddings make likely: of each, local features are needed, which
take 35 ms. While ads come faster than that, fewer are compared."""

LEAST_COSINE = 0.5
"""Of those: below it few are copies. Of 75 real photos, with the default backbone, crops of 25 %
have 0.68 or more, paddings 0.54, screenshots 0.61; half of all collages 0.63, one in twenty under
0.43. Unrelated photos have 0.21 in the middle; one in a hundred is above 0.68."""

REMEMBERED = 50_000
"""Pairs that were different: about ten megabytes."""

WHOLE = ((0.0, 0.0), (1.0, 0.0), (1.0, 1.0), (0.0, 1.0))

Cursor = psycopg.Cursor[Any]
Corners = Sequence[Sequence[float]]

log = structlog.get_logger()

_KNOWN = """
    SELECT sha256, other_sha256, verdict, probability, changes, region, other_region
    FROM lalafo.photo_pairs
    WHERE sha256 = ANY(%(own)s) AND other_sha256 = ANY(%(other)s) AND version = %(version)s
    UNION ALL
    SELECT other_sha256, sha256, verdict, probability, changes, other_region, region
    FROM lalafo.photo_pairs
    WHERE other_sha256 = ANY(%(own)s) AND sha256 = ANY(%(other)s) AND version = %(version)s"""


@dataclass(frozen=True, slots=True)
class PhotoMatch:
    """A photo of an ad that is one of another ad: exact, altered, or likely the same thing."""

    sha256: bytes
    other_sha256: bytes
    verdict: Verdict
    probability: float
    changes: tuple[str, ...] = ()
    region: Corners | None = None
    other_region: Corners | None = None

    @property
    def is_copy(self) -> bool:
        """Whether both are one photo."""
        return self.verdict in (Verdict.EXACT, Verdict.ALTERED)


def same_bytes(sha256: bytes) -> PhotoMatch:
    """The match of a photo with itself, in another ad."""
    return PhotoMatch(sha256, sha256, Verdict.EXACT, 1.0, (), WHOLE, WHOLE)


def known_matches(
    cursor: Cursor, own: Sequence[bytes], other: Sequence[bytes]
) -> dict[tuple[bytes, bytes], PhotoMatch]:
    """What is stored of pairs of these photos, and those of the same bytes."""
    values = {"own": list(own), "other": list(other), "version": VERSION}
    found = {(sha256, sha256): same_bytes(sha256) for sha256 in set(own) & set(other)}
    for row in cursor.execute(_KNOWN, values):
        one, another, verdict, probability, changes, region, other_region = row
        match = PhotoMatch(
            *(bytes(one), bytes(another), Verdict(verdict), probability, tuple(changes)),
            *(region, other_region),
        )
        found[match.sha256, match.other_sha256] = match
    return found


def pairs_to_compare(
    own: Iterable[StoredPhoto],
    other: Iterable[StoredPhoto],
    mirrored: Mapping[bytes, bytes],
    known: Iterable[tuple[bytes, bytes]],
    *,
    most_alike: int = MOST_ALIKE,
) -> list[tuple[StoredPhoto, StoredPhoto]]:
    """The pairs worth a comparison, the likeliest first.

    Args:
        mirrored: the hash of each own photo's mirror image.
        known: pairs that need none.
        most_alike: of those that only their embeddings make likely.
    """
    done, others = set(known), sorted(other, key=lambda photo: photo.sha256)
    near: list[tuple[float, StoredPhoto, StoredPhoto]] = []
    alike: list[tuple[float, StoredPhoto, StoredPhoto]] = []
    for one in own:
        for another in others:
            if one.sha256 == another.sha256 or (one.sha256, another.sha256) in done:
                continue
            bits = _distance(one, another, mirrored)
            if bits is not None and bits <= FURTHEST:
                near.append((bits, one, another))
            elif one.embedding is not None and another.embedding is not None:
                cosine = float(one.embedding @ another.embedding)
                if cosine >= LEAST_COSINE:
                    alike.append((-cosine, one, another))
    near.sort(key=lambda pair: pair[0])
    alike.sort(key=lambda pair: pair[0])
    chosen = near[:MOST_PAIRS] + alike[:most_alike]
    return [(one, another) for _, one, another in chosen[:MOST_PAIRS]]


def _distance(
    one: StoredPhoto, another: StoredPhoto, mirrored: Mapping[bytes, bytes]
) -> int | None:
    """In bits, of the nearer of the photo and its mirror image; None where a hash says nothing."""
    if one.pdq is None or another.pdq is None:
        return None
    if min(one.quality, another.quality) < LEAST_QUALITY:
        return None
    straight = distance(one.pdq, another.pdq)
    other_way = mirrored.get(one.sha256)
    return straight if other_way is None else min(straight, distance(other_way, another.pdq))


class PhotoComparer:
    """Compares photos, and remembers which were different: they are met again and again.

    Args:
        prints: of the photos.
        kept: how many pairs it remembers.
    """

    def __init__(self, prints: Prints, *, kept: int = REMEMBERED) -> None:
        self.prints = prints
        self._kept = kept
        self._different: dict[tuple[bytes, bytes], None] = {}
        self._backbone: str | None = None

    def use(self, backbone: str | None) -> None:
        """Photos come with embeddings of this backbone from now on."""
        if backbone != self._backbone:
            self._backbone = backbone
            self._different.clear()
            self.prints.use(backbone)

    def compare(self, pairs: Sequence[tuple[StoredPhoto, StoredPhoto]]) -> list[PhotoMatch]:
        """The matches among these pairs; one that can't be compared is none.

        Raises:
            RetryableError: the store is unavailable.
        """
        found = []
        for one, another in pairs:
            names = min(one.sha256, another.sha256), max(one.sha256, another.sha256)
            if names in self._different:
                continue
            first, second = self.prints.of(one), self.prints.of(another)
            if first is None or second is None:
                continue
            answers = divided([(first, second)], lambda few: [compare_photos(*few[0])], _failed)
            if any(answer.verdict is Verdict.DIFFERENT for answer in answers):
                self._remember(names)
            else:
                found += [_match(answer) for answer in answers]
        return found

    def _remember(self, names: tuple[bytes, bytes]) -> None:
        self._different[names] = None
        if len(self._different) > self._kept:
            del self._different[next(iter(self._different))]


def _match(answer: PhotoAnswer) -> PhotoMatch:
    regions = answer.regions
    copy = answer.verdict is not Verdict.SAME_THING
    return PhotoMatch(
        answer.pair.first.sha256,
        answer.pair.second.sha256,
        answer.verdict,
        answer.same_photo if copy else answer.same_thing,
        tuple(change.value for change in answer.changes),
        None if regions is None else regions.first,
        None if regions is None else regions.second,
    )


def _failed(pair: tuple[PhotoPrint, PhotoPrint], error: BaseException) -> tuple[()]:
    names = [one.sha256.hex() for one in pair]
    log.error("duplicates.comparison_failed", photos=names, error=describe(error))
    return ()
