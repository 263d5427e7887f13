"""Groups of ads that are the same, while ads and pairs come, change and go.

The groups are the connected components of the accepted pairs, and a group is named by its smallest
member, so that they depend on nothing but the ads and the pairs: not on the order in which they
came. A photo that very many ads share (a maker's picture, a placeholder) connects none of them.
"""

from collections.abc import Hashable, Iterable, Set
from typing import Generic, TypeVar

Member = TypeVar("Member", bound=Hashable)
MOST_ADS = 20
"""Ads with one photo, from which it is a common photo. It is a convention: few sellers list one
thing as often, and makers' pictures are in hundreds of ads."""


class AdGroups(Generic[Member]):
    """The groups of ads in memory. Members are sorted, so they need an order.

    An accepted pair holds by the photos that both ads have, or by other evidence. It connects its
    ads while both are there, and while one of its photos is not common; a pair that holds by other
    evidence always does. Pairs may be given before their ads.
    """

    def __init__(self, *, most_ads: int = MOST_ADS) -> None:
        self._most_ads = most_ads
        self._photos: dict[Member, frozenset[Hashable]] = {}
        self._users: dict[Hashable, set[Member]] = {}
        self._pairs: dict[Member, dict[Member, frozenset[Hashable] | None]] = {}
        self._group: dict[Member, Member] = {}
        self._members: dict[Member, frozenset[Member]] = {}

    def put(self, ad: Member, photos: Iterable[Hashable]) -> None:
        """Add an ad, or replace its photos. Its accepted pairs stay: withdraw those that no longer
        hold. A repeated call changes nothing."""
        now = frozenset(photos)
        before = self._photos.get(ad, frozenset())
        self._photos[ad] = now
        self._regroup({ad} | self._recount(ad, before, now))

    def remove(self, ad: Member) -> None:
        """Remove an ad and its pairs; nothing happens where it is unknown."""
        before = self._photos.pop(ad, frozenset())
        near = set(self._pairs.pop(ad, {}))
        for other in near:
            del self._pairs[other][ad]
        self._regroup({ad} | near | self._recount(ad, before, frozenset()))

    def accept(
        self, one: Member, other: Member, *, photos: Iterable[Hashable] | None = None
    ) -> None:
        """Accept that two ads are the same, or replace why.

        Args:
            photos: those that both have, where they alone are the evidence; None where title,
                price and place are enough.

        Raises:
            ValueError: the ads are one.
        """
        if one == other:
            raise ValueError(f"{one} can't be a pair with itself")
        because = None if photos is None else frozenset(photos)
        self._pairs.setdefault(one, {})[other] = because
        self._pairs.setdefault(other, {})[one] = because
        self._regroup({one, other})

    def withdraw(self, one: Member, other: Member) -> None:
        """No longer accept a pair; nothing happens where it was not accepted."""
        if self._pairs.get(one, {}).pop(other, 0) != 0:
            del self._pairs[other][one]
            self._regroup({one, other})

    def group_of(self, ad: Member) -> Member | None:
        """The smallest member of the ad's group; None for an ad that is alone or unknown."""
        return self._group.get(ad)

    def groups(self) -> dict[Member, frozenset[Member]]:
        """Every group of two or more, by its smallest member."""
        return dict(self._members)

    def is_common(self, photo: Hashable) -> bool:
        """Whether more ads have this photo than can be one thing's."""
        return len(self._users.get(photo, ())) > self._most_ads

    def _recount(self, ad: Member, before: Set[Hashable], now: Set[Hashable]) -> set[Member]:
        """Count the ad's photos; the ads with a photo that has become common, or no longer is."""
        touched: set[Member] = set()
        for photo in before ^ now:
            was = self.is_common(photo)
            users = self._users.setdefault(photo, set())
            (users.add if photo in now else users.discard)(ad)
            if self.is_common(photo) != was:
                touched |= users
            if not users:
                del self._users[photo]
        return touched

    def _connects(self, one: Member, other: Member) -> bool:
        because = self._pairs[one][other]
        if one not in self._photos or other not in self._photos:
            return False
        return because is None or any(not self.is_common(it) for it in because)

    def _regroup(self, touched: Set[Member]) -> None:
        """Group anew what hangs together with these ads, now or before."""
        groups = {self._group[it] for it in touched if it in self._group}
        affected = set(touched).union(*(self._members.pop(it) for it in groups))
        for ad in affected:
            self._group.pop(ad, None)
        while affected:
            members = self._component(affected.pop())
            affected -= members
            for joined in {self._group[it] for it in members if it in self._group}:
                self._members.pop(joined, None)
            if len(members) > 1:
                first = min(members)  # type: ignore[type-var]
                self._members[first] = frozenset(members)
                self._group.update(dict.fromkeys(members, first))

    def _component(self, start: Member) -> set[Member]:
        found, waiting = {start}, [start]
        while waiting:
            one = waiting.pop()
            for other in self._pairs.get(one, ()):
                if other not in found and self._connects(one, other):
                    found.add(other)
                    waiting.append(other)
        return found
