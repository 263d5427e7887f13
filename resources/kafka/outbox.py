"""The transactional outbox: records in `lalafo.outbox` that a relay publishes to Kafka.

A row is deleted only after its record was acknowledged. Relays that run at the same time take
different rows. Does not depend on what the records contain.
"""

from typing import Any

import psycopg

from ops.errors import ConfigurationError, RetryableError
from ops.events.traceparent import headers_of
from resources.kafka.delivery import Outgoing, publish_acknowledged
from resources.kafka.topics import StreamPublisher
from resources.postgres.cursors import CursorSource

ACKNOWLEDGED_WITHIN_S = 10.0


def put(cursor: psycopg.Cursor[Any], topic: str, key: bytes | None, value: bytes) -> None:
    """Add a record to the outbox; it is pending once the cursor's transaction commits."""
    cursor.execute(
        "INSERT INTO lalafo.outbox (topic, key, value) VALUES (%s, %s, %s)", (topic, key, value)
    )


def relay(
    database: CursorSource, publisher: StreamPublisher, *, older_than_s: float, limit: int
) -> int:
    """Publish the oldest rows, delete those that were acknowledged, and return their number.

    Delivery is at least once: rows of a relay that dies between acknowledgement and commit are
    published again. Rows locked by another relay are skipped. Without pending rows it costs one
    query to PostgreSQL and no request to Kafka.

    The publisher may be shared: its `flush` is not called, so the failures of other callers are
    not consumed.

    Args:
        older_than_s: seconds; newer rows are left to the process that wrote them.
        limit: the maximum number of rows in this transaction.

    Raises:
        RetryableError: PostgreSQL or the broker is unavailable; rows not acknowledged stay.
        ConfigurationError: the broker rejects a row permanently. The row stays until an operator
            acts; the other rows of this call are published and deleted.
    """
    with database.cursor() as cursor:
        cursor.execute(
            "SELECT id, topic, key, value, traceparent FROM lalafo.outbox "
            "WHERE created_at < clock_timestamp() - make_interval(secs => %s) "
            "ORDER BY id LIMIT %s FOR UPDATE SKIP LOCKED",
            (older_than_s, limit),
        )
        rows = cursor.fetchall()
        answers = publish_acknowledged(
            publisher,
            [
                Outgoing(topic, key, value, headers_of(traceparent))
                for _, topic, key, value, traceparent in rows
            ],
            within_s=ACKNOWLEDGED_WITHIN_S,
        )
        sent = [row[0] for row, answer in zip(rows, answers, strict=True) if answer is None]
        if sent:
            cursor.execute("DELETE FROM lalafo.outbox WHERE id = ANY(%s)", (sent,))
    for error in answers:
        if isinstance(error, RetryableError):
            raise error  # more useful than a row that the broker may not have seen
    for row, error in zip(rows, answers, strict=True):
        if error is not None:
            raise ConfigurationError(
                f"row {row[0]} of lalafo.outbox is rejected and stays there: {error} The row is "
                "published once that is fixed; or delete the row to give the record up."
            ) from error
    return len(sent)


def waiting(database: CursorSource, *, older_than_s: float) -> int:
    """Return the number of rows that are older than this many seconds."""
    with database.cursor() as cursor:
        cursor.execute(
            "SELECT count(*) FROM lalafo.outbox "
            "WHERE created_at < clock_timestamp() - make_interval(secs => %s)",
            (older_than_s,),
        )
        (count,) = cursor.fetchall()[0]
    return int(count)
