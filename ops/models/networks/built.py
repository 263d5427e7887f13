"""A network without its classification head, and which of a checkpoint's weights were the head's.

Owns the record that both libraries' modules return. Importing this module imports torch.
"""

from dataclasses import dataclass

from torch import nn


@dataclass(frozen=True, slots=True, eq=False)
class BuiltNetwork:
    """(N, 3, H, W) normalised RGB -> features, (N, D) or (N, D, 1, 1).

    `dimension`: D.
    `dropped`: how the names of the head's weights begin.
    `fixed_size`: it takes inputs of one size only, as most transformers do.
    """

    module: nn.Module
    dimension: int
    dropped: tuple[str, ...]
    fixed_size: bool = False
