"""The release that ships with the package: a small backbone and a category head for drawn goods.

`python -m lalafo_assets.starter.train` wrote the three files beside this module. The release store
loads them, so that shipped weights are verified like any others.
"""

from pathlib import Path
from tempfile import TemporaryDirectory

from ops.errors import ConfigurationError
from ops.models.release import WEIGHT_FILES, Release, State
from resources.storage.releases import MANIFEST_FILE, ReleaseStore

FOLDER = Path(__file__).parent
DIGEST = "87af5398a75ec353b22785fe6c6596d5486e394315fc27ac7f8b2fbb3ee6edb5"
"""The digest of the shipped release; its manifest has the digests of the weight files."""


def load_starter(folder: Path = FOLDER, digest: str = DIGEST) -> Release:
    """Load the starter in a few milliseconds; every file is verified by SHA-256, from `digest` on.

    Args:
        folder: has manifest.json and the weight files.

    Raises:
        ConfigurationError: a file is missing, damaged or altered.
    """
    files: dict[str, bytes] = {}
    for name in (MANIFEST_FILE, *WEIGHT_FILES):
        path = folder / name
        if not path.is_file():
            raise ConfigurationError(
                f"The starter's {name} is missing from {folder}: install the package again, or "
                "train one with `python -m lalafo_assets.starter.train --out DIR`."
            )
        files[name] = path.read_bytes()
    with TemporaryDirectory(prefix="lalafo-starter-") as store:
        release = Path(store) / "releases" / digest
        release.mkdir(parents=True)
        for name, data in files.items():
            (release / name).write_bytes(data)
        return ReleaseStore(store).load(digest)


def starter_state(backbone: str) -> State:
    """Return the starter's weights for a backbone name; resources.training.weights calls this.

    Raises:
        ConfigurationError: the starter has another backbone.
    """
    starter = load_starter()
    if starter.manifest.backbone != backbone:
        raise ConfigurationError(
            f"the starter's backbone is {starter.manifest.backbone}, not {backbone}: choose "
            "--weights pretrained or --weights file:PATH.safetensors"
        )
    return starter.backbone_state
