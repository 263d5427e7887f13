"""What a session logs of single ads: one structured line each, with ad, offset and run.

Decides the levels: an event that is refused is a warning, a photo that failed is information, an
ad that was scored is for debugging. Values of ads are not logged, nor addresses of photos.
"""

import logging
from collections.abc import Callable

import structlog

from ops.outcomes import AdOutcome, Batch, CommitResult, Receipt

Committed = Callable[[Batch, CommitResult], None]

log = structlog.get_logger()


def use_json_lines() -> None:
    """JSON lines on standard output, from INFO on, unless somebody has chosen otherwise."""
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
    """The same call, and a line for each event that it is about."""

    def follow(batch: Batch, result: CommitResult) -> None:
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

    return follow


def _log_ad(ad: AdOutcome, result: CommitResult, run_id: str) -> None:
    known = {"run": run_id, "ad": str(ad.event.key), "revision": ad.event.revision}
    known |= _place(ad.receipt)
    for position, photo in enumerate(ad.photos):
        if photo.failure is not None:
            log.info("photo.failed", position=position, reason=photo.failure.reason.value, **known)
    waited = result.committed_at - ad.receipt.kafka_at
    log.debug(
        "ad.committed",
        status=ad.status.value,
        latency_ms=round(waited.total_seconds() * 1e3, 1),
        **known,
    )


def _place(receipt: Receipt) -> dict[str, object]:
    return {"topic": receipt.topic, "partition": receipt.partition, "offset": receipt.offset}
