"""Who owns a partition: one living holder, seen dead at once, and replaced under a new epoch."""

import threading

import pytest

from ops.errors import LeaseLostError
from resources.database import Database
from resources.leases import PartitionLeases, read_leases

STREAM = "stream-1"


def leases(database: Database, run_id: str, ttl_s: float = 60) -> PartitionLeases:
    return PartitionLeases(
        database, stream_id=STREAM, topic="ads", partitions=[0, 1], run_id=run_id, ttl_s=ttl_s
    )


def alive(database: Database) -> dict[int, bool]:
    return {p: state.alive for p, state in read_leases(database, STREAM, "ads").items()}


def test_a_living_holder_is_left_its_partitions(database: Database) -> None:
    """The second to come gets none; after the first has gone it gets all, under new epochs."""
    with leases(database, "one") as first:
        assert first.epochs == {0: 1, 1: 1}
        with leases(database, "two") as second:
            assert second.epochs == {}
        assert alive(database) == {0: True, 1: True}
    assert alive(database) == {0: False, 1: False}
    with leases(database, "three") as third:
        assert third.epochs == {0: 2, 1: 2}


def test_a_dead_holder_is_seen_by_its_connection(database: Database) -> None:
    """A killed process's connection is closed by the kernel: no lease is waited for."""
    first = leases(database, "one")
    first.epochs = first._take()
    assert alive(database) == {0: True, 1: True}
    assert first._connection is not None
    first._connection.close()  # what the kernel does for a process that is gone
    assert alive(database) == {0: False, 1: False}
    with leases(database, "two") as second:
        assert second.epochs == {0: 2, 1: 2}


def test_a_frozen_holder_is_seen_by_expiry(database: Database) -> None:
    """Its connection is open, but nothing renews: the lease ends by PostgreSQL's clock."""
    frozen = leases(database, "one", ttl_s=0.2)
    frozen.epochs = frozen._take()
    threading.Event().wait(0.3)
    assert alive(database) == {0: False, 1: False}
    with leases(database, "two") as second:
        assert second.epochs == {0: 2, 1: 2}
    assert frozen._renew() == 0, "what comes back finds that it was replaced"
    frozen._connection.close()


def test_a_renewed_lease_goes_on(database: Database) -> None:
    """A holder that works on keeps its partitions for longer than one term."""
    with leases(database, "one", ttl_s=0.6) as first:
        threading.Event().wait(1.5)
        first.check()
        assert alive(database) == {0: True, 1: True}


def test_a_holder_that_was_replaced_is_told(database: Database) -> None:
    """The next renewal finds another epoch, and `check` raises from then on."""
    with leases(database, "one", ttl_s=0.3) as first:
        with database.cursor() as cursor:
            cursor.execute("UPDATE lalafo.leases SET epoch = epoch + 1, run_id = 'two'")
        assert first._lost.wait(5)
        with pytest.raises(LeaseLostError):
            first.check()
    assert {state.run_id for state in read_leases(database, STREAM, "ads").values()} == {"two"}
