"""How much of the disk a stack and its Python packages take, and how much is free."""

import os
import shutil
import sys
import sysconfig
from dataclasses import dataclass
from pathlib import Path

DEMO_BYTES = 4_000_000_000
"""What LALAFO_HOME needs: 0.1 GB after a demo, later up to 2 GB of PostgreSQL's log, and photos."""

_CUDA = ("nvidia", "cuda", "triton")  # folders in site-packages that only a GPU needs


@dataclass(frozen=True, slots=True)
class HomeSpace:
    """The place of LALAFO_HOME: the folder itself, or the nearest above that exists."""

    place: Path
    writable: bool
    free_bytes: int
    taken_bytes: int

    @property
    def enough(self) -> bool:
        """Whether the demo fits; what is there already counts."""
        return self.free_bytes + self.taken_bytes >= DEMO_BYTES


def home_space(home: Path) -> HomeSpace:
    """Measure LALAFO_HOME; it need not exist."""
    place = home.absolute()
    while not place.exists():
        place = place.parent
    return HomeSpace(
        place=place,
        writable=place.is_dir() and os.access(place, os.W_OK | os.X_OK),
        free_bytes=shutil.disk_usage(place).free,
        taken_bytes=folder_bytes(home),
    )


def package_bytes() -> tuple[Path, int, int]:
    """Return the folder of the Python packages, its bytes, and those that only a GPU needs.

    The folder is the virtual environment, where there is one.
    """
    packages = Path(sysconfig.get_path("purelib"))
    folder = Path(sys.prefix) if sys.prefix != sys.base_prefix else packages
    return folder, folder_bytes(folder), sum(folder_bytes(packages / name) for name in _CUDA)


def folder_bytes(folder: Path) -> int:
    """Return the disk space of the files below a folder; 0 if there is none.

    Links are not followed, and what can't be read, or vanishes meanwhile, is left out.
    """
    total = 0
    for path, _, names in os.walk(folder, onerror=None):
        for name in names:
            try:
                total += os.lstat(os.path.join(path, name)).st_blocks * 512  # noqa: PTH118 - twice as fast
            except OSError:
                continue
    return total
