"""A primary and a standby by streaming replication, on one machine; the standby can be promoted."""

import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote

import psutil
import psycopg

from resources.embedded.postgres import SUPERUSER, EmbeddedPostgres
from resources.embedded.postgres_programs import PostgresPrograms, kill_server, user_for
from resources.embedded.postgres_state import PORT, running_postmaster, settings_text, socket_folder

WITHIN_S = 60


class ReplicatedPostgres:
    """Two servers; each has its data and its socket below a folder of its own.

    Args:
        synchronous: whether a commit waits until the standby has it on disk.
    """

    def __init__(self, folder: Path, *, synchronous: bool) -> None:
        self.primary = EmbeddedPostgres(folder / "primary")
        self._synchronous = synchronous
        self._standby = folder / "standby" / "postgres"
        self._data = self._standby / "data"

    def start(self) -> None:
        """Start the primary, copy it, and start the copy as its standby."""
        self.primary.start()
        self._standby.mkdir(parents=True)
        programs = PostgresPrograms(user_for(self._data))
        programs.own(self._standby, 0o755)
        sockets, _ = self._socket_folders()
        copied = ["-D", str(self._data), "-h", str(sockets), "-p", str(PORT), "-U", SUPERUSER]
        slot = ["-R", "-C", "-S", "standby", "-X", "stream", "-c", "fast"]
        programs.run("pg_basebackup", [*copied, *slot], timeout_s=WITHIN_S)
        self._serve(programs)
        with self._on_primary() as connection:
            if self._synchronous:
                connection.execute("ALTER SYSTEM SET synchronous_standby_names = '*'")
                connection.execute("SELECT pg_reload_conf()")
            wanted = "sync" if self._synchronous else "async"
            query = "SELECT count(*) FROM pg_stat_replication WHERE sync_state = %s"
            _until(lambda: _one(connection, query, wanted) == (1,))

    def url(self) -> str:
        """The address of whichever of the two takes writes."""
        hosts = ",".join(quote(str(folder), safe="") for folder in self._socket_folders())
        return (
            f"postgresql://{SUPERUSER}@/lalafo?host={hosts}&port={PORT},{PORT}"
            "&target_session_attrs=read-write"
        )

    def standby_rows(self, query: str) -> list[tuple[Any, ...]]:
        """The rows of a query on the standby, whether it was promoted or not."""
        with psycopg.connect(self._standby_conninfo(), autocommit=True) as connection:
            return connection.execute(query).fetchall()

    def stop_receiving(self) -> None:
        """Freeze the standby's receiver: it has none of the commits that follow."""
        self._receiver().send_signal(signal.SIGSTOP)

    def kill_primary(self) -> None:
        """End all of the primary's processes at once."""
        pid = self.primary.pid
        assert pid is not None
        kill_server(pid)

    def promote(self) -> None:
        """Make the standby the primary."""
        receiver = self._receiver_or_none()
        if receiver is not None and receiver.status() == psutil.STATUS_STOPPED:
            receiver.kill()  # what has arrived and was not written is lost with it
        programs = PostgresPrograms(user_for(self._data))
        programs.run("pg_ctl", ["promote", "-D", str(self._data), "-w"], timeout_s=WITHIN_S)
        self._write_settings(programs)

    def stop(self) -> None:
        """Stop what still runs."""
        self.primary.stop()
        postmaster = running_postmaster(self._data)
        if postmaster is not None:
            kill_server(postmaster.pid)

    def _serve(self, programs: PostgresPrograms) -> None:
        sockets = socket_folder(self._standby)
        sockets.mkdir(mode=0o700)
        programs.own(sockets, 0o700)
        self._write_settings(programs)
        log = self._standby / "log"
        log.touch()
        programs.own(log, 0o600)
        args = ["start", "-D", str(self._data), "-l", str(log), "-w", "-t", str(WITHIN_S)]
        programs.run("pg_ctl", args, timeout_s=WITHIN_S + 5)

    def _write_settings(self, programs: PostgresPrograms) -> None:
        conf = self._data / "lalafo.conf"
        conf.write_text(settings_text(socket_folder(self._standby), {}), encoding="utf-8")
        programs.own(conf, 0o600)

    def _socket_folders(self) -> tuple[Path, Path]:
        return socket_folder(self._data.parents[2] / "primary" / "postgres"), socket_folder(
            self._standby
        )

    def _standby_conninfo(self) -> str:
        return f"host={socket_folder(self._standby)} port={PORT} user={SUPERUSER} dbname=lalafo"

    @contextmanager
    def _on_primary(self) -> Iterator[psycopg.Connection[Any]]:
        url = self.primary.url().replace("postgresql+psycopg:", "postgresql:")
        with psycopg.connect(url, autocommit=True) as connection:
            yield connection

    def _receiver(self) -> psutil.Process:
        receiver = self._receiver_or_none()
        assert receiver is not None, "the standby receives nothing"
        return receiver

    def _receiver_or_none(self) -> psutil.Process | None:
        postmaster = running_postmaster(self._data)
        assert postmaster is not None
        for process in psutil.Process(postmaster.pid).children():
            with suppress(psutil.NoSuchProcess):  # or a zombie
                if "walreceiver" in " ".join(process.cmdline()):
                    return process
        return None


def _one(connection: psycopg.Connection[Any], query: str, *values: object) -> tuple[Any, ...]:
    (row,) = connection.execute(query, values).fetchall()
    return tuple(row)


def _until(condition: Any) -> None:
    deadline = time.monotonic() + WITHIN_S
    while not condition():
        assert time.monotonic() < deadline, "the standby does not receive"
        time.sleep(0.05)
