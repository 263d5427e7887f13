"""Which code this process runs: sessions of another version hand over to it.

A changed file is another version, unless the deployment names its own (LALAFO_CODE_VERSION): an
image's tag says it better.
"""

import hashlib
from functools import cache
from pathlib import Path

import resources
from ops.errors import ConfigurationError
from resources.settings import Settings

ROOT = Path(resources.__file__).resolve().parents[1]
PACKAGES = ("ops", "resources", "sensors", "lalafo_assets")


def code_version(settings: Settings) -> str:
    """The setting's name, else the digest of the packages' files."""
    return settings.code_version if settings.code_version != "" else digest_of(ROOT)


@cache
def digest_of(root: Path) -> str:
    """The first 12 hexadecimal digits of the SHA-256 over the packages' paths and files.

    Raises:
        ConfigurationError: a package has no file below `root`. The digest of nothing would be the
            same for every version, and no session would hand over to a newer one.
    """
    digest = hashlib.sha256()
    for package in PACKAGES:
        paths = sorted((root / package).rglob("*.py"))
        if not paths:
            raise ConfigurationError(
                f"no Python file of package {package} in {root}: set LALAFO_CODE_VERSION to name "
                "what is deployed"
            )
        for path in paths:
            digest.update(str(path.relative_to(root)).encode())
            digest.update(path.read_bytes())
    return digest.hexdigest()[:12]
