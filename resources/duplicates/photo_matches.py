"""Which photos of an ad are those of other ads: what is known of pairs, and what is compared.

Owns which pairs are compared, and how many, as a cascade: those whose hashes are near; and of those
whose embeddings are most alike, the few whose binary features agree. An ad without a true candidate
has no photo decoded but its own.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import psycopg
import structlog
from numpy.typing import NDArray

from ops.duplicates.look_up import FURTHEST
from ops.duplicates.pdq import BITS, LEAST_QUALITY
from ops.duplicates.photos.binary_features import ENOUGH, agreeing, unpack
from ops.duplicates.photos.photo_print import PhotoPrint
from ops.duplicates.photos.photo_scores import PhotoAnswer, Verdict, compare_photos
from ops.isolation import describe, divided
from resources.duplicates.prints import Prints
from resources.duplicates.stored_ads import StoredPhoto

VERSION = 2
"""Of the comparison: what another one has found is compared again."""

MOST_PAIRS = 200


@dataclass(frozen=True, slots=True)
class Effort:
    """How many of the pairs that only their embeddings make likely are compared, for one ad.

    `looked_at`: by their binary features, half a millisecond each. `compared`: of those, by their
    pixels; the local features of two photos take up to 60 ms.
    """

    looked_at: int
    compared: int


USUAL, BEHIND = Effort(16, 12), Effort(8, 2)
"""The second while ads come faster than the first allows."""

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


class ChosenPairs(NamedTuple):
    """Pairs of photos, the likeliest first. `near`: of near hashes. `alike`: those that only their
    embeddings make likely."""

    near: list[tuple[StoredPhoto, StoredPhoto]]
    alike: list[tuple[StoredPhoto, StoredPhoto]]


def pairs_to_compare(
    own: Sequence[StoredPhoto],
    other: Iterable[StoredPhoto],
    mirrored: Mapping[bytes, bytes],
    known: Iterable[tuple[bytes, bytes]],
    *,
    effort: Effort = USUAL,
) -> ChosenPairs:
    """The pairs that may be the same.

    Args:
        mirrored: the hash of each own photo's mirror image.
        known: pairs that need no comparison.
    """
    done, others = set(known), sorted(other, key=lambda photo: photo.sha256)
    if not own or not others:
        return ChosenPairs([], [])
    open_ = np.array(
        [[a.sha256 != b.sha256 and (a.sha256, b.sha256) not in done for b in others] for a in own]
    )
    bits = _distances(own, others, mirrored)
    cosines = _cosines(own, others)
    near = open_ & (bits <= FURTHEST)
    alike = open_ & ~near & (cosines >= LEAST_COSINE)

    def first(chosen: NDArray[np.bool_], rank: NDArray[Any], most: int) -> list[Any]:
        rows, columns = np.nonzero(chosen)
        order = np.argsort(rank[rows, columns], kind="stable")[:most]
        return [(own[rows[it]], others[columns[it]]) for it in order]

    return ChosenPairs(first(near, bits, MOST_PAIRS), first(alike, -cosines, effort.looked_at))


def _distances(
    own: Sequence[StoredPhoto], others: Sequence[StoredPhoto], mirrored: Mapping[bytes, bytes]
) -> NDArray[np.int64]:
    """(own, others) in bits, of the nearer of the photo and its mirror image; BITS where a hash
    says nothing."""
    here, there = (_rows([it.pdq for it in photos]) for photos in (own, others))
    across = _rows([mirrored.get(it.sha256, it.pdq) for it in own])
    found = np.minimum(_bits(here, there), _bits(across, there))
    speak, other_speak = (
        np.array([it.pdq is not None and it.quality >= LEAST_QUALITY for it in photos])
        for photos in (own, others)
    )
    return np.where(np.outer(speak, other_speak), found, BITS)


def _rows(hashes: Sequence[bytes | None]) -> NDArray[np.uint64]:
    """(N, 4) uint64; zeros where there is none."""
    joined = b"".join(bytes(BITS // 8) if it is None else it for it in hashes)
    return np.frombuffer(joined, np.uint64).reshape(len(hashes), -1)


def _bits(one: NDArray[np.uint64], other: NDArray[np.uint64]) -> NDArray[np.int64]:
    counts: NDArray[np.int64] = np.bitwise_count(one[:, None] ^ other[None]).sum(axis=2, dtype=int)
    return counts


def _cosines(own: Sequence[StoredPhoto], others: Sequence[StoredPhoto]) -> NDArray[np.float32]:
    """(own, others); -1 where one of them has no embedding."""
    found = np.full((len(own), len(others)), -1, np.float32)
    here, there = (
        {at: it.embedding for at, it in enumerate(photos) if it.embedding is not None}
        for photos in (own, others)
    )
    if here and there:
        vectors, other_vectors = (np.stack(list(it.values())) for it in (here, there))
        found[np.ix_(list(here), list(there))] = np.matmul(vectors, other_vectors.T)
    return found


class PhotoComparer:
    """Compares photos, and remembers which were different: they are met again and again.

    Args:
        prints: of the photos.
        kept: how many pairs it remembers.

    Attributes:
        looked_at: pairs whose binary features were compared.
        compared: pairs that were compared.
    """

    def __init__(self, prints: Prints, *, kept: int = REMEMBERED) -> None:
        self.looked_at = self.compared = 0
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
            names = _names(one, another)
            if names in self._different:
                continue
            first, second = self.prints.of(one), self.prints.of(another)
            if first is None or second is None:
                continue
            self.compared += 1
            answers = divided([(first, second)], lambda few: [compare_photos(*few[0])], _failed)
            if any(answer.verdict is Verdict.DIFFERENT for answer in answers):
                self._remember(names)
            else:
                found += [_match(answer) for answer in answers]
        return found

    def promising(
        self,
        pairs: Sequence[tuple[StoredPhoto, StoredPhoto]],
        details: Mapping[bytes, bytes],
        *,
        most: int,
    ) -> list[tuple[StoredPhoto, StoredPhoto]]:
        """Those of the pairs whose binary features agree, most of them first.

        Args:
            details: the packed features of the second photos, where they are stored.

        Raises:
            RetryableError: the store is unavailable.
        """
        ranked = []
        for one, another in pairs:
            names = _names(one, another)
            if names in self._different:
                continue
            first, second = self.prints.of(one), details.get(another.sha256)
            if first is None or second is None:
                continue
            self.looked_at += 1
            there = unpack(second)
            agree = max(agreeing(here, there) for here in first.both_details)
            if agree >= ENOUGH:
                ranked.append((-agree, one, another))
            else:
                self._remember(names)
        ranked.sort(key=lambda it: it[0])
        return [(one, another) for _, one, another in ranked[:most]]

    def _remember(self, names: tuple[bytes, bytes]) -> None:
        self._different[names] = None
        if len(self._different) > self._kept:
            del self._different[next(iter(self._different))]


def _names(one: StoredPhoto, another: StoredPhoto) -> tuple[bytes, bytes]:
    return min(one.sha256, another.sha256), max(one.sha256, another.sha256)


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
