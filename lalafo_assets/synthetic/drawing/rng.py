"""Fast, reproducible random numbers for drawings.

Owns how a seed becomes numbers. Does not depend on what is drawn with them.
"""

import zlib
from collections.abc import Sequence
from functools import cache
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

T = TypeVar("T")
_BLOCK = 256
_POOL_SIDE = 2048


class Dice:
    """A stream of random numbers from a seed and a name; the same pair gives the same stream.

    Numbers are drawn in blocks, because one scalar call into numpy costs more than most shapes.
    """

    def __init__(self, seed: int, name: str) -> None:
        self._bits = np.random.default_rng([seed & (2**63 - 1), zlib.crc32(name.encode())])
        self._block: list[float] = []

    def unit(self) -> float:
        """A number in [0, 1)."""
        if not self._block:
            self._block = self._bits.random(_BLOCK).tolist()
        return self._block.pop()

    def between(self, low: float, high: float) -> float:
        """A number in [low, high)."""
        return low + (high - low) * self.unit()

    def around(self, centre: float, spread: float) -> float:
        """A number in [centre - spread, centre + spread), near the centre more often."""
        return centre + spread * (self.unit() + self.unit() - 1.0)

    def whole(self, low: int, high: int) -> int:
        """A whole number in [low, high], both ends included."""
        return low + int(self.unit() * (high - low + 1))

    def chance(self, probability: float) -> bool:
        return self.unit() < probability

    def pick(self, options: Sequence[T]) -> T:
        """One of the options with equal probability; repeat an option to make it likelier."""
        return options[int(self.unit() * len(options))]

    def field(self, rows: int, columns: int) -> NDArray[np.float32]:
        """(rows, columns) float32 in [0, 1)."""
        return self._bits.random((rows, columns), dtype=np.float32)

    def grain(self, rows: int, columns: int) -> NDArray[np.float32]:
        """(rows, columns) float32, standard normal: a window into one shared pool of noise.

        New normals for every photo would cost more than the whole drawing.
        """
        pool = _noise_pool()
        if rows > _POOL_SIDE or columns > _POOL_SIDE:
            return self._bits.standard_normal((rows, columns), dtype=np.float32)
        top = self.whole(0, _POOL_SIDE - rows)
        left = self.whole(0, _POOL_SIDE - columns)
        return pool[top : top + rows, left : left + columns]


@cache
def _noise_pool() -> NDArray[np.float32]:
    return np.random.default_rng(20180611).standard_normal(
        (_POOL_SIDE, _POOL_SIDE), dtype=np.float32
    )
