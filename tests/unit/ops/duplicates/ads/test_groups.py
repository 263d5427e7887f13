"""Groups hold while ads, photos and pairs come, change and go, in whatever order."""

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from ops.duplicates.ads.groups import AdGroups

ADS = st.integers(0, 11)
PHOTOS = st.frozensets(st.sampled_from("abcde"), max_size=3)
MOST = 3


class GroupsMachine(RuleBasedStateMachine):
    """Every change, beside a recomputation from scratch by another method."""

    def __init__(self) -> None:
        super().__init__()
        self.groups: AdGroups[int] = AdGroups(most_ads=MOST)
        self.ads: dict[int, frozenset[str]] = {}
        self.pairs: dict[tuple[int, int], frozenset[str] | None] = {}

    @rule(ad=ADS, photos=PHOTOS)
    def put(self, ad: int, photos: frozenset[str]) -> None:
        self.groups.put(ad, photos)
        self.ads[ad] = photos

    @rule(ad=ADS)
    def remove(self, ad: int) -> None:
        self.groups.remove(ad)
        self.ads.pop(ad, None)
        self.pairs = {it: why for it, why in self.pairs.items() if ad not in it}

    @rule(one=ADS, other=ADS, photos=st.none() | PHOTOS)
    def accept(self, one: int, other: int, photos: frozenset[str] | None) -> None:
        if one != other:
            self.groups.accept(one, other, photos=photos)
            self.pairs[min(one, other), max(one, other)] = photos

    @rule(one=ADS, other=ADS)
    def withdraw(self, one: int, other: int) -> None:
        self.groups.withdraw(one, other)
        self.pairs.pop((min(one, other), max(one, other)), None)

    @invariant()
    def they_are_those_of_a_recomputation(self) -> None:
        expected = recomputed(self.ads, self.pairs)
        assert self.groups.groups() == expected
        for ad in range(12):
            names = [name for name, members in expected.items() if ad in members]
            assert self.groups.group_of(ad) == (names[0] if names else None)


def recomputed(
    ads: dict[int, frozenset[str]], pairs: dict[tuple[int, int], frozenset[str] | None]
) -> dict[int, frozenset[int]]:
    """By giving all ads of a pair the smaller name until nothing changes."""
    users = {photo: sum(photo in it for it in ads.values()) for photo in "abcde"}
    name = {ad: ad for ad in ads}
    for _ in ads:
        for (one, other), photos in pairs.items():
            holds = photos is None or any(users[it] <= MOST for it in photos)
            if one in ads and other in ads and holds:
                name[one] = name[other] = min(name[one], name[other])
    found = {it: frozenset(ad for ad in ads if name[ad] == it) for it in set(name.values())}
    return {it: members for it, members in found.items() if len(members) > 1}


TestGroups = GroupsMachine.TestCase
TestGroups.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)


def test_the_order_does_not_matter():
    pairs = [(1, 2), (2, 3), (5, 6), (6, 3)]
    found = []
    for order in (pairs, pairs[::-1]):
        groups: AdGroups[int] = AdGroups()
        for pair in order:
            groups.accept(*pair)
        for ad in (6, 5, 3, 2, 1):
            groups.put(ad, ())
        found.append(groups.groups())
    assert found == [{1: frozenset({1, 2, 3, 5, 6})}] * 2


def test_a_member_that_goes_splits_its_group():
    groups: AdGroups[int] = AdGroups()
    for ad in range(1, 6):
        groups.put(ad, ())
    for pair in ((1, 2), (2, 3), (3, 4), (4, 5)):
        groups.accept(*pair)
    groups.remove(3)
    assert groups.groups() == {1: frozenset({1, 2}), 4: frozenset({4, 5})}
    assert groups.group_of(3) is None


def test_the_smallest_member_that_goes_renames_its_group():
    groups: AdGroups[int] = AdGroups()
    for ad in (1, 2, 3):
        groups.put(ad, ())
        for other in range(1, ad):
            groups.accept(other, ad)
    groups.remove(1)
    assert groups.groups() == {2: frozenset({2, 3})}


def test_a_photo_of_very_many_ads_connects_none():
    """A thousand ads with one placeholder are no group, and a real pair among them stays one."""
    groups: AdGroups[int] = AdGroups(most_ads=20)
    for ad in range(1_000):
        groups.put(ad, {"placeholder", f"own {ad // 2}"})
        if ad > 0:
            groups.accept(ad - 1, ad, photos={"placeholder"})
    groups.accept(0, 1, photos={"placeholder", "own 0"})
    assert groups.is_common("placeholder")
    assert groups.groups() == {0: frozenset({0, 1})}


def test_a_photo_stops_being_common_when_ads_go():
    groups: AdGroups[int] = AdGroups(most_ads=2)
    for ad in (1, 2, 3):
        groups.put(ad, {"a"})
    groups.accept(1, 2, photos={"a"})
    assert groups.groups() == {}
    groups.put(3, {"b"})
    assert groups.groups() == {1: frozenset({1, 2})}


def test_other_evidence_holds_whatever_photos_are_shared():
    groups: AdGroups[int] = AdGroups(most_ads=1)
    groups.put(1, {"a"})
    groups.put(2, {"a"})
    groups.accept(1, 2, photos=None)
    assert groups.groups() == {1: frozenset({1, 2})}


def test_an_ad_is_no_pair_with_itself():
    with pytest.raises(ValueError, match="itself"):
        AdGroups[int]().accept(1, 1)
