"""Alarms people about ads and photos that failed for a fault of the program, not of their senders.

Owns which reasons those are, and how often a message goes to the webhook. A session that fails is
reported by the sensor `failed_sessions` instead; the body is the same.
"""

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict
from datetime import UTC, datetime

import structlog

from ops.errors import LalafoError, Reason
from ops.session.tally import Tally
from resources.webhook import post_json
from sensors.failures import ATTEMPTS, Alert

EVERY_S = 600.0
"""Seconds between two messages to the webhook; each covers everything since the one before."""

REASONS = (Reason.INTERNAL_ERROR.value, Reason.QUARANTINED.value)

log = structlog.get_logger()


class Alarms:
    """The alarms of one session's run.

    Args:
        url: the webhook's; empty: none.
        send: sends one body to the webhook, and may take seconds.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        url: str,
        *,
        run_id: str,
        job: str,
        send: Callable[[str, Mapping[str, object]], None] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._url, self._run_id, self._job = url, run_id, job
        self._send = _post if send is None else send
        self._clock = clock
        self._sent_at: float | None = None
        self._unsent = 0

    def report(self, tally: Tally) -> str | None:
        """The line for the run's log, if something failed since the last report.

        Returns at once: a message to the webhook is sent in a thread of its own.
        """
        failed = sum(tally.dead_letters[r] + tally.photo_failures[r] for r in REASONS)
        self._unsent += failed
        if self._unsent and self._url != "" and self._is_due():
            self._sent_at = self._clock()
            body = asdict(self._alert(_text(self._unsent)))
            self._unsent = 0
            threading.Thread(target=self._send, args=(self._url, body), daemon=True).start()
        return _text(failed) if failed else None

    def _is_due(self) -> bool:
        return self._sent_at is None or self._clock() - self._sent_at >= EVERY_S

    def _alert(self, text: str) -> Alert:
        return Alert(
            run_id=self._run_id,
            job=self._job,
            partition=None,
            error=text,
            ui=f"/runs/{self._run_id}",
            at=datetime.now(UTC).isoformat(timespec="seconds"),
        )


def _text(failed: int) -> str:
    return (
        f"{failed} events or photos failed with {' or '.join(REASONS)}: a fault of the program. "
        "Their rows in `failures` say where; the others were scored"
    )


def _post(url: str, body: Mapping[str, object]) -> None:
    try:
        post_json(url, body, attempts=ATTEMPTS)
    except LalafoError as error:
        log.warning("session.alarm_not_sent", error=str(error))
