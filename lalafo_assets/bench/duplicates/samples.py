"""The photos that pairs are made of, and which of them are alike.

Half of the photos are for fitting and the other half for judging, by the SHA-256 of their files.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lalafo_assets.bench.photos.files import is_for_fitting, photo_files, pixels_of
from lalafo_assets.synthetic.photos import generate
from ops.duplicates.look_up import FURTHEST
from ops.errors import ConfigurationError
from ops.photos.pixels import Pixels

NEAREST = 8  # photos: those with the nearest embeddings
OF_GROUP = 4  # others of the same group


@dataclass(frozen=True, slots=True, eq=False)
class Sample:
    """A photo. `groups`: its folder, and in a folder of ID_KIND.jpg the id and the kind, such as
    all kitchens, and all photos of a home."""

    name: str
    groups: tuple[str, ...]
    pixels: Pixels
    path: Path | None = None


def read_samples(folder: Path, count: int, *, for_fitting: bool, seed: int = 1) -> list[Sample]:
    """Up to `count` photos below a folder, of one half.

    Raises:
        ConfigurationError: there is none.
    """
    paths = photo_files(folder)
    random.Random(seed).shuffle(paths)  # noqa: S311 - a sample
    found: list[Sample] = []
    for path in paths:
        data = path.read_bytes()
        if is_for_fitting(data) == for_fitting:
            name = path.relative_to(folder).as_posix()
            flat = path.parent in (folder, folder / "photos")
            groups = tuple(path.stem.split("_")) if flat else (path.parent.name,)
            found.append(Sample(name, groups, pixels_of(data), path))
        if len(found) == count:
            break
    if not found:
        raise ConfigurationError(f"{folder} contains no photo for this half (.jpg, .png)")
    return found


def drawn_samples(count: int, *, seed: int) -> list[Sample]:
    """Drawn photos, where no real ones are given."""
    return [
        Sample(f"{photo.category}-{number}", (photo.category,), pixels_of(photo.data))
        for number, photo in enumerate(generate(count, seed))
    ]


def hard_pairs(
    samples: Sequence[Sample], embeddings: NDArray[np.float32], *, seed: int
) -> list[tuple[int, int]]:
    """Pairs of different photos that are alike: the NEAREST by embedding, OF_GROUP others of each
    group. Sorted, each once, the smaller index first."""
    rng = np.random.default_rng(seed)
    likeness = embeddings @ embeddings.T
    np.fill_diagonal(likeness, -1)
    members: dict[str, list[int]] = {}
    for index, sample in enumerate(samples):
        for group in sample.groups:
            members.setdefault(group, []).append(index)
    found: set[tuple[int, int]] = set()
    for index, sample in enumerate(samples):
        near = np.argsort(-likeness[index], kind="stable")[:NEAREST].tolist()
        for group in sample.groups:
            near += rng.permutation(members[group])[:OF_GROUP].tolist()
        found |= {(min(index, it), max(index, it)) for it in near if it != index}
    return sorted(found)


def copies_in_the_data(hashes: Sequence[bytes]) -> set[tuple[int, int]]:
    """Pairs of photos whose PDQ hashes are within FURTHEST bits: data sets hold some photos twice.

    They are no pairs of different photos, and are set aside. Nothing is set aside by what is to be
    judged.
    """
    rows = np.frombuffer(b"".join(hashes), np.uint64).reshape(len(hashes), -1)
    found = set()
    for index in range(len(rows)):
        near = np.bitwise_count(rows[index] ^ rows[index + 1 :]).sum(axis=1) <= FURTHEST
        found |= {(index, index + 1 + int(it)) for it in np.flatnonzero(near)}
    return found
