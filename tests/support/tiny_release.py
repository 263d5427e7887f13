"""A model with two dimensions, and releases of it without files, for tests of their users."""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from ops.errors import Reason
from ops.models.release import Head, Preprocessing
from ops.scoring.ads import LoadedPhoto
from ops.scoring.ready_release import ReadyRelease
from ops.types import Failure, Rendition
from tests.support.batches import rendition, sha

SURE = 1 / (1 + np.exp(-8))
"""The highest possible score of a photo: softmax of (8, 0)."""


class TinyBackbone:
    """Embeds dark photos as (1, 0) and bright ones as (0, 1). Records the photos of each call."""

    dimension = 2

    def __init__(self) -> None:
        self.calls: list[int] = []

    def embed(self, images: Sequence[np.ndarray]) -> np.ndarray:
        self.calls.append(len(images))
        rows = [[1, 0] if image.mean() < 128 else [0, 1] for image in images]
        return np.array(rows, np.float16).reshape(-1, 2)


def tiny_release(
    name: str,
    backbone: str = "b1",
    embedder: TinyBackbone | None = None,
    labels: tuple[str, str] = ("dark", "bright"),
) -> ReadyRelease:
    """A release of one task whose logits are eight times the embedding."""
    head = Head("category", labels, np.eye(2, dtype=np.float32) * 8, np.zeros(2, np.float32))
    embedder = TinyBackbone() if embedder is None else embedder
    return ReadyRelease(name, backbone, Preprocessing(), embedder, {"category": head})


def tiny_photo(
    url: str,
    backbones: Iterable[str],
    *,
    known: Mapping[str, np.ndarray] | None = None,
    stored: bool = True,
) -> LoadedPhoto | Failure:
    """A photo by its URL: dark-N, bright-N, or bad-N, which is a failure.

    Args:
        known: the vectors that PostgreSQL has, by backbone.
        stored: whether the photo has a row already.
    """
    if url.startswith("bad"):
        return Failure(Reason.FETCH_NOT_FOUND, "no such photo")
    vectors = {} if known is None else dict(known)
    image = np.full((4, 4, 3), 0 if url.startswith("dark") else 255, np.uint8)
    new: Rendition | None = None if stored else rendition(sha(url))
    return LoadedPhoto(
        sha(url), new, vectors, {name: image for name in backbones if name not in vectors}
    )
