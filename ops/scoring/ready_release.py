"""A loaded release: its embedder and its heads; used by the stream and by backfills.

`predictions.py` runs its tasks.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from ops.models.release import AnyHead, Head, Preprocessing
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
    heads: Mapping[str, AnyHead]  # by task

    @property
    def linear_heads(self) -> dict[str, Head]:
        """The heads that are linear classifiers, by task."""
        return {task: head for task, head in self.heads.items() if isinstance(head, Head)}
