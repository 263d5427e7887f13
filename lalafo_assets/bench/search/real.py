"""Embeddings of real photos, for searches among generated vectors."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from lalafo_assets.bench.photos.embeddings import embeddings
from lalafo_assets.bench.photos.files import is_for_fitting, photo_files, pixels_of
from lalafo_assets.bench.search.fill import Halves
from ops.errors import ConfigurationError


def real_vectors(folders: Sequence[Path], dimension: int) -> tuple[Halves, Halves]:
    """Embed the photos below folders with the default backbone.

    Returns:
        The vectors to be found, and those to search with: (N, D) and (M, D) float16 unit rows, of
        half of the photos each, by the SHA-256 of their files.

    Raises:
        ConfigurationError: a half has no photo, or the backbone's vectors have another dimension.
    """
    halves: dict[bool, list[Halves]] = {True: [], False: []}
    for folder in folders:
        for path in photo_files(folder):
            data = path.read_bytes()
            found = embeddings([pixels_of(data)]).astype(np.float16)
            halves[is_for_fitting(data)].append(found)
    if not all(halves.values()):
        raise ConfigurationError("--photos: too few photos (.jpg, .png); a few dozen are needed")
    kept, searched = (np.concatenate(halves[which]) for which in (True, False))
    if kept.shape[1] != dimension:
        raise ConfigurationError(
            f"--photos: the default backbone's vectors have {kept.shape[1]} numbers, "
            f"--dimension says {dimension}"
        )
    return kept, searched
