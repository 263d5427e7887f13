"""What a task declares to read, and what it is given of each ad.

Owns the names of the inputs. The pipeline loads what the tasks of the active releases declare, once
for all of them, in the stream, in the batch lane and in re-scores.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal

import numpy as np
from numpy.typing import NDArray

from ops.errors import ConfigurationError
from ops.models.preprocessing import Preprocessing, Upright
from ops.types import Prediction
from ops.vectors import Embeddings

SMALLEST_PIXELS, LARGEST_PIXELS = 32, 640  # the longest side of a rendition is at most 640


@dataclass(frozen=True, slots=True)
class Inputs:
    """What a task reads of an ad, or of a photo.

    `embedding`: its photos' vectors under the release's backbone. `pixels`: its photos as squares
    of so many pixels; the whole photo is squashed, as for a backbone. `fields`: what the seller
    wrote. `answers`: other tasks, whose predictions for the ad it reads; it runs after them.
    `rendition`: the photo as it is stored, upright, its longest side at most 640 pixels; for tasks
    of scope photo. Those read neither fields nor answers.
    """

    embedding: bool = False
    pixels: int | None = None
    fields: bool = False
    answers: tuple[str, ...] = ()
    rendition: bool = False

    def __post_init__(self) -> None:
        size = self.pixels
        if size is not None and not SMALLEST_PIXELS <= size <= LARGEST_PIXELS:
            raise ConfigurationError(
                f"pixels={size!r}: expected {SMALLEST_PIXELS} to {LARGEST_PIXELS}, the side of a "
                "square photo"
            )
        of_photos = self.embedding or self.rendition or size is not None
        if not (of_photos or self.fields or self.answers):
            raise ConfigurationError("a task reads nothing: declare at least one input")

    @property
    def only_embeddings(self) -> bool:
        """Whether it reads embeddings and nothing else."""
        return self == EMBEDDINGS

    @property
    def view(self) -> tuple[str, Preprocessing] | None:
        """The key and the preprocessing of the photos that it reads as pixels."""
        return None if self.pixels is None else pixel_view(self.pixels)

    @property
    def views(self) -> dict[str, Preprocessing]:
        """What its photos must be prepared for, by key."""
        pixels = {} if self.view is None else dict([self.view])
        return {**pixels, RENDITION_VIEW: Upright()} if self.rendition else pixels


RENDITION_VIEW = "rendition"
"""The key of photos as they are stored."""

EMBEDDINGS = Inputs(embedding=True)


def pixel_view(size: int) -> tuple[str, Preprocessing]:
    """The key and the preprocessing of photos as squares of so many pixels."""
    return f"pixels/{size}", Preprocessing(size=size)


@dataclass(frozen=True, slots=True)
class AdFields:
    """What the seller's system sent about an ad, the same in the stream and in a re-score."""

    catalog: str
    ad_id: str
    title: str
    description: str
    category: str | None  # that the seller chose
    price: Decimal | None
    currency: str | None
    occurred_at: datetime  # UTC, by the seller system's clock
    received_at: datetime  # UTC, when Kafka had the event
    attributes: Mapping[str, float] = field(default_factory=dict)  # the catalog's numbers, by name


@dataclass(frozen=True, slots=True, eq=False)
class Ad:
    """An ad with at least one usable photo, as a task reads it; None is what it did not declare.

    `embeddings`: (P, D) float16, a row for each distinct photo, in the order of the photos.
    `pixels`: (P, S, S, 3) uint8 RGB, in the same order. `answers`: predictions by task.
    """

    embeddings: Embeddings | None = None
    pixels: NDArray[np.uint8] | None = None
    fields: AdFields | None = None
    answers: Mapping[str, Prediction] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, eq=False)
class Photo:
    """A usable photo, as a task of scope photo reads it; None is what the task did not declare.

    `embedding`: (D,) float16, of unit length. `pixels`: (S, S, 3) uint8 RGB, the whole photo
    squashed. `rendition`: (H, W, 3) uint8 RGB, upright, its longest side at most 640 pixels.
    `source_width`, `source_height`: pixels of the file that the seller sent, before it was turned
    upright.
    """

    embedding: NDArray[np.float16] | None = None
    pixels: NDArray[np.uint8] | None = None
    rendition: NDArray[np.uint8] | None = None
    source_width: int = 0
    source_height: int = 0


@dataclass(frozen=True, slots=True)
class PhotoPlace:
    """Which photo of an ad it is: its SHA-256 in hexadecimal, and its first position, from 0."""

    sha256: str
    position: int
