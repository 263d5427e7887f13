"""A session's own connection, by whose end other sessions detect its end at once."""

from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
import structlog

from resources.postgres.connections import through_pooler
from resources.postgres.conninfo import DIRECT_URL_SETTING
from resources.postgres.database import Database
from resources.postgres.faults import is_of_another_backend
from resources.sessions.group.leases import CHANNEL, NO_BACKEND, OWN_BACKEND, Connection

log = structlog.get_logger()


class OwnConnection:
    """The connection of one membership, opened again when it is lost; for one thread at a time.

    Through a pooler there is no such connection: others then detect the session's end when its
    lease expires, and released partitions are found by polling.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self.current: Connection | None = None
        self.backend = OWN_BACKEND

    @property
    def is_open(self) -> bool:
        """Whether `current` is open, as far as this side knows."""
        return self.current is not None and not self.current.closed

    def open(self) -> Connection:
        """Open a new connection, which listens for released partitions unless it is pooled."""
        connection = self.current = self._database.connect_directly("lalafo-session")
        pooled = through_pooler(connection)
        if pooled and self.backend == OWN_BACKEND:
            log.warning(
                "session.without_own_connection",
                reason=f"{self._database.direct} leads through a pooler; set "
                f"{DIRECT_URL_SETTING} to detect a killed session before its lease expires",
            )
        self.backend = NO_BACKEND if pooled else OWN_BACKEND
        if not pooled:
            connection.execute(f"LISTEN {CHANNEL}")
        return connection

    @contextmanager
    def errors(self) -> Iterator[None]:
        """Translate outages into RetryableError.

        Closes the connection if the server behind it is read-only: it may be the old primary.
        """
        with self._database.errors():
            try:
                yield
            except psycopg.Error as error:
                if is_of_another_backend(error) and self.current is not None:
                    self.current.close()
                raise
