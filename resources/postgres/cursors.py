"""What a plain module needs of a database: transactions as cursors."""

from contextlib import AbstractContextManager
from typing import Any, Protocol

import psycopg


class CursorSource(Protocol):
    """Transactions, whoever gives them: sessions have SQLAlchemy's connections, the gateway not."""

    def cursor(self) -> AbstractContextManager[psycopg.Cursor[Any]]: ...
