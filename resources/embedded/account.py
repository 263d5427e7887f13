"""An account for `initdb`, which looks its user up and refuses one that has none.

Containers run with user ids that no account has. Owns how the process gets one for its own eyes: by
a user namespace, or by the library nss_wrapper. Nothing outside that process changes, and its files
belong to the same user as before.
"""

import contextlib
import os
import pwd
import shutil
import subprocess
import sysconfig
import tempfile
from collections.abc import Iterator
from pathlib import Path

from ops.errors import ConfigurationError

LIBRARY_FOLDERS = (
    f"/usr/lib/{sysconfig.get_config_var('MULTIARCH')}",
    "/usr/lib64",
    "/usr/lib",
    "/usr/local/lib",
)
_LIBRARY = "libnss_wrapper.so"
_TRIED_S = 10


@contextlib.contextmanager
def lent_account(program: str) -> Iterator[tuple[list[str], dict[str, str]]]:
    """What is put before a program's command line, and added to its environment.

    Nothing for users with an account, and for other programs than `initdb`, which need none.

    Raises:
        ConfigurationError: the user has no account, and there is no way to lend it one.
    """
    if program != "initdb" or has_account(os.geteuid()):
        yield [], {}
        return
    namespace = _user_namespace()
    if namespace != []:
        yield namespace, {}
        return
    libraries = (Path(folder, _LIBRARY) for folder in LIBRARY_FOLDERS)
    library = next((path for path in libraries if path.exists()), None)
    if library is None:
        raise ConfigurationError(_no_account())
    with tempfile.TemporaryDirectory(prefix="lalafo-") as folder:
        yield [], _wrapped(library, Path(folder))


def has_account(user_id: int) -> bool:
    """Whether this machine has an account for a user id."""
    try:
        pwd.getpwuid(user_id)
    except KeyError:
        return False
    return True


def _user_namespace() -> list[str]:
    """The command that gives a process an account's id; [] where that is not permitted."""
    unshare = shutil.which("unshare")
    account = next((entry for entry in pwd.getpwall() if entry.pw_uid != 0), None)
    if unshare is None or account is None:
        return []
    command = [unshare, "--user", f"--map-user={account.pw_uid}", f"--map-group={account.pw_gid}"]
    try:  # most containers refuse it
        tried = subprocess.run(
            [*command, "true"], capture_output=True, timeout=_TRIED_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return []
    return command if tried.returncode == 0 else []


def _wrapped(library: Path, folder: Path) -> dict[str, str]:
    """The environment in which the library answers look-ups from files in a folder."""
    passwd, group = folder / "passwd", folder / "group"
    passwd.write_text(f"{_entry()}\n")
    group.write_text(f"lalafo:x:{os.getegid()}:\n")
    preloaded = [str(library), *filter(None, [os.environ.get("LD_PRELOAD")])]
    return {
        "LD_PRELOAD": ":".join(preloaded),
        "NSS_WRAPPER_PASSWD": str(passwd),
        "NSS_WRAPPER_GROUP": str(group),
    }


def _entry() -> str:
    return f"lalafo:x:{os.geteuid()}:{os.getegid()}::/tmp:/bin/sh"


def _no_account() -> str:
    return (
        f"User id {os.geteuid()} has no account on this machine, and PostgreSQL's initdb needs "
        "one. Install nss_wrapper, which lends it one (Debian: apt-get install libnss-wrapper), "
        f"add the line {_entry()} to /etc/passwd, or start as another user."
    )
