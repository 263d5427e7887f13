"""The code version: a different one for every changed, added or renamed file."""

from pathlib import Path

import pytest

from ops.errors import ConfigurationError
from resources.sessions import code_version as module
from resources.sessions.code_version import PACKAGES, ROOT, code_version, digest_of
from resources.settings import Settings


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for package in PACKAGES:
        (tmp_path / package / "below").mkdir(parents=True)
        (tmp_path / package / "below" / "module.py").write_text("VALUE = 1\n")
    return tmp_path


def fresh_digest(root: Path) -> str:
    digest_of.cache_clear()
    return digest_of(root)


def test_the_root_is_the_folder_that_holds_this_very_module():
    """Wherever the module moves, its own file is covered by the digest."""
    assert Path(module.__file__).is_relative_to(ROOT / "resources")
    for package in PACKAGES:
        assert (ROOT / package / "__init__.py").is_file()


@pytest.mark.parametrize("package", PACKAGES)
def test_a_changed_an_added_and_a_renamed_file_are_versions_of_their_own(root: Path, package: str):
    seen = [fresh_digest(root)]
    file = root / package / "below" / "module.py"
    file.write_text("VALUE = 2\n")
    seen.append(fresh_digest(root))
    (root / package / "added.py").write_text("")
    seen.append(fresh_digest(root))
    file.rename(file.with_name("renamed.py"))
    seen.append(fresh_digest(root))
    assert len(set(seen)) == len(seen)
    assert fresh_digest(root) == seen[-1]


@pytest.mark.parametrize("package", PACKAGES)
def test_a_package_without_files_is_an_error_and_no_constant_version(root: Path, package: str):
    for path in (root / package).rglob("*.py"):
        path.unlink()
    with pytest.raises(ConfigurationError, match=f"package {package}.*LALAFO_CODE_VERSION"):
        fresh_digest(root)


def test_the_deployments_version_takes_precedence():
    assert code_version(Settings(code_version="image-7")) == "image-7"
    assert code_version(Settings(code_version="")) == fresh_digest(ROOT)
