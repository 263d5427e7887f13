"""Compares photos with altered copies of them, and with copies of photos that are like them."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lalafo_assets.bench.duplicates.alterations import ALTERATIONS, Copy, altered_copies
from lalafo_assets.bench.duplicates.phash import phash
from lalafo_assets.bench.duplicates.prints import prints
from lalafo_assets.bench.duplicates.samples import Sample, copies_in_the_data, hard_pairs
from ops.duplicates.pdq import distance
from ops.duplicates.photos.binary_features import agreeing
from ops.duplicates.photos.photo_pairs import photo_pair
from ops.duplicates.photos.photo_print import PhotoPrint

ORIGINAL = "original"
OTHERS = 2  # of the hard pairs of a photo, those whose altered copies are compared too


@dataclass(frozen=True, slots=True, eq=False)
class Compared:
    """A pair. `name`: how the copy was altered, or ORIGINAL for two photos as they are.
    `same`: whether one is a copy of the other. `index`, `other`: of the photos. `features`: of
    `ops.duplicates.photos.photo_pairs`. `phash_distance`: of the baseline's hashes, in bits.
    `agreeing`: binary features, as `ops.duplicates.photos.binary_features` counts them."""

    name: str
    same: bool
    index: int
    other: int
    features: NDArray[np.float64]
    pdq_distance: int
    phash_distance: int
    mirrored: bool
    agreeing: int


@dataclass(frozen=True, slots=True, eq=False)
class Prepared:
    """Photos with their prints, the pairs of photos that are alike, and the pairs
    that are set aside because the data has a photo twice."""

    samples: Sequence[Sample]
    prints: Sequence[PhotoPrint]
    hard: Sequence[tuple[int, int]]
    aside: frozenset[tuple[int, int]]


def prepare(
    samples: Sequence[Sample], *, seed: int, aside: frozenset[tuple[int, int]] = frozenset()
) -> Prepared:
    """Make the prints and choose the hard pairs; `aside` are pairs that a person found."""
    made = list(prints([it.pixels for it in samples]))
    twice = aside | copies_in_the_data([it.pdq.hash for it in made])
    vectors = np.array([it.embedding for it in made])
    hard = [it for it in hard_pairs(samples, vectors, seed=seed) if it not in twice]
    return Prepared(samples, made, hard, frozenset(twice))


def compared_originals(prepared: Prepared) -> Iterator[Compared]:
    """The hard pairs of photos as they are."""
    for one, other in prepared.hard:
        yield _compared(ORIGINAL, one, other, prepared.prints[one], prepared.prints[other])


def compared_copies(
    prepared: Prepared, *, seed: int, names: Sequence[str] = tuple(ALTERATIONS)
) -> Iterator[Compared]:
    """Each altered copy with its photo; with the photos most like it; and with the copies of these
    that were altered in the same way, since two screenshots have the same bars."""
    likes = _likes(prepared)
    photos = [it.pixels for it in prepared.samples]
    originals = prepared.prints
    for name in names:
        copies = list(altered_copies(photos, seed=seed, names=(name,)))
        made = list(prints([it.pixels for it in copies]))
        for copy, mine in zip(copies, made, strict=True):
            yield _compared(name, copy.photo, copy.photo, originals[copy.photo], mine)
            for other in likes[copy.photo]:
                if _is_apart(copy, copies[other], prepared.aside):
                    yield _compared(name, other, copy.photo, originals[other], mine)
                    yield _compared(name, other, copy.photo, made[other], mine)


def _is_apart(one: Copy, other: Copy, aside: frozenset[tuple[int, int]]) -> bool:
    """Whether no photo that one of the copies shows is a photo of the other."""
    here, there = ({it.photo, it.beside} - {None} for it in (one, other))
    pairs = {(min(a, b), max(a, b)) for a in here for b in there}  # type: ignore[type-var]
    return here.isdisjoint(there) and pairs.isdisjoint(aside)


def _compared(name: str, one: int, other: int, mine: PhotoPrint, yours: PhotoPrint) -> Compared:
    pair = photo_pair(mine, yours)
    return Compared(
        name,
        one == other,
        one,
        other,
        pair.features,
        pair.pdq_distance,
        distance(phash(mine.grey), phash(yours.grey)),
        pair.mirrored,
        max(agreeing(one, yours.both_details[0]) for one in mine.both_details),
    )


def _likes(prepared: Prepared) -> list[list[int]]:
    """The OTHERS most alike of each photo, by embedding, of its hard pairs."""
    vectors = np.array([it.embedding for it in prepared.prints])
    likes: list[list[int]] = [[] for _ in prepared.samples]
    for one, other in prepared.hard:
        likes[one].append(other)
        likes[other].append(one)
    return [
        sorted(some, key=lambda it: -float(vectors[index] @ vectors[it]))[:OTHERS]
        for index, some in enumerate(likes)
    ]
