"""An incident is one row, however many sessions meet it, and what follows from it happens once."""

from ops.errors import Reason
from resources.postgres.database import Database
from resources.sessions.offsets import read_offsets
from resources.sessions.reading.incidents import Forgets, Incident, record_incident

STREAM = "stream-1"
INCIDENT = Incident(Reason.STREAM_TOPIC_RECREATED, "ads: a to b", "created again", "ads", 1)


def offsets_and_leases(database: Database) -> None:
    """Two partitions that a session reads."""
    with database.cursor() as cursor:
        cursor.execute(
            "INSERT INTO lalafo.stream_offsets (stream_id, topic, partition, next_offset, epoch, "
            "run_id) SELECT %s, 'ads', p, 7, 1, 'one' FROM generate_series(0, 1) AS p",
            (STREAM,),
        )
        cursor.execute(
            "INSERT INTO lalafo.leases (stream_id, topic, partition, epoch, run_id, backend_pid, "
            "backend_start, expires_at) SELECT %s, 'ads', p, 1, 'one', 1, now(), "
            "now() + interval '1 hour' FROM generate_series(0, 1) AS p",
            (STREAM,),
        )


def epochs(database: Database) -> list[tuple]:
    with database.cursor() as cursor:
        cursor.execute(
            "SELECT epoch, expires_at > clock_timestamp() FROM lalafo.leases ORDER BY partition"
        )
        return cursor.fetchall()


def test_the_first_session_forgets_all_offsets_and_fences_the_others(database: Database) -> None:
    """A session that does not know yet can't commit its offsets of the old log."""
    offsets_and_leases(database)
    assert record_incident(database, INCIDENT, stream_id=STREAM, run_id="one", forgets=Forgets.ALL)
    assert read_offsets(database, STREAM, "ads") == {}
    assert epochs(database) == [(2, False), (2, False)]


def test_a_later_session_changes_nothing(database: Database) -> None:
    """The first one reads the new log already."""
    assert record_incident(database, INCIDENT, stream_id=STREAM, run_id="one", forgets=Forgets.ALL)
    offsets_and_leases(database)
    assert not record_incident(
        database, INCIDENT, stream_id=STREAM, run_id="two", forgets=Forgets.ALL
    )
    assert read_offsets(database, STREAM, "ads") == {0: 7, 1: 7}
    assert epochs(database) == [(1, True), (1, True)]
    with database.cursor() as cursor:
        cursor.execute("SELECT run_id FROM lalafo.failures")
        assert cursor.fetchall() == [("one",)]


def test_an_offset_outside_the_log_is_forgotten_alone(database: Database) -> None:
    offsets_and_leases(database)
    record_incident(database, INCIDENT, stream_id=STREAM, run_id="one", forgets=Forgets.PARTITION)
    assert read_offsets(database, STREAM, "ads") == {0: 7}
    assert epochs(database) == [(1, True), (1, True)]
