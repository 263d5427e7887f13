"""What is at work: offsets step over nothing that is not done, and an ad is at work once."""

import random
from datetime import timedelta

from hypothesis import given
from hypothesis import strategies as st

from ops.session.admission import Admission, AdWork, Ownership, SettledWork
from tests.support.batches import NOON, event, receipt

OWNER = Ownership(0, 1)
OTHER = Ownership(1, 1)


def admission(most_photos: int = 1_000, *owners: Ownership) -> Admission:
    made = Admission(most_photos)
    for owner in owners or (OWNER, OTHER):
        made.own(owner)
    return made


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
    place = receipt(offset, owner.partition, at)
    return AdWork(event(ad_id, revision, photos), place, owner)


def settled(offset: int, owner: Ownership = OWNER) -> SettledWork:
    return SettledWork(receipt(offset, owner.partition), owner)


def test_an_offset_waits_for_the_ads_before_it() -> None:
    """Ads overtake a slow one, and the offset moves past it only once it is done itself."""
    held = admission()
    works = [ad(str(n), n) for n in range(4)]
    for work in works:
        assert held.admit(work) is work
    assert held.next_offsets([works[1], works[2]]) == {}
    held.finish([works[1], works[2]])
    assert held.next_offsets([works[0]]) == {0: 3}
    held.finish([works[0]])
    assert held.next_offsets([works[3]]) == {0: 4}
    held.finish([works[3]])
    assert (held.events, held.photos, held.busy(0)) == (0, 0, False)


def test_gaps_in_the_log_are_stepped_over() -> None:
    """Transaction markers and compaction leave holes: the next event is what counts."""
    held = admission()
    works = [ad(str(offset), offset) for offset in (3, 7, 20)]
    for work in works:
        held.admit(work)
    assert held.next_offsets(works[:1]) == {0: 7}
    held.finish(works[:1])
    assert held.next_offsets(works[1:]) == {0: 21}


def test_what_needs_no_scoring_has_its_offset_all_the_same() -> None:
    """A dead letter or a stale event holds the offset until it is committed."""
    held = admission()
    first, letter, last = ad("1", 0), settled(1), ad("2", 2)
    for work in (first, letter, last):
        held.admit(work)
    held.finish([first])
    assert held.next_offsets([last]) == {}
    assert held.next_offsets([last, letter]) == {0: 3}


@given(
    gaps=st.lists(st.integers(1, 3), min_size=1, max_size=30),
    seed=st.integers(0, 2**32),
    at_once=st.integers(1, 5),
)
def test_no_order_of_completion_steps_over_an_event(
    gaps: list[int], seed: int, at_once: int
) -> None:
    """However ads finish, the committed offset is above nothing that is not done."""
    dice = random.Random(seed)
    offsets = [sum(gaps[: n + 1]) for n in range(len(gaps))]
    held = admission()
    works = {offset: ad(str(offset), offset) for offset in offsets}
    for work in works.values():
        held.admit(work)
    committed, undone = offsets[0], set(offsets)
    while undone:
        some = dice.sample(sorted(undone), min(at_once, len(undone)))
        moved = held.next_offsets([works[offset] for offset in some])
        held.finish([works[offset] for offset in some])
        undone -= set(some)
        committed = moved.get(0, committed)
        assert committed == (min(undone) if undone else offsets[-1] + 1)
    assert held.events == 0


def test_two_events_of_an_ad_are_never_at_work_together() -> None:
    """The later one begins when the earlier is committed, and not before."""
    held = admission()
    first, second = ad("1", 0), ad("1", 1, revision=2)
    assert held.admit(first) is first
    assert held.admit(second) is None
    assert held.finish([first]) == [second]
    assert held.next_offsets([second]) == {0: 2}
    assert held.finish([second]) == []


def test_the_highest_of_the_waiting_revisions_stands_for_all() -> None:
    """A burst on one ad is scored twice at most, and every offset of it is accounted for."""
    held = admission()
    first = ad("1", 0)
    held.admit(first)
    for offset, revision in ((1, 4), (2, 9), (3, 6)):
        held.admit(ad("1", offset, revision))
    (last,) = held.finish([first])
    assert last.event.revision == 9
    assert {place.offset for place in last.superseded} == {1, 3}
    assert held.next_offsets([last]) == {0: 4}
    held.finish([last])
    assert (held.events, held.photos) == (0, 0)


def test_of_equal_revisions_the_earlier_counts() -> None:
    """An equal revision changes nothing: the first to come is what was meant."""
    held = admission()
    first, waiting, again = ad("1", 0), ad("1", 1, 5, photos=2), ad("1", 2, 5, photos=3)
    for work in (first, waiting, again):
        held.admit(work)
    (last,) = held.finish([first])
    assert last.receipt.offset == 1
    assert len(last.event.photos) == 2


def test_an_ads_day_is_that_of_the_first_of_its_events() -> None:
    """Whichever revision wins while they wait, the day is the earlier event's."""
    for revisions in ((2, 3), (3, 2)):
        held = admission()
        first = ad("1", 0)
        held.admit(first)
        for offset, revision in enumerate(revisions, 1):
            held.admit(ad("1", offset, revision, days_later=offset))
        (last,) = held.finish([first])
        assert last.event.revision == 3
        assert last.receipt.day == (NOON + timedelta(days=1)).date()


def test_photos_in_flight_count_those_that_wait() -> None:
    """An ad without photos counts as one; what a later revision replaced counts no more."""
    held = admission()
    first = ad("1", 0, photos=3)
    held.admit(first)
    held.admit(ad("2", 1, photos=0))
    held.admit(ad("1", 2, 2, photos=5))
    assert held.photos == 3 + 1 + 5
    held.admit(ad("1", 3, 3, photos=2))
    assert held.photos == 3 + 1 + 2
    held.finish([first])
    assert held.photos == 1 + 2


def test_room_is_what_is_in_flight() -> None:
    """Full is full, until something is committed; a single ad may exceed it."""
    held = admission(4)
    large = ad("1", 0, photos=9)
    assert held.wait_for_room(0)
    held.admit(large)
    assert not held.wait_for_room(0)
    held.finish([large])
    assert held.wait_for_room(0)


def test_an_ad_on_two_partitions_keeps_to_its_turn() -> None:
    """A producer that changed its partitioner: events wait for each other, offsets stay apart."""
    held = admission()
    first = ad("1", 0, owner=OWNER)
    second, third = ad("1", 10, 2, owner=OTHER), ad("1", 1, 3, owner=OWNER)
    held.admit(first)
    assert held.admit(second) is None
    assert held.admit(third) is None
    assert held.finish([first]) == [second]
    assert held.next_offsets([second]) == {1: 11}
    assert held.finish([second]) == [third]
    assert held.next_offsets([third]) == {0: 2}


def test_what_was_read_of_a_partition_is_void_once_it_is_gone() -> None:
    """It counts no more, and what waited for it on another partition begins."""
    held = admission()
    ours, lost = ad("1", 0, owner=OTHER), ad("2", 0)
    waiting = ad("2", 1, 2, owner=OTHER)
    voided = ad("1", 1, 2)  # of the lost partition, behind one that stays
    for work in (ours, lost, waiting, voided):
        held.admit(work)
    assert held.disown(0) == [waiting]
    assert held.is_stale(lost) and held.is_stale(voided)
    assert not held.is_stale(ours) and not held.is_stale(waiting)
    assert held.owned() == {1: 1}
    assert held.photos == 2
    assert held.next_offsets([ours, lost]) == {1: 1}
    assert held.finish([ours]) == [], "what waited behind it is void"
    held.finish([waiting])
    assert (held.events, held.photos) == (0, 0)
    assert held.disown(0) == [], "a repeated call does nothing"


def test_a_partition_that_was_lost_and_taken_again_begins_anew() -> None:
    """Lost and back in one look: the same events are read again, and nobody waits for the old."""
    held = admission()
    old, behind = ad("1", 0), ad("1", 1, 2)
    held.admit(old)
    held.admit(behind)
    other = ad("1", 5, 3, owner=OTHER)
    held.admit(other)
    assert held.own(Ownership(0, 2)) == [other]
    assert held.is_stale(old) and held.is_stale(behind)
    again = ad("1", 0, owner=Ownership(0, 2))
    assert held.admit(again) is None, "it waits for the other partition's"
    assert held.finish([other]) == [again]
    assert held.next_offsets([again]) == {0: 1}
    held.finish([again])
    assert (held.events, held.photos) == (0, 0)


def test_what_was_read_before_a_partition_went_is_not_admitted() -> None:
    """A commit may find the partition lost between poll and admission."""
    held = admission()
    held.disown(0)
    assert held.admit(ad("1", 0)) is None
    assert held.admit(settled(1)) is None
    held.own(Ownership(0, 2))
    assert held.admit(ad("1", 0)) is None, "read under the earlier epoch"
    assert (held.events, held.photos) == (0, 0)
