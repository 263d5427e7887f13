"""PgBouncer, Debian's package, before the tests' PostgreSQL; it also ends TLS where a test asks."""

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

import psycopg
import pytest

from resources.embedded.postgres import EmbeddedPostgres
from resources.postgres.conninfo import Conninfo

START_WITHIN_S = 90.0


def program() -> str:
    """PgBouncer's program; skips the test where it is missing, or fails it if it is required."""
    path = shutil.which("pgbouncer", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    if path is not None:
        return path
    reason = "pgbouncer is not installed (Debian's package pgbouncer)"
    if os.environ.get("LALAFO_REQUIRE_PGBOUNCER") == "1":
        pytest.fail(f"LALAFO_REQUIRE_PGBOUNCER=1, but {reason}")
    pytest.skip(reason)


@contextmanager
def pgbouncer(
    server: EmbeddedPostgres,
    *,
    mode: str = "transaction",
    settings: Mapping[str, str] | None = None,
) -> Iterator[int]:
    """Run it before a server, and yield its port on 127.0.0.1.

    Few server connections: neighbouring transactions of one client get different backends.
    """
    parameters = Conninfo.parse(server.url()).parameters
    with tempfile.TemporaryDirectory(prefix="lalafo-pgbouncer-") as folder:
        owner = pwd.getpwuid(Path(parameters["host"]).stat().st_uid)
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        lines = {
            "listen_addr": "127.0.0.1",
            "listen_port": str(port),
            "unix_socket_dir": "",
            "auth_type": "any",
            "pool_mode": mode,
            "default_pool_size": "3",
            "server_round_robin": "1",
            "logfile": f"{folder}/log",
            **(settings or {}),
        }
        config = Path(folder) / "pgbouncer.ini"
        place = f"host='{parameters['host']}' port={parameters['port']}"
        config.write_text(
            f"[databases]\n* = {place} user=postgres\n"
            "[pgbouncer]\n" + "".join(f"{name} = {value}\n" for name, value in lines.items())
        )
        command = [program(), "-q", str(config)]
        if os.geteuid() == 0:  # it refuses to run as root
            for path in (Path(folder), *Path(folder).iterdir()):
                os.chown(path, owner.pw_uid, owner.pw_gid)
            command[1:1] = ["-u", owner.pw_name]
        process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        try:
            _wait(process, port, Path(folder) / "log")
            yield port
        finally:
            process.terminate()
            process.wait(20)


def _wait(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    deadline = time.monotonic() + START_WITHIN_S
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
        except OSError:
            assert process.poll() is None, log.read_text() if log.exists() else "it ended"
            assert time.monotonic() < deadline, "pgbouncer did not start"
            time.sleep(0.02)


def pooled_url(port: int, database: str) -> str:
    """The connection string of a database through it."""
    return f"postgresql://postgres@127.0.0.1:{port}/{database}"


def backends(port: int, database: str, times: int) -> set[int]:
    """The backends that consecutive transactions of one client get, once there are three."""
    with ExitStack() as opened:
        for _ in range(3):
            other = opened.enter_context(psycopg.connect(pooled_url(port, database)))
            other.execute("SELECT")
    url = pooled_url(port, database)
    with psycopg.connect(url, autocommit=True, prepare_threshold=None) as connection:
        return {
            connection.execute("SELECT pg_backend_pid()").fetchall()[0][0] for _ in range(times)
        }
