"""What a failed statement means: the server's fault, the data's, or the program's.

By PostgreSQL's SQLSTATE, not by the driver's exception classes: a read-only server raises the
driver's `InternalError`, and a row that is too large its `OperationalError`. Pure
functions; the codes are in PostgreSQL's manual, appendix A.
"""

from enum import Enum

import psycopg


class Fault(Enum):
    """Where the fault of a failed statement lies."""

    OUTAGE = "the server can't do it now: wait and try again; no item is at fault"
    DATA = "a value can't be stored: the same statement fails again"
    PROGRAM = "the statement, a privilege or the schema is wrong: a person must act"


_OUTAGE_CLASSES = frozenset(
    {
        "08",  # connection exceptions; a pooler's own errors
        "28",  # the log-in is refused, as while a password is changed
        "40",  # serialization failures, deadlocks
        "53",  # disk full, out of memory, too many connections
        "57",  # shutdown, crash, starting up, cancelled
        "58",  # system errors: I/O, missing files
        "F0",  # configuration file errors
        "XX",  # internal errors, corrupted data and indexes
    }
)
_OUTAGES = frozenset(
    {
        "25006",  # read-only: a standby, or after a failover
        "25P03",  # idle in a transaction for too long: this process was frozen
        "25P04",  # a transaction took too long
        "3D000",  # no such database, as while one is restored
        "55006",  # an object is in use
        "55P03",  # a lock is not available
    }
)
_DATA_CLASSES = frozenset(
    {
        "21",  # a subquery returned more rows than allowed
        "22",  # out of range, not UTF-8, not JSON
        "23",  # a constraint is violated
        "44",  # WITH CHECK OPTION
        "54",  # too large for a row or an index
    }
)
_NOT_EXECUTED = frozenset(
    {
        "25006",
        "26000",  # a prepared statement that this backend does not have
        "40001",
        "40P01",
        "42P05",  # a prepared statement that this backend has already
        "53300",
        "57P01",  # terminated: PostgreSQL does not interrupt a commit for it
        "57P03",
    }
)
_OF_ANOTHER_BACKEND = frozenset({"25006", "26000", "42P05"})


def fault_of(error: psycopg.Error) -> Fault:
    """Return where the fault of a failed statement, or of a failed connection, lies."""
    state = error.sqlstate
    if state is None:  # raised by the driver: the connection, or a value that it can't send
        if isinstance(error, psycopg.OperationalError | psycopg.InterfaceError):
            return Fault.OUTAGE
        return Fault.DATA if isinstance(error, psycopg.DataError) else Fault.PROGRAM
    if state == "40002" or state[:2] in _DATA_CLASSES:  # 40002: a deferred constraint
        return Fault.DATA
    if state in _OUTAGES or state[:2] in _OUTAGE_CLASSES:
        return Fault.OUTAGE
    return Fault.PROGRAM


def is_outage(error: psycopg.Error) -> bool:
    """Whether to wait and try again."""
    return fault_of(error) is Fault.OUTAGE


def was_executed(error: psycopg.Error) -> bool:
    """Whether the failed statement may have been committed; False is certain."""
    return error.sqlstate not in _NOT_EXECUTED


def is_of_another_backend(error: psycopg.Error) -> bool:
    """Whether an open connection must be replaced: it leads to a server that can't be written to.

    Its session stays read-only after the server is writable again, or it leads to the old primary.
    """
    return error.sqlstate in _OF_ANOTHER_BACKEND
