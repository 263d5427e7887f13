"""A checkout of the project in a folder of its own, as after a clone and the first `make`.

Its `.venv` is a real environment that uses the packages of the one that runs the tests, so nothing
is installed. What runs in it imports the copy.
"""

import os
import re
import shutil
import socket
import sys
import sysconfig
import venv
from collections.abc import Mapping
from pathlib import Path

from lalafo_assets.stack.ports import port_is_free
from tests.support.documents import ROOT

NOT_COPIED = shutil.ignore_patterns(
    *(".git", ".venv", "node_modules", ".lalafo", "target", "__pycache__", "*.egg-info"),
    *(".mypy_cache", ".ruff_cache", ".pytest_cache", ".import_linter_cache", "tests"),
)


def make_checkout(folder: Path, *, replaced: Mapping[str, str]) -> Path:
    """Copy the project, make its `.venv`, and return the folder.

    Args:
        replaced: words to replace in the files of docs/examples, such as a port.
    """
    copy_of_the_project(folder)
    for file in (folder / "docs" / "examples").glob("*.*"):
        file.write_text(replace_all(file.read_text(), replaced))
    _make_environment(folder / ".venv")
    return folder


def copy_of_the_project(folder: Path) -> Path:
    """Copy what a clone has, except the tests, and return the folder."""
    return Path(shutil.copytree(ROOT, folder, ignore=NOT_COPIED))


def replace_all(text: str, replaced: Mapping[str, str]) -> str:
    """Replace whole words and numbers."""
    for old, new in replaced.items():
        text = re.sub(rf"\b{re.escape(old)}\b", lambda _, new=new: new, text)
    return text


def free_ports(*wanted: int) -> dict[str, str]:
    """Another port for each one that is in use on this machine; {} if all are free."""
    taken = [port for port in wanted if not port_is_free(port)]
    servers = [socket.create_server(("127.0.0.1", 0)) for _ in taken]
    ports = [str(server.getsockname()[1]) for server in servers]
    for server in servers:
        server.close()
    return dict(zip(map(str, taken), ports, strict=True))


def checkout_variables(folder: Path) -> dict[str, str]:
    """The environment of a shell in the checkout: without settings of whatever runs the tests.

    Re-scores have normal priority: other tests keep the cores busy, and what is idle hardly runs.
    """
    dropped = ("LALAFO_", "DAGSTER_", "PG", "VIRTUAL_ENV", "PYTHON", "MAKE", "MFLAGS", "COLUMNS")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(dropped)}
    return {**kept, "PYTHONPATH": str(folder), "LALAFO_BACKGROUND_PRIORITY": "normal"}


def _make_environment(folder: Path) -> None:
    venv.create(folder, symlinks=True, with_pip=False)
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    packages = folder / "lib" / version / "site-packages"
    (packages / "tests.pth").write_text(
        f"import site; site.addsitedir({sysconfig.get_path('purelib')!r})\n"
    )
    python = folder / "bin" / "python"
    # As pip writes it: a shebang may neither contain a space nor be long.
    start = f"#!/bin/sh\n'''exec' '{python}' \"$0\" \"$@\"\n' '''\n"
    for script in Path(sysconfig.get_path("scripts")).iterdir():
        target = folder / "bin" / script.name
        if target.exists() or not script.is_file() or script.read_bytes()[:2] != b"#!":
            continue
        first, _, rest = script.read_text(errors="replace").partition("\n")
        if "python" in first or rest.startswith("'''exec'"):
            rest = rest.partition("\n' '''\n")[2] if rest.startswith("'''exec'") else rest
            target.write_text(start + rest)
            target.chmod(0o755)
    (folder / ".ready").touch()  # the Makefile's stamp
