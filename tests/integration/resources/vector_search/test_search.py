"""A search finds the nearest ads, under its filters, page by page, and never one that is gone."""

import json
from datetime import timedelta
from decimal import Decimal

import numpy as np
import pytest

from resources.vector_search.queries import Filters, Query
from tests.integration.resources.vector_search.conftest import Followed
from tests.support.batches import NOON, sha
from tests.support.vector_ads import Seller, keys_of, search, text_of

RNG = np.random.default_rng(7)
VECTOR = (lambda row: row / np.linalg.norm(row))(RNG.normal(size=8))


def test_the_nearest_are_found_by_both_paths(seller: Seller, followed: Followed) -> None:
    """As numpy finds them: means of one, two and three photos; also ads that came later."""
    for number in range(40):
        seller.put(f"{number}", photos=1 + number % 3)
    index = followed.build()
    for number in range(40, 60):
        seller.put(f"{number}", photos=1 + number % 3)
    followed.follow()
    expected = seller.nearest(VECTOR, 60)
    exact = search(seller.database, index, Query(text_of(VECTOR), limit=60))
    assert exact.exact
    assert keys_of(exact.ads) == expected
    similarity = [ad.similarity for ad in exact.ads]
    assert similarity[0] == pytest.approx(seller.ads[expected[0]] @ VECTOR, abs=2e-3)
    by_index = search(
        seller.database, index, Query(text_of(VECTOR), limit=10, exact=False, ef_search=100)
    )
    assert not by_index.exact
    assert keys_of(by_index.ads) == expected[:10]


def test_photos_of_one_colour_say_nothing(seller: Seller, followed: Followed) -> None:
    """An ad is found by its other photos; an ad with nothing else has no vector."""
    index = followed.build() if seller.put("0") else None
    for ad_id, photos in (("1", 1), ("3", 3)):
        seller.put(ad_id, photos=photos)
    both = {ad_id: vectors_of(seller, ad_id) for ad_id in ("1", "3")}
    with seller.database.cursor() as cursor:
        blank = [sha(f"https://p.example/{ad_id}/0.jpg") for ad_id in ("1", "3")]
        cursor.execute(
            "UPDATE lalafo.photos SET note = 'photo_blank' WHERE sha256 = ANY(%s)", (blank,)
        )
    followed.follow()
    assert index is not None
    found = search(seller.database, index, Query(text_of(both["3"][1]), limit=10)).ads
    assert {ad.ad_id for ad in found} == {"0", "3"}
    similarity = next(ad.similarity for ad in found if ad.ad_id == "3")
    assert similarity == pytest.approx(1, abs=2e-3)


def vectors_of(seller: Seller, ad_id: str) -> list[np.ndarray]:
    """Of the usable photos of an ad."""
    with seller.database.cursor() as cursor:
        cursor.execute(
            "SELECT e.embedding::text FROM lalafo.ad_photos AS p "
            "JOIN lalafo.embeddings AS e USING (sha256) WHERE p.ad_id = %s ORDER BY p.position",
            (ad_id,),
        )
        return [np.array(json.loads(text)) for (text,) in cursor.fetchall()]


def test_an_ad_is_gone_with_the_commit(seller: Seller, followed: Followed) -> None:
    """Deleted or revised, whether or not the index was renewed; no row of it stays afterwards."""
    for number in range(20):
        seller.put(f"{number}")
    index = followed.build()
    first, second, *_ = seller.nearest(VECTOR, 20)
    seller.delete(first[1], 2)
    seller.put(second[1], 2, photos=3)
    for exact in (True, False):
        page = search(seller.database, index, Query(text_of(VECTOR), limit=20, exact=exact))
        assert {first, second}.isdisjoint(keys_of(page.ads))
        assert len(page.ads) == 18
    followed.follow()
    page = search(seller.database, index, Query(text_of(VECTOR), limit=20))
    assert keys_of(page.ads) == seller.nearest(VECTOR, 20)
    with seller.database.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM lalafo.ad_vectors")
        assert cursor.fetchone() == (19,)


@pytest.mark.parametrize("exact", [True, False])
def test_filters(seller: Seller, followed: Followed, exact: bool) -> None:
    """Each leaves out what it says: a category includes those below it, and no other text."""
    shoes = ["shoes", "shoes/boots", "shoes/boots/high", "shoestrings", None]
    for number, category in enumerate(shoes):
        seller.put(
            f"{number}",
            category=category,
            price=Decimal(100 * number),
            currency="KGS" if number < 4 else "USD",
            seller=f"s-{number % 2}",
        )
    seller.put("0", catalog="kz", category="shoes", seller="s-0")
    index = followed.build()

    def found(**filters: object) -> set[str]:
        page = search(
            seller.database,
            index,
            Query(text_of(VECTOR), Filters(**filters), limit=50, exact=exact),  # type: ignore[arg-type]
        )
        return {f"{ad.catalog}/{ad.ad_id}" for ad in page.ads}

    everything = {"kz/0", *(f"kg/{number}" for number in range(5))}
    assert found() == everything
    assert found(catalogs=["kz"]) == {"kz/0"}
    assert found(catalogs=[]) == set()
    assert found(category="shoes") == {"kz/0", "kg/0", "kg/1", "kg/2"}
    assert found(category="shoes/boots") == {"kg/1", "kg/2"}
    assert found(price_from=Decimal(100), price_to=Decimal(300), currency="KGS") == {
        *("kg/1", "kg/2", "kg/3")
    }
    assert found(seller="s-1") == {"kg/1", "kg/3"}
    assert found(but_seller=("kg", "s-0")) == {"kz/0", "kg/1", "kg/3"}
    assert found(but_ad=("kg", "0")) == everything - {"kg/0"}
    assert found(since=NOON) == everything
    assert found(until=NOON) == set()
    assert found(since=NOON + timedelta(seconds=1)) == set()


@pytest.mark.parametrize("exact", [True, False])
def test_pages_follow_each_other(seller: Seller, followed: Followed, exact: bool) -> None:
    """Every ad once, in order, down to the floor; also if a nearer one comes between two pages."""
    for number in range(50):
        seller.put(f"{number}")
    index = followed.build()
    expected = seller.nearest(VECTOR, 50)
    floor = float(seller.ads[expected[30]] @ VECTOR)
    wanted = [key for key in expected if seller.ads[key] @ VECTOR > floor + 3e-3]
    query = Query(text_of(VECTOR), limit=7, floor=floor + 3e-3, exact=exact, ef_search=100)
    found: list[tuple[str, str]] = []
    for turn in range(20):
        page = search(seller.database, index, query)
        found += keys_of(page.ads)
        assert len(page.ads) <= 7
        if page.next is None:
            break
        query = Query(
            query.vector, limit=7, floor=query.floor, after=page.next, exact=exact, ef_search=100
        )
        if turn == 1:
            seller.delete(found[0][1], 2)
            followed.follow()
    assert found == wanted


def test_never_fewer_than_there_are(seller: Seller, followed: Followed) -> None:
    """A filter that leaves the farthest ones: the scan of the index ends early, the answer not."""
    for number in range(120):
        seller.put(f"{number}", seller="many")
    far = seller.nearest(-VECTOR, 5)
    for _, ad_id in far:
        seller.put(ad_id, 2, seller="few")
    index = followed.build()
    page = search(
        seller.database,
        index,
        Query(text_of(VECTOR), Filters(seller="few"), limit=10, exact=False, ef_search=1),
    )
    assert {ad.ad_id for ad in page.ads} == {ad_id for _, ad_id in far}
