"""What a task has learned, where that is no linear classifier: named tensors and JSON settings.

Owns which tensors and which JSON a release can hold. The tensors are in the release's safetensors
file, the JSON is in its manifest: nothing of it is code. `ops/models/release.py` has the linear
classifier, and `ops/models/release_files.py` the files.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ops.errors import ConfigurationError
from ops.models.require import require

TASK_NAME = re.compile(r"[a-z][a-z0-9_]{0,62}")
MAX_CONFIG_BYTES = 4 * 2**20  # of JSON in the manifest, which is read with every release

_TENSOR_NAME = re.compile(r"[a-z][a-z0-9_]{0,62}")
_DTYPES = tuple(
    np.dtype(kind) for kind in ("f2", "f4", "f8", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "b1")
)


@dataclass(frozen=True, slots=True, eq=False)
class TaskHead:
    """What a task has learned: both mappings are empty where nothing is learned.

    `tensors`: arrays by name, on the CPU, finite. `config`: JSON.
    """

    task: str
    tensors: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    config: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_config(self.task, self.config)
        for name, tensor in self.tensors.items():
            where = f"head {self.task}: tensor {name!r}"
            good = _TENSOR_NAME.fullmatch(name) is not None
            require(good, f"{where}: expected lower-case letters, digits and underscores")
            require(isinstance(tensor, np.ndarray), f"{where}: expected a numpy array")
            require(tensor.dtype in _DTYPES, f"{where}: {tensor.dtype} can't be stored")
            finite = tensor.dtype.kind != "f" or bool(np.isfinite(tensor).all())
            require(finite, f"{where}: a number is not finite")


def check_config(task: Any, config: Any) -> None:
    """Raise a ConfigurationError unless a head's JSON settings can be in a manifest."""
    good = isinstance(task, str) and bool(TASK_NAME.fullmatch(task))
    require(good, f"task {task!r}: expected lower-case letters, digits and underscores")
    require(isinstance(config, Mapping), f"head {task}: config: expected an object")
    try:
        text = json.dumps(dict(config), allow_nan=False)
    except (TypeError, ValueError) as error:
        raise ConfigurationError(f"head {task}: its config is not JSON: {error}") from error
    same = json.loads(text) == config
    require(same, f"head {task}: JSON would change its config: use lists, and text as keys")
    size = len(text)
    require(
        size <= MAX_CONFIG_BYTES,
        f"head {task}: a config of {size} bytes; {MAX_CONFIG_BYTES} are allowed: use tensors",
    )
