"""What an engine is: a program that computes a backbone's features on one device.

Owns the names of engines and precisions, and how a number of photos is divided into calls. Does
not import torch or OpenVINO: `torch_engine.py` and `openvino_engine.py` do.
"""

from collections.abc import Sequence
from functools import cache
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

EngineName = Literal["eager", "traced", "compiled", "openvino"]
Mode = Literal["auto", "eager", "traced", "compiled", "openvino"]
Precision = Literal["bf16", "fp32"]
Image = NDArray[np.uint8]
"""(size, size, 3) uint8 RGB, contiguous."""


class Engine(Protocol):
    """A backbone that is loaded on one device. Not thread-safe.

    `dimension`: D. `batch_sizes`: the sizes of calls, ascending; each is a program of its own.
    `call_cost`: the fixed cost of one call, in photos.
    """

    name: EngineName
    precision: Precision
    dimension: int
    batch_sizes: tuple[int, ...]
    call_cost: float

    def run(self, images: Sequence[Image], size: int) -> NDArray[np.float32]:
        """Compute (N, D) float32 features of N images, in input order, on the CPU.

        Args:
            images: 1 to `size` of them.
            size: one of `batch_sizes`.
        """
        ...

    def warm_up(self) -> None:
        """Run every batch size, so that no later call compiles or allocates."""
        ...


@cache
def plan_calls(count: int, sizes: tuple[int, ...], call_cost: float) -> tuple[int, ...]:
    """The batch sizes, largest first, that process `count` photos at the lowest cost.

    Their sum is at least `count`: the last call of a size may have fewer photos than that.
    """
    largest = sizes[-1]
    full, rest = divmod(count, largest)
    best: list[tuple[float, tuple[int, ...]]] = [(0, ())]
    for n in range(1, rest + 1):
        options = (
            (best[max(0, n - s)][0] + s + call_cost, (s, *best[max(0, n - s)][1])) for s in sizes
        )
        best.append(min(options))
    return (largest,) * full + tuple(sorted(best[rest][1], reverse=True))
