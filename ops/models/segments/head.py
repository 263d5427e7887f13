"""A network of masks as a head of a release: its file, and how its answer is read.

Owns the settings and tensors of the head. A network is in OpenVINO's format: its operations as
XML, and its constants; no code. It reads one photo, (1, S, S, 3) uint8 RGB, squashed, and has one
output, (1, C, S', S') float: one probability a pixel, or one for each class, of which the first is
the background. `conversion.py` makes one from other formats. Does not import OpenVINO.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from ops.models.require import require
from ops.models.task_head import TaskHead

TASK = "segments"
GOODS = "goods"
"""The label of things where the network knows no classes."""

SMALLEST_SIDE, LARGEST_SIDE = 64, 1024
OPERATIONS, CONSTANTS = "operations", "constants"


@dataclass(frozen=True, slots=True, eq=False)
class MaskNetwork:
    """A network and how it is used.

    `name`: for people. `side`: S, pixels. `labels`: of the classes, without the background; one:
    every thing is called so. `threshold`: the probability from which on a pixel is goods.
    `least_area`: the share of the photo below which a part of the mask is left out.
    """

    name: str
    operations: bytes
    constants: bytes
    side: int
    labels: tuple[str, ...] = (GOODS,)
    threshold: float = 0.5
    least_area: float = 0.003

    def __post_init__(self) -> None:
        where = f"head {TASK}"
        require(isinstance(self.name, str) and 0 < len(self.name) <= 200, f"{where}: network")
        good = isinstance(self.side, int) and SMALLEST_SIDE <= self.side <= LARGEST_SIDE
        require(good, f"{where}: side {self.side!r}: {SMALLEST_SIDE} to {LARGEST_SIDE}")
        good = all(isinstance(label, str) and 0 < len(label) <= 100 for label in self.labels)
        require(len(self.labels) > 0 and good, f"{where}: labels {self.labels!r}")
        for name, value in (("threshold", self.threshold), ("least_area", self.least_area)):
            good = isinstance(value, int | float) and 0 <= value < 1
            require(good, f"{where}: {name} {value!r}: expected a share")

    @property
    def sha256(self) -> str:
        """Of the operations and the constants, in hexadecimal."""
        return hashlib.sha256(self.operations + self.constants).hexdigest()

    def as_head(self) -> TaskHead:
        """The head of a release."""
        return TaskHead(
            TASK,
            {OPERATIONS: _array(self.operations), CONSTANTS: _array(self.constants)},
            {
                "network": self.name,
                "sha256": self.sha256,
                "side": self.side,
                "labels": list(self.labels),
                "threshold": self.threshold,
                "least_area": self.least_area,
            },
        )

    @classmethod
    def of_head(cls, head: TaskHead) -> Self:
        """The network of a release's head.

        Raises:
            ConfigurationError: the head is of no such network, or a setting is wrong.
        """
        where, config = f"head {TASK}", head.config
        missing = {"network", "sha256", "side", "labels", "threshold", "least_area"} - set(config)
        require(not missing, f"{where}: settings are missing: {sorted(missing)}")
        require(
            set(head.tensors) == {OPERATIONS, CONSTANTS},
            f"{where}: it has the tensors {sorted(head.tensors)}, not those of a network",
        )
        found = cls(
            name=config["network"],
            operations=head.tensors[OPERATIONS].tobytes(),
            constants=head.tensors[CONSTANTS].tobytes(),
            side=config["side"],
            labels=tuple(config["labels"]),
            threshold=config["threshold"],
            least_area=config["least_area"],
        )
        require(found.sha256 == config["sha256"], f"{where}: the network's SHA-256 is another one")
        return found

    def with_settings(self, settings: Mapping[str, Any]) -> Self:
        """The same network with other settings."""
        return replace(self, **settings)


def _array(data: bytes) -> NDArray[np.uint8]:
    return np.frombuffer(data, np.uint8).copy()
