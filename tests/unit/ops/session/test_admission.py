"""Admission: offsets never skip an unfinished event, and an ad is in process at most once."""

import random
from datetime import timedelta

from hypothesis import given
from hypothesis import strategies as st

from ops.session.admission import Admission, AdWork, Ownership, SettledWork
from ops.types import StreamRecord
from tests.support.batches import NOON, event, receipt

OWNER = Ownership(0, 1)
OTHER = Ownership(1, 1)


def owning(max_photos: int = 1_000, *owners: Ownership) -> Admission:
    """An admission that owns these partitions."""
    admission = Admission(max_photos)
    for owner in owners or (OWNER, OTHER):
        admission.add_partition(owner)
    return admission


def ad(
    ad_id: str,
    offset: int,
    revision: int = 1,
    *,
    owner: Ownership = OWNER,
    photos: int = 1,
    days_later: int = 0,
) -> AdWork:
    at = NOON + timedelta(days=days_later)
    record = StreamRecord("ads", owner.partition, offset, 0, None, b"")
    of = event(ad_id, revision, photos)
    return AdWork(of, receipt(offset, owner.partition, at), owner, record)


def settled(offset: int, owner: Ownership = OWNER) -> SettledWork:
    return SettledWork(receipt(offset, owner.partition), owner)


def test_an_offset_waits_for_the_ads_before_it() -> None:
    """Ads overtake a slow one, and the offset advances past it only once it is finished."""
    admission = owning()
    works = [ad(str(n), n) for n in range(4)]
    for work in works:
        assert admission.admit(work) is work
    assert admission.next_offsets([works[1], works[2]]) == {}
    admission.finish([works[1], works[2]])
    assert admission.next_offsets([works[0]]) == {0: 3}
    admission.finish([works[0]])
    assert admission.next_offsets([works[3]]) == {0: 4}
    admission.finish([works[3]])
    assert (admission.events, admission.photos, admission.busy(0)) == (0, 0, False)


def test_gaps_in_the_log_are_skipped() -> None:
    """Transaction markers and compaction leave gaps: the offset goes to the next event."""
    admission = owning()
    works = [ad(str(offset), offset) for offset in (3, 7, 20)]
    for work in works:
        admission.admit(work)
    assert admission.next_offsets(works[:1]) == {0: 7}
    admission.finish(works[:1])
    assert admission.next_offsets(works[1:]) == {0: 21}


def test_the_offset_waits_for_events_that_need_no_scoring() -> None:
    """A dead letter or a stale event keeps the offset back until it is committed."""
    admission = owning()
    first, letter, last = ad("1", 0), settled(1), ad("2", 2)
    for work in (first, letter, last):
        admission.admit(work)
    admission.finish([first])
    assert admission.next_offsets([last]) == {}
    assert admission.next_offsets([last, letter]) == {0: 3}


@given(
    gaps=st.lists(st.integers(1, 3), min_size=1, max_size=30),
    seed=st.integers(0, 2**32),
    at_once=st.integers(1, 5),
)
def test_no_order_of_completion_skips_an_event(gaps: list[int], seed: int, at_once: int) -> None:
    """In whatever order ads finish, the committed offset is at the first unfinished event."""
    dice = random.Random(seed)
    offsets = [sum(gaps[: n + 1]) for n in range(len(gaps))]
    admission = owning()
    works = {offset: ad(str(offset), offset) for offset in offsets}
    for work in works.values():
        admission.admit(work)
    committed, undone = offsets[0], set(offsets)
    while undone:
        some = dice.sample(sorted(undone), min(at_once, len(undone)))
        moved = admission.next_offsets([works[offset] for offset in some])
        admission.finish([works[offset] for offset in some])
        undone -= set(some)
        committed = moved.get(0, committed)
        assert committed == (min(undone) if undone else offsets[-1] + 1)
    assert admission.events == 0


def test_two_events_of_an_ad_are_never_in_process_together() -> None:
    """The later one starts when the earlier is committed, and not before."""
    admission = owning()
    first, second = ad("1", 0), ad("1", 1, revision=2)
    assert admission.admit(first) is first
    assert admission.admit(second) is None
    assert admission.finish([first]) == [second]
    assert admission.next_offsets([second]) == {0: 2}
    assert admission.finish([second]) == []


def test_the_highest_waiting_revision_supersedes_the_others() -> None:
    """A burst on one ad is scored twice at most, and every offset of it is committed."""
    admission = owning()
    first = ad("1", 0)
    admission.admit(first)
    for offset, revision in ((1, 4), (2, 9), (3, 6)):
        admission.admit(ad("1", offset, revision))
    (last,) = admission.finish([first])
    assert last.event.revision == 9
    assert {receipt.offset for receipt in last.superseded} == {1, 3}
    assert admission.next_offsets([last]) == {0: 4}
    admission.finish([last])
    assert (admission.events, admission.photos) == (0, 0)


def test_of_equal_revisions_the_earlier_counts() -> None:
    """An equal revision is ignored: the first event of a revision is the canonical one."""
    admission = owning()
    first, waiting, again = ad("1", 0), ad("1", 1, 5, photos=2), ad("1", 2, 5, photos=3)
    for work in (first, waiting, again):
        admission.admit(work)
    (last,) = admission.finish([first])
    assert last.receipt.offset == 1
    assert len(last.event.photos) == 2


def test_an_ads_day_is_that_of_its_first_event() -> None:
    """Whichever revision wins while they wait, the day is that of the earlier event."""
    for revisions in ((2, 3), (3, 2)):
        admission = owning()
        first = ad("1", 0)
        admission.admit(first)
        for offset, revision in enumerate(revisions, 1):
            admission.admit(ad("1", offset, revision, days_later=offset))
        (last,) = admission.finish([first])
        assert last.event.revision == 3
        assert last.receipt.day == (NOON + timedelta(days=1)).date()


def test_photos_in_flight_count_those_that_wait() -> None:
    """An ad without photos counts as one; a superseded event no longer counts."""
    admission = owning()
    first = ad("1", 0, photos=3)
    admission.admit(first)
    admission.admit(ad("2", 1, photos=0))
    admission.admit(ad("1", 2, 2, photos=5))
    assert admission.photos == 3 + 1 + 5
    admission.admit(ad("1", 3, 3, photos=2))
    assert admission.photos == 3 + 1 + 2
    admission.finish([first])
    assert admission.photos == 1 + 2


def test_there_is_room_until_the_limit_is_reached() -> None:
    """At the limit there is no room until a commit; a single ad may exceed the limit."""
    admission = owning(4)
    large = ad("1", 0, photos=9)
    assert admission.wait_for_room(0)
    admission.admit(large)
    assert not admission.wait_for_room(0)
    admission.finish([large])
    assert admission.wait_for_room(0)


def test_events_of_an_ad_on_two_partitions_wait_for_each_other() -> None:
    """A producer changed its partitioner: the offsets of both partitions stay independent."""
    admission = owning()
    first = ad("1", 0, owner=OWNER)
    second, third = ad("1", 10, 2, owner=OTHER), ad("1", 1, 3, owner=OWNER)
    admission.admit(first)
    assert admission.admit(second) is None
    assert admission.admit(third) is None
    assert admission.finish([first]) == [second]
    assert admission.next_offsets([second]) == {1: 11}
    assert admission.finish([second]) == [third]
    assert admission.next_offsets([third]) == {0: 2}


def test_work_of_a_partition_is_stale_once_it_is_lost() -> None:
    """It no longer counts, and the ads that waited for it on another partition start."""
    admission = owning()
    current, lost = ad("1", 0, owner=OTHER), ad("2", 0)
    waiting = ad("2", 1, 2, owner=OTHER)
    behind = ad("1", 1, 2)  # on the lost partition, behind an event of the other one
    for work in (current, lost, waiting, behind):
        admission.admit(work)
    assert admission.remove_partition(0) == [waiting]
    assert admission.is_stale(lost) and admission.is_stale(behind)
    assert not admission.is_stale(current) and not admission.is_stale(waiting)
    assert admission.owned() == {1: 1}
    assert admission.photos == 2
    assert admission.next_offsets([current, lost]) == {1: 1}
    assert admission.finish([current]) == [], "the event behind it is stale"
    admission.finish([waiting])
    assert (admission.events, admission.photos) == (0, 0)
    assert admission.remove_partition(0) == [], "a repeated call does nothing"


def test_a_partition_that_was_lost_and_acquired_again_starts_afresh() -> None:
    """The same events are read again, and do not wait for those of the earlier epoch."""
    admission = owning()
    old, behind = ad("1", 0), ad("1", 1, 2)
    admission.admit(old)
    admission.admit(behind)
    other = ad("1", 5, 3, owner=OTHER)
    admission.admit(other)
    assert admission.add_partition(Ownership(0, 2)) == [other]
    assert admission.is_stale(old) and admission.is_stale(behind)
    again = ad("1", 0, owner=Ownership(0, 2))
    assert admission.admit(again) is None, "it waits for the other partition's"
    assert admission.finish([other]) == [again]
    assert admission.next_offsets([again]) == {0: 1}
    admission.finish([again])
    assert (admission.events, admission.photos) == (0, 0)


def test_work_read_before_a_partition_was_lost_is_not_admitted() -> None:
    """A commit may find the partition lost between poll and admission."""
    admission = owning()
    admission.remove_partition(0)
    assert admission.admit(ad("1", 0)) is None
    assert admission.admit(settled(1)) is None
    admission.add_partition(Ownership(0, 2))
    assert admission.admit(ad("1", 0)) is None, "read under the earlier epoch"
    assert (admission.events, admission.photos) == (0, 0)
