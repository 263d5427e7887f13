"""SQLSTATE classes: what is waited out, what is the data's fault, what a person must correct."""

import psycopg
import pytest

from resources.postgres.faults import (
    Fault,
    fault_of,
    is_of_another_backend,
    is_outage,
    was_executed,
)


class ServerError(psycopg.Error):
    """An error with a code, as the server sends it."""

    def __init__(self, state: str | None) -> None:
        super().__init__(state)
        self.sqlstate = state


@pytest.mark.parametrize(
    "state",
    [
        *("08000", "08006", "08P01", "25006", "25P03", "28P01", "3D000", "40001", "40003", "40P01"),
        *("53100", "53200", "53300", "53400", "55006", "55P03", "57014", "57P01", "57P02", "57P03"),
        *("57P05", "58000", "58030", "58P01", "XX000", "XX001", "F0000"),
    ],
)
def test_faults_of_the_server_are_waited_out(state: str) -> None:
    """Whatever class of exception the driver raises for them."""
    assert fault_of(ServerError(state)) is Fault.OUTAGE
    assert is_outage(ServerError(state))


@pytest.mark.parametrize(
    "state",
    [
        "21000",
        "22001",
        "22003",
        "22021",
        "22P05",
        "23502",
        "23503",
        "23505",
        "40002",
        "54000",
        "54001",
        "54011",
    ],
)
def test_faults_of_the_data_are_not_retried(state: str) -> None:
    """The same value fails again, however long one waits."""
    assert fault_of(ServerError(state)) is Fault.DATA


@pytest.mark.parametrize("state", ["0A000", "25001", "25P02", "42501", "42601", "42P01", "55000"])
def test_faults_of_the_program_are_neither(state: str) -> None:
    """Waiting does not help, and no item is at fault."""
    assert fault_of(ServerError(state)) is Fault.PROGRAM


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (psycopg.OperationalError("server closed the connection unexpectedly"), Fault.OUTAGE),
        (psycopg.errors.ConnectionTimeout("timeout"), Fault.OUTAGE),
        (psycopg.InterfaceError("the connection is closed"), Fault.OUTAGE),
        (psycopg.DataError("text fields cannot contain NUL bytes"), Fault.DATA),
        (psycopg.ProgrammingError("no results to fetch"), Fault.PROGRAM),
        (psycopg.errors.ReadOnlySqlTransaction("read-only"), Fault.OUTAGE),
        (psycopg.errors.IdleInTransactionSessionTimeout("idle"), Fault.OUTAGE),
        (psycopg.errors.ProgramLimitExceeded("index row size"), Fault.DATA),
    ],
)
def test_the_drivers_own_errors(error: psycopg.Error, expected: Fault) -> None:
    """Without a code, the driver's class counts; with one, the code does."""
    assert fault_of(error) is expected


def test_only_a_certain_failure_counts_as_not_executed() -> None:
    """A write is repeated only then: after a crash or a silent end it may have been committed."""
    for state in ("25006", "26000", "40001", "53300", "57P01", "57P03"):
        assert not was_executed(ServerError(state)), state
    for state in (None, "57P02", "08006", "40003", "58030", "XX000"):
        assert was_executed(ServerError(state)), state


def test_a_connection_to_a_read_only_server_is_replaced() -> None:
    """It would stay read-only after the server is writable again."""
    assert is_of_another_backend(ServerError("25006"))
    assert not is_of_another_backend(ServerError("53100"))
