"""What must reach Kafka because a transaction committed: from `lalafo.outbox` to its topics.

Decides that a row goes only after its record was acknowledged, and that relays which work at once
take different rows. Refuses to know what the records mean.
"""

from typing import Any

import psycopg

from ops.errors import ConfigurationError, RetryableError
from resources.kafka.delivery import Outgoing, publish_acknowledged
from resources.kafka.topics import StreamPublisher
from resources.postgres.cursors import CursorSource

ACKNOWLEDGED_WITHIN_S = 10.0


def put(cursor: psycopg.Cursor[Any], topic: str, key: bytes | None, value: bytes) -> None:
    """Owe the topic a record, from the moment that the cursor's transaction commits."""
    cursor.execute(
        "INSERT INTO lalafo.outbox (topic, key, value) VALUES (%s, %s, %s)", (topic, key, value)
    )


def relay(
    database: CursorSource, publisher: StreamPublisher, *, older_than_s: float, limit: int
) -> int:
    """Publish the oldest rows and delete those that were acknowledged; how many.

    At least once: a relay that dies between acknowledgement and commit leaves rows that are
    published again. Rows that another relay is at work on are left to it. Called with nothing to
    do, it asks PostgreSQL once and Kafka nothing.

    The publisher may be shared: its `flush` is not called, so that nobody else's failures are
    taken from them.

    Args:
        older_than_s: younger rows are left to whoever wrote them.
        limit: rows in this transaction, at most.

    Raises:
        RetryableError: PostgreSQL or the broker is away; rows not acknowledged stay.
        ConfigurationError: the broker refuses a row for good. It stays, and a person must act;
            the others of this call are on their topics and gone from the table.
    """
    with database.cursor() as cursor:
        cursor.execute(
            "SELECT id, topic, key, value FROM lalafo.outbox "
            "WHERE created_at < clock_timestamp() - make_interval(secs => %s) "
            "ORDER BY id LIMIT %s FOR UPDATE SKIP LOCKED",
            (older_than_s, limit),
        )
        rows = cursor.fetchall()
        answers = publish_acknowledged(
            publisher,
            [Outgoing(topic, key, value) for _, topic, key, value in rows],
            within_s=ACKNOWLEDGED_WITHIN_S,
        )
        sent = [row[0] for row, answer in zip(rows, answers, strict=True) if answer is None]
        if sent:
            cursor.execute("DELETE FROM lalafo.outbox WHERE id = ANY(%s)", (sent,))
    for error in answers:
        if isinstance(error, RetryableError):
            raise error  # explains more than a row that the broker may not even have seen
    for row, error in zip(rows, answers, strict=True):
        if error is not None:
            raise ConfigurationError(
                f"row {row[0]} of lalafo.outbox is refused and stays there: {error} Then it goes "
                "out by itself; or delete the row to give the record up."
            ) from error
    return len(sent)


def waiting(database: CursorSource, *, older_than_s: float) -> int:
    """How many rows are older than so many seconds."""
    with database.cursor() as cursor:
        cursor.execute(
            "SELECT count(*) FROM lalafo.outbox "
            "WHERE created_at < clock_timestamp() - make_interval(secs => %s)",
            (older_than_s,),
        )
        (count,) = cursor.fetchall()[0]
    return int(count)
