"""Packages with tasks, installed for a test as pip would: a module and its metadata on the path."""

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import ops.tasks


def write_package(folder: Path, name: str, modules: Mapping[str, str], points: str) -> None:
    """Write a package's modules and metadata into a folder.

    Args:
        modules: source text by the module's name.
        points: the lines of its entry points in the group `lalafo.tasks`.
    """
    about = folder / f"{name.replace('-', '_')}-1.0.dist-info"
    about.mkdir(parents=True)
    (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text(f"[{ops.tasks.ENTRY_POINTS}]\n{points}\n")
    for module, text in modules.items():
        (folder / f"{module}.py").write_text(text)


@contextmanager
def installed(folder: Path, *modules: str) -> Iterator[None]:
    """Put the folder's packages on the path of this process, and take them off at the end."""
    sys.path.insert(0, str(folder))
    ops.tasks._installed.cache_clear()
    try:
        yield
    finally:
        sys.path.remove(str(folder))
        for module in modules:
            sys.modules.pop(module, None)
        ops.tasks._installed.cache_clear()
