"""Which code this process runs: sessions of another one hand over to it.

Decides that a changed file is another version, unless the deployment names its own
(LALAFO_CODE_VERSION): an image's tag says it better.
"""

import hashlib
from functools import cache
from pathlib import Path

from resources.settings import Settings

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("ops", "resources", "sensors", "lalafo_assets")


def code_version(settings: Settings) -> str:
    """The setting's name, else the first 12 digits of a digest of the packages' files."""
    return settings.code_version if settings.code_version != "" else _digest()


@cache
def _digest() -> str:
    digest = hashlib.sha256()
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            digest.update(str(path.relative_to(ROOT)).encode())
            digest.update(path.read_bytes())
    return digest.hexdigest()[:12]
