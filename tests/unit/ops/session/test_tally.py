"""The counts of a session: every event is accounted for, and tallies can be merged."""

from dataclasses import replace
from datetime import timedelta

import numpy as np

from ops.outcomes import Batch, CommitResult
from ops.session.tally import Tally
from ops.types import AdKey
from tests.support.batches import NOON, RELEASE, batch, dead_letter, event, outcome


def result(of: Batch, *refused: str, after_ms: float = 20.0) -> CommitResult:
    """The commit of a batch that accepted all ads but these."""
    days = {ad.event.key: NOON.date() for ad in of.ads if ad.event.key.ad_id not in refused}
    return CommitResult(days, NOON + timedelta(milliseconds=after_ms))


def tally(*committed: tuple[Batch, CommitResult]) -> Tally:
    total = Tally()
    for of, how in committed:
        total.add(of, how)
    return total


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
    """An ad that the commit did not accept counts as unchanged, and in nothing else."""
    counted = tally((FIRST, result(FIRST, "2")))
    counted.admitted = 7
    assert (counted.events, counted.written, counted.unchanged) == (7, 2, 4)
    assert dict(counted.dead_letters) == {"event_not_json": 1}
    assert counted.unaccounted == 0
    assert counted.labels == {"category": {"chair": 1, "lamp": 1}}
    assert (counted.photos, counted.photos_failed, counted.predictions) == (3, 1, 2)
    assert counted.offsets == {0: (4, 7), 1: (2, 3)}
    assert dict(counted.days) == {NOON.date(): 2}
    assert dict(counted.statuses) == {"scored": 2}


def test_an_event_without_an_outcome_is_reported() -> None:
    """A count that does not add up is visible, and not clamped to zero."""
    counted = tally((FIRST, result(FIRST)))
    counted.admitted = 9
    assert counted.unaccounted == 2
    counted.admitted = 6
    assert counted.unaccounted == -1


def test_a_merge_equals_a_single_tally_of_both() -> None:
    """Two merged tallies equal one with both batches, field by field; the other is unchanged."""
    one, two = (FIRST, result(FIRST, "2")), (SECOND, result(SECOND, after_ms=80))
    part, other = tally(one), tally(two)
    part.admitted, other.admitted = 7, 1
    part.merge(other)
    both = tally(one, two)
    both.admitted = 8
    assert part == both
    assert (other.admitted, other.written) == (1, 1)


def test_a_merge_with_nothing_changes_nothing() -> None:
    """An empty tally is the neutral element, on either side."""
    counted = tally((FIRST, result(FIRST)))
    counted.merge(Tally())
    assert counted == tally((FIRST, result(FIRST)))
    empty = Tally()
    empty.merge(counted)
    assert empty == counted


def test_latency_is_from_kafka_to_the_committed_row() -> None:
    """Percentiles over the ads written; None before the first ad."""
    assert Tally().latency_ms(50) is None
    waits = [10.0, 20.0, 90.0]
    single = [batch(outcome(event(str(n)), offset=n)) for n in range(3)]
    counted = tally(*((b, result(b, after_ms=ms)) for b, ms in zip(single, waits, strict=True)))
    assert counted.latencies_ms == waits
    assert counted.latency_ms(50) == np.percentile(waits, 50)


def test_latency_leaves_out_ads_that_waited_for_the_session() -> None:
    """They are counted, and merged."""
    first = batch(outcome(event("1"), offset=1))
    (ad,) = first.ads
    receipt = replace(ad.receipt, waited_for_session=True)
    waited = replace(first, ads=(replace(ad, receipt=receipt),))
    second = batch(outcome(event("2"), offset=2))
    counted = tally((waited, result(waited, after_ms=9_000.0)))
    counted.merge(tally((second, result(second, after_ms=20.0))))
    assert (counted.written, counted.waited_for_session) == (2, 1)
    assert counted.latencies_ms == [20.0]


def test_an_ad_counts_for_the_day_of_its_row() -> None:
    """The day of its first event, which the commit knows and this event may not have."""
    counted = tally((SECOND, CommitResult({AdKey("kg", "4"): NOON.date() - timedelta(3)}, NOON)))
    assert dict(counted.days) == {NOON.date() - timedelta(3): 1}
