"""A release at work: loaded, and asked what it says of ads. Both lanes ask it here.

Decides how an ad's photos become its predictions; refuses to know where vectors come from.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from ops.models.release import Head, Preprocessing
from ops.tasks import Task
from ops.types import Prediction
from ops.vectors import Embeddings

Image = NDArray[np.uint8]
Vector = NDArray[np.float16]


class PhotoEmbedder(Protocol):
    """A backbone, ready to work."""

    @property
    def dimension(self) -> int: ...

    def embed(self, images: Sequence[Image]) -> Embeddings: ...


@dataclass(frozen=True, slots=True)
class ReadyRelease:
    """A release, loaded: what scores."""

    name: str
    backbone: str  # the key of its embeddings; releases that share it share the embedder
    preprocessing: Preprocessing
    embedder: PhotoEmbedder
    heads: Mapping[str, Head]  # by task


def predict_ads(
    release: ReadyRelease, tasks: Sequence[Task], vectors: Sequence[Sequence[Vector]]
) -> list[tuple[Prediction, ...]]:
    """What a release says of each ad, from the vectors of its distinct photos.

    An ad without vectors gets no prediction; a task without a head in the release none either.
    """
    made: list[list[Prediction]] = [[] for _ in vectors]
    flat = [vector for of_ad in vectors for vector in of_ad]
    if not flat:
        return [() for _ in vectors]
    rows = np.stack(flat)
    owner = np.repeat(np.arange(len(vectors)), [len(of_ad) for of_ad in vectors])
    for task in tasks:
        head = release.heads.get(task.name)
        if head is None:
            continue
        for index, item in enumerate(task.predict(rows, owner, len(vectors), head)):
            if item is not None:
                made[index].append(item)
    return [tuple(items) for items in made]
