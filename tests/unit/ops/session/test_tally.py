"""The counts of a session: what came in is accounted for, and parts add up to the whole."""

from dataclasses import replace
from datetime import timedelta

import numpy as np

from ops.outcomes import Batch, CommitResult
from ops.session.tally import Tally
from ops.types import AdKey
from tests.support.batches import NOON, RELEASE, batch, dead_letter, event, outcome


def result(made: Batch, *refused: str, after_ms: float = 20.0) -> CommitResult:
    """The commit of a batch that accepted all ads but these."""
    days = {ad.event.key: NOON.date() for ad in made.ads if ad.event.key.ad_id not in refused}
    return CommitResult(days, NOON + timedelta(milliseconds=after_ms))


def tally(*committed: tuple[Batch, CommitResult]) -> Tally:
    made = Tally()
    for of, how in committed:
        made.add(of, how)
    return made


FIRST = replace(
    batch(
        outcome(event("1", photos=2), offset=4, label="chair"),
        outcome(event("2"), offset=5, label="lamp"),
        outcome(event("3"), offset=2, partition=1, label="lamp"),
        letters=(dead_letter(6),),
    ),
    superseded=3,
)
SECOND = batch(outcome(event("4"), offset=9, label="shoe"), releases=(RELEASE, "candidate"))


def test_every_event_is_written_unchanged_or_a_dead_letter() -> None:
    """An ad that the commit refused counts as unchanged, and in nothing else."""
    made = tally((FIRST, result(FIRST, "2")))
    assert (made.events, made.written, made.unchanged) == (7, 2, 4)
    assert dict(made.dead_letters) == {"event_not_json": 1}
    assert made.unaccounted == 0
    assert dict(made.categories) == {"chair": 1, "lamp": 1}
    assert (made.photos, made.photos_failed, made.predictions) == (3, 1, 2)
    assert made.offsets == {0: (4, 7), 1: (2, 3)}
    assert dict(made.days) == {NOON.date(): 2}
    assert dict(made.statuses) == {"scored": 2}


def test_what_is_nowhere_is_seen() -> None:
    """A count that does not add up shows as such, and is not clamped away."""
    made = tally((FIRST, result(FIRST)))
    made.events += 2
    assert made.unaccounted == 2


def test_a_merge_is_what_one_tally_would_have_counted() -> None:
    """Two reports merged are the two batches added, field by field; the merged one stays."""
    one, two = (FIRST, result(FIRST, "2")), (SECOND, result(SECOND, after_ms=80))
    part, other = tally(one), tally(two)
    part.merge(other)
    assert part == tally(one, two)
    assert other == tally(two)


def test_a_merge_with_nothing_changes_nothing() -> None:
    """An empty tally is the zero of the sum, on either side."""
    made = tally((FIRST, result(FIRST)))
    made.merge(Tally())
    assert made == tally((FIRST, result(FIRST)))
    empty = Tally()
    empty.merge(made)
    assert empty == made


def test_latency_is_from_kafka_to_the_committed_row() -> None:
    """Percentiles over the ads written; none before the first."""
    assert Tally().latency_ms(50) is None
    waits = [10.0, 20.0, 90.0]
    single = [batch(outcome(event(str(n)), offset=n)) for n in range(3)]
    made = tally(*((b, result(b, after_ms=ms)) for b, ms in zip(single, waits, strict=True)))
    assert made.latencies_ms == waits
    assert made.latency_ms(50) == np.percentile(waits, 50)


def test_an_ad_counts_for_the_day_that_its_row_has() -> None:
    """The day of its first event, which the commit knows and this event may not."""
    made = tally((SECOND, CommitResult({AdKey("kg", "4"): NOON.date() - timedelta(3)}, NOON)))
    assert dict(made.days) == {NOON.date() - timedelta(3): 1}
