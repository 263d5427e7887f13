"""Evidence for and against two ads being one adds up, and what is unknown counts nothing."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from math import log

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ops.duplicates.ads.ad_pairs import (
    PRIOR,
    SHARES,
    ComparedAd,
    Outcome,
    compare_ads,
    weight,
)

DAY = datetime(2026, 11, 29, tzinfo=UTC)
AD = ComparedAd(
    photos=frozenset({"a", "b"}),
    title="Red sofa, three seater",
    price=Decimal(12_000),
    currency="KGS",
    seller="anna",
    place="Bishkek",
    posted_at=DAY,
)
STRANGER = ComparedAd(
    photos=frozenset({"c"}),
    title="Winter boots size 42",
    price=Decimal(900),
    currency="KGS",
    seller="timur",
    place="Osh",
    posted_at=DAY - timedelta(days=90),
)


def outcomes(one: ComparedAd, other: ComparedAd) -> set[Outcome]:
    return {it for it, _ in compare_ads(one, other).outcomes}


def test_an_ad_posted_again_is_the_same():
    again = replace(AD, title="RED SOFA three seater!", price=Decimal(11_500), seller="anna2")
    answer = compare_ads(AD, again)
    assert answer.is_same
    assert answer.probability > 0.99


def test_another_ad_is_not():
    assert compare_ads(AD, STRANGER).probability < 1e-5


def test_nothing_known_leaves_the_prior():
    answer = compare_ads(ComparedAd(), ComparedAd())
    assert answer.outcomes == ()
    assert answer.probability == pytest.approx(PRIOR)


def test_a_title_alone_is_not_enough():
    """Many ads are called `iPhone 12`."""
    one, other = ComparedAd(title="iPhone 12"), ComparedAd(title="iphone 12")
    assert not compare_ads(one, other).is_same


def test_a_shared_photo_is_enough_and_says_so():
    one, other = ComparedAd(photos=frozenset("a")), ComparedAd(photos=frozenset("a"))
    answer = compare_ads(one, other)
    assert answer.is_same
    assert answer.by_photos


def test_all_else_may_be_enough_without_photos():
    one = replace(AD, photos=frozenset(), attributes={"width": 3.0})
    answer = compare_ads(one, replace(one, posted_at=DAY + timedelta(days=2)))
    assert answer.is_same
    assert not answer.by_photos


def test_other_attributes_speak_against_a_shared_photo():
    """A seller of tyres has one photo for all sizes."""
    one = ComparedAd(photos=frozenset("a"), price=Decimal(50), currency="USD", title="Tyre 195")
    same = compare_ads(one, replace(one, title="Tyre 195")).probability
    size = compare_ads(
        replace(one, attributes={"width": 195.0}), replace(one, attributes={"width": 205.0})
    ).probability
    assert size < same


def test_the_outcomes_are_what_was_compared():
    other = replace(AD, photos=frozenset({"b", "d", "e"}), price=Decimal(12_900), currency="KGS")
    assert outcomes(AD, other) == {
        *(Outcome.SOME_PHOTOS, Outcome.EQUAL_TITLE, Outcome.NEAR_PRICE, Outcome.SAME_SELLER),
        *(Outcome.SAME_PLACE, Outcome.SAME_DAYS),
    }


def test_prices_in_other_currencies_and_of_zero_are_not_compared():
    for price, currency in ((Decimal(12_000), "USD"), (Decimal(0), "KGS"), (None, None)):
        found = outcomes(AD, replace(AD, price=price, currency=currency))
        assert not found & {Outcome.EQUAL_PRICE, Outcome.NEAR_PRICE, Outcome.FAR_PRICE}


def test_the_probability_is_that_of_the_weights():
    answer = compare_ads(AD, replace(AD, photos=frozenset("c"), things=frozenset("t")))
    odds = PRIOR / (1 - PRIOR)
    for outcome, _ in answer.outcomes:
        odds *= SHARES[outcome][0] / SHARES[outcome][1]
    assert answer.probability == pytest.approx(odds / (1 + odds))
    assert dict(answer.outcomes)[Outcome.EQUAL_TITLE] == pytest.approx(log(0.5 / 0.02), abs=1e-3)


TEXTS = st.text(alphabet="abc Ж1", max_size=12)
AD_STRATEGY = st.builds(
    ComparedAd,
    photos=st.frozensets(st.sampled_from("abc")),
    title=TEXTS,
    price=st.none() | st.decimals(0, 100, places=2),
    currency=st.sampled_from(["KGS", "USD"]),
    seller=st.none() | st.sampled_from("xy"),
    attributes=st.dictionaries(st.sampled_from("pq"), st.floats(0, 3)),
)


@given(AD_STRATEGY, AD_STRATEGY)
def test_the_order_of_the_ads_does_not_matter(one: ComparedAd, other: ComparedAd):
    assert compare_ads(one, other) == compare_ads(other, one)


def test_shares_of_a_comparison_sum_to_one():
    groups = [
        ("all_photos", "some_photos", "same_thing", "no_photo"),
        ("equal_title", "like_title", "other_title"),
        ("equal_price", "near_price", "far_price"),
        ("same_seller", "other_seller"),
        ("equal_attributes", "other_attributes"),
        ("same_place", "other_place"),
        ("same_days", "months_apart"),
    ]
    assert {it for group in groups for it in group} == {it.value for it in Outcome}
    for group in groups:
        for column in (0, 1):
            assert sum(SHARES[Outcome(it)][column] for it in group) == pytest.approx(1)


def test_weights_have_the_sign_of_what_they_say():
    assert weight(Outcome.EQUAL_PRICE) > weight(Outcome.NEAR_PRICE) > 0 > weight(Outcome.FAR_PRICE)
