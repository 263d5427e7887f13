"""The network of masks that comes with the package.

`python -m lalafo_assets.bench.segments.ship` wrote the two files beside this module: the network,
and its settings with the figures it was measured by. Does not import OpenVINO.
"""

import json
from functools import cache
from pathlib import Path
from typing import Any

from ops.errors import ConfigurationError
from ops.models.release_files import decode_backbone, encode_backbone
from ops.models.segments.head import CONSTANTS, OPERATIONS, TASK, MaskNetwork
from ops.models.task_head import TaskHead

FOLDER = Path(__file__).parent
FILE, SETTINGS = "network.safetensors", "network.json"


@cache
def shipped_head() -> TaskHead:
    """The head of a release with the shipped network; verified by its SHA-256.

    Raises:
        ConfigurationError: a file is missing or damaged.
    """
    try:
        data, settings = (FOLDER / FILE).read_bytes(), (FOLDER / SETTINGS).read_text("utf-8")
    except OSError as error:
        raise ConfigurationError(f"{error}: install the package again.") from error
    head = TaskHead(TASK, decode_backbone(data), json.loads(settings)["head"])
    MaskNetwork.of_head(head)
    return head


def write_shipped(network: MaskNetwork, facts: dict[str, Any], folder: Path = FOLDER) -> int:
    """Write both files, and return their size in bytes.

    Args:
        facts: JSON: how the network was made, and its figures.
    """
    head = network.as_head()
    data = encode_backbone(
        {OPERATIONS: head.tensors[OPERATIONS], CONSTANTS: head.tensors[CONSTANTS]}
    )
    text = json.dumps({"head": dict(head.config), **facts}, indent=2, sort_keys=True) + "\n"
    (folder / FILE).write_bytes(data)
    (folder / SETTINGS).write_text(text, "utf-8")
    return len(data) + len(text)
