"""The servers of a stack: the PostgreSQL and the Kafka that the environment names, else embedded.

Owns when an embedded server is started, started again, and given up. What uses the servers is in
`supervisor.py`.
"""

import os
import threading
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path

from lalafo_assets.stack.environment import (
    DAGSTER_DATABASE,
    DATABASE,
    external_databases,
    external_kafka,
    without_passwords,
)
from lalafo_assets.stack.shutdown import start_checkpoint
from ops.errors import LalafoError, RetryableError
from ops.types import ProgressCallback
from resources.embedded.broker import EmbeddedBroker
from resources.embedded.postgres import EmbeddedPostgres
from resources.postgres.conninfo import Conninfo

_POSTGRES_STARTS = 10


class Servers:
    """PostgreSQL and the broker of one stack.

    Args:
        environment: may name external servers; the exports of an earlier stack's embedded ones are
            passed over.
        exits: the embedded servers are stopped when it closes.
    """

    def __init__(
        self,
        home: Path,
        environment: Mapping[str, str],
        exits: ExitStack,
        on_progress: ProgressCallback,
    ) -> None:
        self._home = home
        self._environment = environment
        self._exits = exits
        self._on_progress = on_progress
        self._postgres: EmbeddedPostgres | None = None  # None until it has started
        self._broker: EmbeddedBroker | None = None
        self._failed_starts = 0  # of PostgreSQL, in a row
        self.postgres_pid: int | None = None  # None where an external server is used

    def start_postgres(self) -> dict[str, str]:
        """Return the exports of the databases; start the embedded server if one of them is there.

        Exports are printed and written to a file: a connection string with a password is not among
        them, and children inherit it.

        Raises:
            ConfigurationError: a connection string can't be read, or PostgreSQL does not start.
        """
        external = external_databases(self._environment, self._home)
        for name in (DATABASE, DAGSTER_DATABASE):
            if name in external:
                what = "Dagster's storage" if name == DAGSTER_DATABASE else "ads and results"
                server = Conninfo.parse(external[name], name)
                self._on_progress(f"using PostgreSQL at {server} for {what} ({name})")
        os.environ.update(external)
        if {DATABASE, DAGSTER_DATABASE} <= external.keys():
            return without_passwords(external)
        self._on_progress("starting PostgreSQL with pgvector")
        postgres = EmbeddedPostgres(self._home)
        self._exits.callback(postgres.stop)
        postgres.start()
        self._postgres, self.postgres_pid = postgres, postgres.pid
        own = {name: url for name, url in postgres.exports().items() if name not in external}
        return {**own, **without_passwords(external)}

    def start_broker(self) -> dict[str, str]:
        """Return the exports of an external Kafka, or start the embedded broker."""
        external = external_kafka(self._environment)
        if external:
            self._on_progress(f"using Kafka at {external['LALAFO_KAFKA_BOOTSTRAP']}")
            return external
        self._on_progress("starting the embedded broker")
        broker = EmbeddedBroker(self._home)
        self._exits.callback(broker.stop)
        broker.start()
        self._broker = broker
        return broker.exports()

    def check(self) -> None:
        """Start PostgreSQL again if it has ended, as by the kernel for lack of memory.

        Raises:
            ConfigurationError: PostgreSQL does not start again.
            RetryableError: the embedded broker has ended. Another one would be another log at
                another address, so everything that reads it would have to start again.
        """
        self._restart_postgres()
        if self._broker is not None and not self._broker.is_running():
            raise RetryableError(
                "the embedded broker has ended, and with it what was on its topics, so the stack "
                "stops. Start it again: ads that were accepted and not scored are published again. "
                f"The broker's log: {self._home / 'broker' / 'log'}"
            )

    def checkpoint(self) -> Callable[[float], None]:
        """Let the embedded PostgreSQL write to disk; return what waits for it, so many seconds."""
        if self._postgres is None:
            return lambda _: None
        thread: threading.Thread = start_checkpoint(self._postgres.url())
        return thread.join

    def _restart_postgres(self) -> None:
        if self._postgres is None or self._postgres.pid is not None:
            return
        self._on_progress("PostgreSQL has ended: starting it again")
        try:
            self._postgres.start()
        except LalafoError:
            # Its last processes may take seconds to notice, and hold its shared memory meanwhile.
            self._failed_starts += 1
            if self._failed_starts >= _POSTGRES_STARTS:
                raise
        else:
            self._failed_starts = 0
            self.postgres_pid = self._postgres.pid
