"""Faults of a real PostgreSQL: read-only, terminated backends, frozen, full, no free connection."""

import os
import pwd
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import mkdtemp

import psutil
import psycopg
import pytest

from resources.embedded.postgres import EmbeddedPostgres
from resources.postgres.conninfo import Conninfo

SMALL_MB = 48
ROLE = "shop"
ROLE_LIMIT = 12


@dataclass(frozen=True)
class Faults:
    """Faults of one server's database `lalafo`."""

    server: EmbeddedPostgres

    def execute(self, *statements: str, database: str = "postgres") -> None:
        """Execute statements as the superuser, over a connection to another database."""
        text = Conninfo.parse(self.server.url(database)).text("test-faults")
        with psycopg.connect(text, autocommit=True) as admin:
            for statement in statements:
                admin.execute(statement)

    def connections(self) -> int:
        """The number of connections to the database, from anywhere."""
        text = Conninfo.parse(self.server.url("postgres")).text()
        with psycopg.connect(text) as admin:
            rows = admin.execute(
                "SELECT count(*) FROM pg_stat_activity WHERE datname = 'lalafo' "
                "AND backend_type = 'client backend'"
            ).fetchall()
            return int(rows[0][0])

    def terminate(self) -> None:
        """Terminate every backend of the database."""
        self.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = 'lalafo'"
        )

    def make_read_only(self) -> None:
        """As after a failover: the open connections end, and new ones can't write."""
        self.execute("ALTER DATABASE lalafo SET default_transaction_read_only = on")
        self.terminate()

    def make_writable(self) -> None:
        """New connections can write; open ones stay read-only."""
        self.execute("ALTER DATABASE lalafo RESET default_transaction_read_only")

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """Stop every process of the server: connections stay open, and nothing answers."""
        assert self.server.pid is not None
        parent = psutil.Process(self.server.pid)
        stopped = [parent, *parent.children()]
        for process in stopped:
            process.suspend()
        try:
            yield
        finally:
            for process in reversed(stopped):
                process.resume()

    def limited_url(self) -> str:
        """A connection string for an owner of the tables, with at most ROLE_LIMIT connections."""
        owned = (
            "SELECT format('ALTER %s lalafo.%I OWNER TO shop', CASE relkind WHEN 'S' THEN "
            "'SEQUENCE' WHEN 'v' THEN 'VIEW' ELSE 'TABLE' END, relname) FROM pg_class "
            "WHERE relnamespace = 'lalafo'::regnamespace AND relkind IN ('r', 'p', 'v')"
        )
        text = Conninfo.parse(self.server.url()).text()
        with psycopg.connect(text) as admin:
            admin.execute(f"CREATE ROLE {ROLE} LOGIN CONNECTION LIMIT {ROLE_LIMIT}")
            admin.execute(f"ALTER SCHEMA lalafo OWNER TO {ROLE}")
            for (statement,) in admin.execute(owned).fetchall():
                admin.execute(statement)
        return Conninfo.parse(self.server.url()).text(user=ROLE)

    @contextmanager
    def no_free_connection(self) -> Iterator[None]:
        """End the role's connections, and take all that it may open."""
        url = Conninfo.parse(self.server.url("postgres")).text("test-taken", user=ROLE)
        with ExitStack() as taken:
            while True:
                self.execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                    f"WHERE usename = '{ROLE}' AND datname = 'lalafo'"
                )
                try:
                    taken.enter_context(psycopg.connect(url))
                except psycopg.OperationalError as error:
                    assert "too many connections" in str(error), error
                    row = self._connections_of_role()
                    if row == 0:
                        break
            yield

    def _connections_of_role(self) -> int:
        text = Conninfo.parse(self.server.url("postgres")).text()
        with psycopg.connect(text) as admin:
            rows = admin.execute(
                "SELECT count(*) FROM pg_stat_activity WHERE usename = %s AND datname = 'lalafo'",
                (ROLE,),
            ).fetchall()
            return int(rows[0][0])


@contextmanager
def small_disk(server: EmbeddedPostgres) -> Iterator[Path]:
    """Move the database `lalafo` to a disk of SMALL_MB; skips the test where none can be mounted.

    Nobody may be connected to it.
    """
    folder = Path(mkdtemp(prefix="lalafo-disk-"))
    mount = ["mount", "-t", "tmpfs", "-o", f"size={SMALL_MB}m", "tmpfs", str(folder)]
    try:
        if os.geteuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode:
            pytest.skip("a small disk can't be mounted here (it needs root)")
        socket_folder = Path(Conninfo.parse(server.url()).parameters["host"])
        owner = pwd.getpwuid(socket_folder.stat().st_uid)
        os.chown(folder, owner.pw_uid, owner.pw_gid)
        faults = Faults(server)
        faults.execute(
            f"CREATE TABLESPACE small LOCATION '{folder}'",
            "ALTER DATABASE lalafo SET TABLESPACE small",
        )
        yield folder
        server.stop()
    finally:
        subprocess.run(["umount", "-l", str(folder)], capture_output=True, check=False)
        folder.rmdir()


@contextmanager
def full(disk: Path) -> Iterator[None]:
    """Fill a disk to its last byte; the space is free again at the end."""
    ballast = disk / "ballast"
    try:
        with ballast.open("wb", buffering=0) as file:
            for size in (2**16, 2**12, 1):
                try:
                    while True:
                        file.write(bytes(size))
                except OSError:
                    continue
        yield
    finally:
        ballast.unlink()
