"""Transactions by the driver alone: what modules need that know neither SQLAlchemy nor a pool."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from typing import Any, Protocol

import psycopg


class CursorSource(Protocol):
    """A source of transactions: sessions use SQLAlchemy's connections, the gateway psycopg's."""

    def cursor(self) -> AbstractContextManager[psycopg.Cursor[Any]]: ...


@contextmanager
def pipelined_transaction(connection: psycopg.Connection[Any]) -> Iterator[None]:
    """Commit what the block executes in pipeline mode, or roll it back after an error.

    No statement waits for the result of one before it. Each statement whose rows are fetched needs
    a cursor of its own. Fetching waits for all that was sent before; rows of the last statements
    can be fetched after the block. BEGIN is sent with the first statements and COMMIT with the last
    ones: the driver's own would take a round trip each.

    Args:
        connection: not in a transaction, and not in autocommit mode.

    Raises:
        psycopg.Error: of the statement that failed first.
    """
    connection.autocommit = True
    try:
        with connection.pipeline() as pipeline:
            try:
                connection.execute("BEGIN")
                yield
                connection.execute("COMMIT")
            except BaseException:
                # Statements behind one that failed are aborted, which is no error of their own.
                with suppress(psycopg.Error):
                    pipeline.sync()
                raise
    finally:
        if not connection.closed:
            connection.rollback()  # does nothing after COMMIT
            connection.autocommit = False
