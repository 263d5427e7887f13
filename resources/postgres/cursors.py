"""The protocol of a database for modules that need only transactions and cursors."""

from contextlib import AbstractContextManager
from typing import Any, Protocol

import psycopg


class CursorSource(Protocol):
    """A source of transactions: sessions use SQLAlchemy's connections, the gateway psycopg's."""

    def cursor(self) -> AbstractContextManager[psycopg.Cursor[Any]]: ...
