"""What must reach Kafka because a transaction committed: from `lalafo.outbox` to its topics.

Decides that a row goes only after its record was acknowledged, and that relays which work at once
take different rows. Refuses to know what the records mean.
"""

import time
from collections.abc import Sequence
from typing import Any

import psycopg

from ops.errors import ConfigurationError, LalafoError, RetryableError
from resources.ad_stream import Publication, StreamPublisher
from resources.database import Database

Row = tuple[int, str, bytes | None, bytes]

ACKNOWLEDGED_WITHIN_S = 10.0


def put(cursor: psycopg.Cursor[Any], topic: str, key: bytes | None, value: bytes) -> None:
    """Owe the topic a record, from the moment that the cursor's transaction commits."""
    cursor.execute(
        "INSERT INTO lalafo.outbox (topic, key, value) VALUES (%s, %s, %s)", (topic, key, value)
    )


def relay(
    database: Database, publisher: StreamPublisher, *, older_than_s: float, limit: int
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
        rows: list[Row] = cursor.fetchall()
        sent, failures = _publish(publisher, rows)
        if sent:
            cursor.execute("DELETE FROM lalafo.outbox WHERE id = ANY(%s)", (sent,))
    if failures:
        # A broker that is away explains more than a row that it may not even have seen.
        raise min(failures, key=lambda error: isinstance(error, ConfigurationError))
    return len(sent)


def _publish(
    publisher: StreamPublisher, rows: Sequence[Row]
) -> tuple[list[int], list[LalafoError]]:
    """The ids that were acknowledged, and why the others were not."""
    deadline = time.monotonic() + ACKNOWLEDGED_WITHIN_S
    sent, refused, failures = _publish_together(publisher, rows, deadline)
    if not refused:
        return sent, failures
    # kafka-python 3.0.12 fails whatever is under way together with the one record that the broker
    # refused: alone, each gets an answer of its own.
    for row in (row for row in rows if row[0] in refused):
        alone, still_refused, why = _publish_together(publisher, [row], deadline)
        sent += alone
        failures += [*why, *(_refused(*item) for item in still_refused.items())]
    return sent, failures


def _publish_together(
    publisher: StreamPublisher, rows: Sequence[Row], deadline: float
) -> tuple[list[int], dict[int, ConfigurationError], list[LalafoError]]:
    """The ids acknowledged, those refused for good, and what else went wrong."""
    sent: list[int] = []
    refused: dict[int, ConfigurationError] = {}
    failures: list[LalafoError] = []
    under_way: list[tuple[int, Publication]] = []
    for number, topic, key, value in rows:
        try:
            under_way.append((number, publisher.publish(topic, key, value)))
        except ConfigurationError as error:
            refused[number] = error
        except RetryableError as error:  # each further one would wait as long for the same answer
            failures.append(error)
            break
    for number, publication in under_way:
        try:
            publication.result(max(0.0, deadline - time.monotonic()))
            sent.append(number)
        except ConfigurationError as error:
            refused[number] = error
        except RetryableError as error:
            failures.append(error)
    return sent, refused, failures


def _refused(number: int, error: ConfigurationError) -> ConfigurationError:
    return ConfigurationError(
        f"row {number} of lalafo.outbox is refused and stays there: {error} Then it goes out by "
        "itself; or delete the row to give the record up."
    )
