"""A PostgreSQL server that archives its log, and can be restored to an earlier moment."""

import shutil
import subprocess
import time
from datetime import datetime
from pathlib import Path
from typing import Any

import psycopg

from resources.embedded.postgres import SUPERUSER, EmbeddedPostgres
from resources.embedded.postgres_programs import PostgresPrograms, kill_server, user_for
from resources.embedded.postgres_state import PORT, socket_folder

WITHIN_S = 60


class ArchivedPostgres:
    """A server whose data, base backup and archive of the log are below one folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._data = folder / "home" / "postgres" / "data"
        self._archive = folder / "archive"
        self._base = folder / "base"
        settings = {"archive_mode": "on", "archive_command": f"cp %p {self._archive}/%f"}
        self.server = EmbeddedPostgres(folder / "home", overrides=settings)

    def start(self) -> None:
        """Start it with an empty archive."""
        self._archive.mkdir(parents=True)
        programs = PostgresPrograms(user_for(self._data))
        programs.own(self._archive, 0o755)
        programs.own(self._folder, 0o755)
        self.server.start()

    def stop(self) -> None:
        """Stop it."""
        self.server.stop()

    def back_up(self) -> None:
        """Take a base backup, while the server works."""
        sockets = str(socket_folder(self._data.parent))
        args = [
            "-D",
            str(self._base),
            "-h",
            sockets,
            "-p",
            str(PORT),
            "-U",
            SUPERUSER,
            "-c",
            "fast",
        ]
        programs = PostgresPrograms(user_for(self._data))
        programs.run("pg_basebackup", [*args, "-X", "none"], timeout_s=WITHIN_S)

    def now(self) -> datetime:
        """The server's time, which a restore can name."""
        (moment,) = self._query("SELECT clock_timestamp()")
        assert isinstance(moment, datetime)
        return moment

    def archive(self) -> None:
        """Archive the log so far."""
        (name,) = self._query("SELECT pg_walfile_name(pg_switch_wal())")
        deadline = time.monotonic() + WITHIN_S
        while not (self._archive / str(name)).exists():
            assert time.monotonic() < deadline, f"{name} was not archived"
            time.sleep(0.05)

    def drop(self) -> None:
        """Kill the server, and delete its data."""
        pid = self.server.pid
        assert pid is not None
        kill_server(pid)
        shutil.rmtree(self._data)

    def restore(self, moment: datetime) -> None:
        """Start it from the base backup and the archive, as it was at this moment."""
        subprocess.run(["cp", "-a", str(self._base), str(self._data)], check=True)
        (self._data / "recovery.signal").touch()
        with (self._data / "postgresql.auto.conf").open("a", encoding="utf-8") as conf:
            conf.write(
                f"restore_command = 'cp {self._archive}/%f %p'\n"
                f"recovery_target_time = '{moment.isoformat()}'\n"
                "recovery_target_action = 'promote'\n"
                "hot_standby = off\n"  # nobody connects before it is restored
            )
        self.server.start()

    def _query(self, query: str) -> tuple[Any, ...]:
        url = self.server.url().replace("postgresql+psycopg:", "postgresql:")
        with psycopg.connect(url, autocommit=True) as connection:
            (row,) = connection.execute(query).fetchall()
            return tuple(row)
