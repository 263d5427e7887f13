"""The child process that converts a backbone and measures its engines: `engines.py` starts it.

It reads the request and the weights from the folder that is its argument, and writes its files
there. It is a process of its own because converting needs torchvision and both engines in memory,
and because an instruction that the processor lacks would end the session.
"""

import json
import sys
from dataclasses import asdict
from pathlib import Path

from ops.models.engines.choice import choose
from ops.models.engines.engine import Precision
from resources.inference.engines import (
    CHOICE_FILE,
    CONSTANTS_FILE,
    XML_FILE,
    read_request,
)


def main(folder: Path) -> None:
    """Convert and measure the backbone in the folder."""
    import torch

    from ops.models.processor import supports_bf16

    torch.set_num_threads(1)  # as sessions and re-scores have
    precision: Precision = "bf16" if supports_bf16("cpu") else "fp32"
    choice, converted = choose(read_request(folder), threads=1, precision=precision)
    (folder / XML_FILE).write_bytes(converted.xml)
    (folder / CONSTANTS_FILE).write_bytes(converted.constants)
    (folder / CHOICE_FILE).write_text(json.dumps(asdict(choice)))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
