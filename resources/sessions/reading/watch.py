"""Asks Kafka every two seconds which log the topic is, and which partitions it has.

A topic that is deleted and created again is another log: offsets of the old one mean nothing in it.
A session's fetches do not notice, because they name the topic by its name, and a position may be
inside both logs. Runs in a thread with connections of its own: no event waits for it.
"""

from collections.abc import Callable

import structlog

from ops.errors import LalafoError, Reason, RetryableError
from resources.kafka.topics import AdStream, TopicLog
from resources.postgres.database import Database
from resources.processes.repeating import RepeatingThread
from resources.sessions.reading.incidents import Forgets, Incident, record_incident

EVERY_S = 2.0

log = structlog.get_logger()


class TopicWatch(RepeatingThread):
    """Watches the ads topic; a context manager.

    Args:
        known: the log that the session reads.
        extended: called with all partitions that have a leader, ascending, when they change.
        replaced: called once, with the log that the topic is now. A RetryableError of it is
            retried.
    """

    def __init__(
        self,
        stream: AdStream,
        known: TopicLog,
        *,
        extended: Callable[[tuple[int, ...]], None],
        replaced: Callable[[TopicLog], None],
        every_s: float = EVERY_S,
    ) -> None:
        self._stream = AdStream(stream.config)
        self._known = known
        self._extended = extended
        self._replaced = replaced
        super().__init__("topic-watch", every_s=every_s)

    def run(self) -> None:
        """Close the thread's own connection at its end."""
        with self._stream:
            super().run()

    def step(self) -> bool:
        """Look once; True if the topic is another log."""
        try:
            return self._look()
        except RetryableError:
            pass  # the stages report the outage
        except LalafoError as error:
            log.error("stream.topic_missing", error=str(error))
        except Exception as error:  # noqa: BLE001 - the thread must go on looking
            log.error("stream.watch_failed", error=repr(error))
        return False

    def _look(self) -> bool:
        """Look once; return whether the topic is another log."""
        found = self._stream.current_log()
        if found.id != self._known.id:
            log.error("stream.topic_recreated", was=self._known.id, now=found.id)
            self._replaced(found)
            return True
        if found.partitions != self._known.partitions:
            added = sorted({*found.partitions} - {*self._known.partitions})
            gone = sorted({*self._known.partitions} - {*found.partitions})
            log.warning("stream.partitions_changed", added=added, without_leader=gone)
            self._known = found
            self._extended(found.partitions)
        return False


def record_replaced(
    database: Database,
    stream: AdStream,
    was: TopicLog,
    now: TopicLog,
    *,
    stream_id: str,
    run_id: str,
) -> None:
    """Record that the topic is another log.

    Where a setting gives both the same stream id, the old one's offsets are deleted, once.
    """
    topic = stream.config.ads_topic
    incident = Incident(
        Reason.STREAM_TOPIC_RECREATED,
        f"{topic}: {was.id} to {now.id}",
        f"{topic} was deleted and created again: it was {was.id} and is {now.id}. It is read from "
        "its beginning; what the old one still had to be read is lost.",
        topic,
    )
    forgets = Forgets.ALL if stream.config.stream_id != "" else Forgets.NONE
    record_incident(database, incident, stream_id=stream_id, run_id=run_id, forgets=forgets)
