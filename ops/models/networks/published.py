"""What a library publishes about a network: its weights, and the preprocessing of these weights.

Owns the record, and whether bytes are the file that was published. Does not know where files are
kept (resources/training/published_files.py), nor import torch.
"""

import re
from dataclasses import dataclass

from ops.models.preprocessing import Preprocessing

_HASHED_NAME = re.compile(r"[A-Za-z0-9_.]+-([0-9a-f]{8,64})\.pth")


@dataclass(frozen=True, slots=True)
class Published:
    """A network's weights as torchvision or timm publish them.

    `source`: names the weights in a manifest, without their digest.
    `preprocessing`: with which they were evaluated.
    `url`: of a `.pth` whose name ends in the beginning of its SHA-256; "": there is none.
    `hub`: repository and file name on the Hugging Face Hub; None: they are not there.
    `licence`: as the library names it; "": it names none.
    """

    source: str
    preprocessing: Preprocessing
    url: str = ""
    hub: tuple[str, str] | None = None
    licence: str = ""

    @property
    def file_name(self) -> str:
        """The last part of the URL: the file's name in torch hub's cache."""
        return self.url.rsplit("/", 1)[-1]

    @property
    def sha256_prefix(self) -> str | None:
        """The digits of its SHA-256 in the file's name; None: the file can't be checked by it."""
        match = _HASHED_NAME.fullmatch(self.file_name)
        return None if match is None else match.group(1)
