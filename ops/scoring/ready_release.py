"""A loaded release, and the predictions that it makes; used by the stream and by backfills.

Owns the step from an ad's photo embeddings to its predictions. Does not depend on where the
embeddings come from.
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
    """A loaded backbone that embeds photos."""

    @property
    def dimension(self) -> int: ...

    def embed(self, images: Sequence[Image]) -> Embeddings: ...


@dataclass(frozen=True, slots=True)
class ReadyRelease:
    """A loaded release."""

    name: str
    backbone: str  # the key of its embeddings; releases with the same key share the embedder
    preprocessing: Preprocessing
    embedder: PhotoEmbedder
    heads: Mapping[str, Head]  # by task


def predict_ads(
    release: ReadyRelease, tasks: Sequence[Task], vectors: Sequence[Sequence[Vector]]
) -> list[tuple[Prediction, ...]]:
    """Predict each ad from the embeddings of its distinct photos.

    An ad without embeddings gets no prediction, and a task without a head in the release makes
    none.
    """
    predictions: list[list[Prediction]] = [[] for _ in vectors]
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
                predictions[index].append(item)
    return [tuple(items) for items in predictions]
