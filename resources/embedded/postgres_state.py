"""The state of a PostgreSQL cluster on disk: its version, running server, socket and settings.

Owns where the socket is, the content of `lalafo.conf`, and the check for stale pid files. Starts
and stops nothing.
"""

import contextlib
import hashlib
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import psutil

from ops.errors import ConfigurationError
from resources.embedded.postgres_programs import MAJOR_VERSION

PORT = 5432  # only names the socket: the server listens on no address
_MAX_SOCKET_BYTES = 107  # sizeof(sockaddr_un.sun_path) - 1 on Linux; 103 elsewhere
_SPECIAL_IN_URLS = frozenset(",:+%&?#' \t\n")
_SHORT = Path("/tmp")  # noqa: S108  the owner of a folder in it is checked
_SHORT_NAME = re.compile(r"lalafo-[0-9a-f]{16}")
_SOCKET_NAME = f".s.PGSQL.{PORT}"
_NO_PROCESS = 2**22 + 1  # above Linux's largest process id, and no process anywhere else
_SMALL_SHM_BYTES = 512 * 2**20

SETTINGS: Mapping[str, str] = {
    "listen_addresses": "",  # the socket only: no port conflicts, no network access
    "port": str(PORT),
    "unix_socket_permissions": "0700",
    "max_connections": "200",  # Dagster by default opens a connection per query
    "fsync": "on",
    "synchronous_commit": "on",
    "full_page_writes": "on",
    "shared_buffers": "256MB",
    "effective_cache_size": "1GB",
    "work_mem": "16MB",
    "maintenance_work_mem": "256MB",  # building vector indexes
    "max_wal_size": "2GB",
    "checkpoint_timeout": "15min",
    "random_page_cost": "1.1",  # solid-state disks
    "jit": "off",  # compiling costs more than these short queries take
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_line_prefix": "%m [%p] %d ",
    "log_lock_waits": "on",
    "log_min_duration_statement": "1s",
    "idle_in_transaction_session_timeout": "10min",
}


class Postmaster(NamedTuple):
    """A server that is running on the data folder."""

    pid: int
    socket_folder: Path


def check_version(data: Path) -> bool:
    """Whether there is a cluster.

    Raises:
        ConfigurationError: another version of PostgreSQL created it.
    """
    version_file = data / "PG_VERSION"
    if not version_file.exists():
        return False
    version = version_file.read_text(encoding="ascii").strip()
    if version != MAJOR_VERSION:
        raise ConfigurationError(
            f"{data} was created by PostgreSQL {version}, this is PostgreSQL {MAJOR_VERSION}. Move "
            "that folder elsewhere to start with an empty database, or set another LALAFO_HOME."
        )
    return True


def running_postmaster(data: Path) -> Postmaster | None:
    """The server running on this folder, by its pid file and that process's command line."""
    lines = _pid_lines(data)
    if len(lines) < 5:
        return None
    with contextlib.suppress(psutil.NoSuchProcess):
        process = psutil.Process(int(lines[0]))
        if process.status() != psutil.STATUS_ZOMBIE and _serves(process.cmdline(), data):
            return Postmaster(process.pid, Path(lines[4]))
    return None


def forget_reused_pid(data: Path, sockets: Path) -> None:
    """Repair a killed server's pid file and socket if another process has its id now.

    PostgreSQL itself handles a pid file whose process has ended, but refuses to start if the
    process exists. The id is replaced and the file stays: PostgreSQL then still checks whether the
    old server's shared memory is in use, so two servers can never run on one folder.
    Call only when `running_postmaster` is None.
    """
    path = data / "postmaster.pid"
    lines = _pid_lines(data)
    if lines == []:
        path.unlink(missing_ok=True)  # empty after a power failure: PostgreSQL would refuse it
    elif psutil.pid_exists(int(lines[0])):
        path.write_text("\n".join([str(_NO_PROCESS), *lines[1:]]) + "\n", encoding="utf-8")
    for name in (_SOCKET_NAME, f"{_SOCKET_NAME}.lock"):
        (sockets / name).unlink(missing_ok=True)


def socket_folder(beside: Path) -> Path:
    """The folder of the socket: `run` beside the data, or a short folder in /tmp.

    The short one is for paths that are too long for a socket address, or that contain characters
    with a meaning in a connection URL; SQLAlchemy writes a space as `+`, which libpq keeps.
    """
    folder = beside / "run"
    length = len(str(folder / _SOCKET_NAME).encode())
    if length <= _MAX_SOCKET_BYTES and _SPECIAL_IN_URLS.isdisjoint(str(folder)):
        return folder
    return _SHORT / f"lalafo-{hashlib.sha256(str(beside).encode()).hexdigest()[:16]}"


def is_embedded(parameters: Mapping[str, str]) -> bool:
    """Whether a connection's parameters are those of an embedded server, of whichever home.

    Args:
        parameters: libpq's.
    """
    folder = Path(parameters.get("host", ""))
    short = folder.parent == _SHORT and _SHORT_NAME.fullmatch(folder.name) is not None
    return (
        folder.is_absolute()
        and (short or folder.parts[-2:] == ("postgres", "run"))
        and parameters.get("port") == str(PORT)
    )


def settings_text(sockets: Path, overrides: Mapping[str, str]) -> str:
    """The text of `lalafo.conf`."""
    folder = str(sockets).replace('"', '""')
    settings = {
        **SETTINGS,
        "unix_socket_directories": f'"{folder}"',
        # In a container /dev/shm is 64 MB, too small for a parallel index build.
        "dynamic_shared_memory_type": "posix" if _shm_is_large() else "sysv",
        **overrides,
    }
    lines = [
        f"{name} = '{value.replace(chr(39), chr(39) * 2)}'" for name, value in settings.items()
    ]
    return "\n".join(["# Written at every start: changes are lost.", *lines, ""])


def _shm_is_large() -> bool:
    shm = Path("/dev/shm")  # noqa: S108  only its size is read
    return shm.exists() and shutil.disk_usage(shm).total >= _SMALL_SHM_BYTES


def _pid_lines(data: Path) -> list[str]:
    """The pid file's lines; [] if there is no file or its first line is not a process id."""
    try:
        lines = (data / "postmaster.pid").read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return []
    return lines if lines != [] and lines[0].strip().isdigit() else []


def _serves(command_line: list[str], data: Path) -> bool:
    return (
        command_line != []
        and Path(command_line[0]).name == "postgres"
        and str(data) in command_line
    )
