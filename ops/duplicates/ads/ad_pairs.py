"""Says how likely two ads are the same, from their photos, title, price, seller, place and age.

Record linkage after Fellegi and Sunter, "A Theory for Record Linkage" (JASA 1969): each comparison
has an outcome, and an outcome counts as the logarithm of how much more often it occurs among ads
that are the same than among candidates that are not. The sum is the logarithm of the odds. What is
not known of an ad counts nothing.

The numbers below are estimates, not fitted: there is no set of ads here that people have compared.
Feedback can replace them.
"""

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from math import exp, log

from ops.duplicates.ads.titles import likeness

PRIOR = 0.02
"""The share of candidate pairs that are the same ad: there are tens of candidates for an ad, and
OLX found that one ad in ten has a duplicate."""

SAME_AD = 0.5
"""The probability from which two ads are one."""


class Outcome(StrEnum):
    """What a comparison found."""

    ALL_PHOTOS = "all_photos"
    SOME_PHOTOS = "some_photos"
    SAME_THING = "same_thing"
    NO_PHOTO = "no_photo"
    EQUAL_TITLE = "equal_title"
    LIKE_TITLE = "like_title"
    OTHER_TITLE = "other_title"
    EQUAL_PRICE = "equal_price"
    NEAR_PRICE = "near_price"
    FAR_PRICE = "far_price"
    SAME_SELLER = "same_seller"
    OTHER_SELLER = "other_seller"
    EQUAL_ATTRIBUTES = "equal_attributes"
    OTHER_ATTRIBUTES = "other_attributes"
    SAME_PLACE = "same_place"
    OTHER_PLACE = "other_place"
    SAME_DAYS = "same_days"
    MONTHS_APART = "months_apart"


SHARES: Mapping[Outcome, tuple[float, float]] = {
    Outcome.ALL_PHOTOS: (0.60, 0.002),
    Outcome.SOME_PHOTOS: (0.25, 0.004),
    Outcome.SAME_THING: (0.10, 0.05),
    Outcome.NO_PHOTO: (0.05, 0.944),
    Outcome.EQUAL_TITLE: (0.50, 0.02),
    Outcome.LIKE_TITLE: (0.35, 0.10),
    Outcome.OTHER_TITLE: (0.15, 0.88),
    Outcome.EQUAL_PRICE: (0.60, 0.06),
    Outcome.NEAR_PRICE: (0.30, 0.20),
    Outcome.FAR_PRICE: (0.10, 0.74),
    Outcome.SAME_SELLER: (0.70, 0.20),
    Outcome.OTHER_SELLER: (0.30, 0.80),
    Outcome.EQUAL_ATTRIBUTES: (0.85, 0.10),
    Outcome.OTHER_ATTRIBUTES: (0.15, 0.90),
    Outcome.SAME_PLACE: (0.85, 0.30),
    Outcome.OTHER_PLACE: (0.15, 0.70),
    Outcome.SAME_DAYS: (0.75, 0.50),
    Outcome.MONTHS_APART: (0.25, 0.50),
}
"""Of pairs that are the same ad, and of candidates that are not, the share with each outcome."""

EQUAL_TITLE, LIKE_TITLE = 0.9, 0.45  # likeness
EQUAL_PRICE, NEAR_PRICE = 0.005, 0.15  # of the logarithm
SAME_DAYS = 30.0  # days
EQUAL_ATTRIBUTES = 0.99  # share of the attributes that both have


@dataclass(frozen=True, slots=True)
class ComparedAd:
    """What of an ad is compared. `photos`: names of its photos that are not common ones; photos
    that are the same have one name. `things`: names of the things they show, equal where two photos
    likely show the same thing. `place`: any name of where the goods are. None: not known."""

    photos: Set[str] = frozenset()
    things: Set[str] = frozenset()
    title: str = ""
    price: Decimal | None = None
    currency: str | None = None
    seller: str | None = None
    place: str | None = None
    attributes: Mapping[str, float] = field(default_factory=dict, hash=False)
    posted_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class AdAnswer:
    """`probability`: that both are one ad, in (0, 1). `outcomes`: each with the logarithm (base e)
    of its weight; together with the prior's they are the logarithm of the odds. `by_photos`:
    whether it would be below SAME_AD without the photos, which is when a photo that turns out to be
    common ends the pair."""

    probability: float
    outcomes: tuple[tuple[Outcome, float], ...]
    by_photos: bool

    @property
    def is_same(self) -> bool:
        return self.probability >= SAME_AD


def compare_ads(one: ComparedAd, other: ComparedAd) -> AdAnswer:
    """How likely two ads are the same; their order does not matter."""
    photos = _photos(one, other)
    rest = [
        outcome
        for outcome in (
            _title(one, other),
            _price(one, other),
            _known(one.seller, other.seller, Outcome.SAME_SELLER, Outcome.OTHER_SELLER),
            _attributes(one.attributes, other.attributes),
            _known(one.place, other.place, Outcome.SAME_PLACE, Outcome.OTHER_PLACE),
            _age(one.posted_at, other.posted_at),
        )
        if outcome is not None
    ]
    found = rest if photos is None else [photos, *rest]
    return AdAnswer(
        _probability(found),
        tuple((outcome, round(weight(outcome), 3)) for outcome in found),
        _probability(rest) < SAME_AD,
    )


def weight(outcome: Outcome) -> float:
    """The logarithm of an outcome's share among the same ads over that among others."""
    same, others = SHARES[outcome]
    return log(same / others)


def _probability(outcomes: Sequence[Outcome]) -> float:
    odds = log(PRIOR / (1 - PRIOR)) + sum(weight(it) for it in outcomes)
    return 1 / (1 + exp(-odds))


def _photos(one: ComparedAd, other: ComparedAd) -> Outcome | None:
    if not one.photos or not other.photos:
        return None
    both = len(one.photos & other.photos)
    if both == min(len(one.photos), len(other.photos)):
        return Outcome.ALL_PHOTOS
    if both:
        return Outcome.SOME_PHOTOS
    return Outcome.SAME_THING if one.things & other.things else Outcome.NO_PHOTO


def _title(one: ComparedAd, other: ComparedAd) -> Outcome | None:
    found = likeness(one.title, other.title)
    if found is None:
        return None
    if found >= EQUAL_TITLE:
        return Outcome.EQUAL_TITLE
    return Outcome.LIKE_TITLE if found >= LIKE_TITLE else Outcome.OTHER_TITLE


def _price(one: ComparedAd, other: ComparedAd) -> Outcome | None:
    """None where a price is missing, is zero, or is in another currency."""
    if one.price is None or other.price is None or one.currency != other.currency:
        return None
    if one.price <= 0 or other.price <= 0:
        return None
    apart = abs(log(float(one.price) / float(other.price)))
    if apart <= EQUAL_PRICE:
        return Outcome.EQUAL_PRICE
    return Outcome.NEAR_PRICE if apart <= NEAR_PRICE else Outcome.FAR_PRICE


def _known(one: str | None, other: str | None, same: Outcome, differs: Outcome) -> Outcome | None:
    if one is None or other is None:
        return None
    return same if one == other else differs


def _attributes(one: Mapping[str, float], other: Mapping[str, float]) -> Outcome | None:
    """None where the ads have no attribute of one name."""
    both = one.keys() & other.keys()
    if not both:
        return None
    equal = sum(one[name] == other[name] for name in both)
    if equal / len(both) >= EQUAL_ATTRIBUTES:
        return Outcome.EQUAL_ATTRIBUTES
    return Outcome.OTHER_ATTRIBUTES


def _age(one: datetime | None, other: datetime | None) -> Outcome | None:
    if one is None or other is None:
        return None
    days = abs((one - other).total_seconds()) / 86_400
    return Outcome.SAME_DAYS if days <= SAME_DAYS else Outcome.MONTHS_APART
