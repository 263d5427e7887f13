"""A session's log lines about single ads: one structured line each, with ad, offset and run.

Levels: a rejected event is a warning, a failed photo is info, and a scored ad is debug. Neither the
content of ads nor the URLs of photos are logged.
"""

import logging
from collections.abc import Callable

import structlog

from ops.outcomes import AdOutcome, Batch, CommitResult, Receipt

Committed = Callable[[Batch, CommitResult], None]

log = structlog.get_logger()


def use_json_lines() -> None:
    """Log JSON lines to standard output from level INFO on, unless structlog is configured."""
    if structlog.is_configured():
        return
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
    )


def logged(committed: Committed, *, run_id: str) -> Committed:
    """Wrap a callback for commits: call it, then log a line for each event of the commit."""

    def call_and_log(batch: Batch, result: CommitResult) -> None:
        committed(batch, result)
        for letter in batch.dead_letters:
            failure = letter.failure
            log.warning(
                "event.refused",
                run=run_id,
                reason=failure.reason.value,
                detail=failure.detail,
                **_place(letter.receipt),
            )
        for ad in batch.ads:
            if ad.event.key in result.accepted:
                _log_ad(ad, result, run_id)

    return call_and_log


def _log_ad(ad: AdOutcome, result: CommitResult, run_id: str) -> None:
    fields = {"run": run_id, "ad": str(ad.event.key), "revision": ad.event.revision}
    fields |= _place(ad.receipt)
    for position, photo in enumerate(ad.photos):
        if photo.failure is not None:
            log.info("photo.failed", position=position, reason=photo.failure.reason.value, **fields)
    latency = result.committed_at - ad.receipt.kafka_at
    log.debug(
        "ad.committed",
        status=ad.status.value,
        latency_ms=round(latency.total_seconds() * 1e3, 1),
        **fields,
    )


def _place(receipt: Receipt) -> dict[str, object]:
    return {"topic": receipt.topic, "partition": receipt.partition, "offset": receipt.offset}
