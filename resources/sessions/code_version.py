"""The version of the code that this process runs: sessions of another version hand over to it.

It is a digest of all source files, unless the deployment sets LALAFO_CODE_VERSION, for example to
an image's tag.
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
    """Return LALAFO_CODE_VERSION if it is set, else the digest of the packages' files."""
    return settings.code_version if settings.code_version != "" else digest_of(ROOT)


@cache
def digest_of(root: Path) -> str:
    """Return the first 12 hexadecimal digits of the SHA-256 over the packages' paths and files.

    Raises:
        ConfigurationError: a package has no file below `root`. The digest of no files would be the
            same for every version, and no session would hand over to a newer one.
    """
    digest = hashlib.sha256()
    for package in PACKAGES:
        paths = sorted((root / package).rglob("*.py"))
        if not paths:
            raise ConfigurationError(
                f"no Python file of package {package} in {root}: set LALAFO_CODE_VERSION to the "
                "deployed version"
            )
        for path in paths:
            digest.update(str(path.relative_to(root)).encode())
            digest.update(path.read_bytes())
    return digest.hexdigest()[:12]
