"""The layout: no package grows crowded, and the tests' folders are those of the packages."""

from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("gateway", "lalafo_assets", "ops", "resources", "sensors")
MOST_MODULES = 12
RECORDS = ROOT / "resources" / "postgres" / "migrations" / "versions"


def packages() -> list[Path]:
    found = [file.parent for name in PACKAGES for file in (ROOT / name).rglob("__init__.py")]
    return sorted({*found} - {RECORDS})


@pytest.mark.parametrize("package", packages(), ids=lambda path: str(path.relative_to(ROOT)))
def test_a_package_has_at_most_twelve_modules_of_its_own(package: Path):
    modules = [path.name for path in package.glob("*.py") if path.name != "__init__.py"]
    assert len(modules) <= MOST_MODULES, f"{package.name}: is there a topic to split off?"


@pytest.mark.parametrize("kind", ["unit", "integration"])
def test_every_folder_of_tests_is_that_of_a_package(kind: str):
    tests = ROOT / "tests" / kind
    for file in tests.rglob("__init__.py"):
        package = ROOT / file.parent.relative_to(tests)
        assert (package / "__init__.py").is_file() or package == ROOT, f"no package {package}"


def test_every_folder_with_modules_is_a_package():
    """A folder without `__init__.py` would still be imported, and escape import-linter."""
    for name in PACKAGES:
        for file in (ROOT / name).rglob("*.py"):
            assert (file.parent / "__init__.py").is_file(), f"{file.parent} has no __init__.py"
