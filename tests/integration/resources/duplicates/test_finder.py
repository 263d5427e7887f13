"""A finder finds the same photo however it was altered, and follows every change of the ads."""

from collections.abc import Callable
from decimal import Decimal
from typing import Any

import psycopg
import pytest

from ops.duplicates.look_up import stored_keys
from ops.errors import LeaseLostError
from resources.duplicates import changes
from resources.duplicates.comparison import compare
from resources.duplicates.finder import Finder
from resources.duplicates.photo_matches import PhotoComparer
from resources.duplicates.prints import Prints
from resources.duplicates.writing import write
from tests.support.duplicate_ads import (
    SCORED,
    Shop,
    cropped,
    events_of,
    find_all,
    finder_epoch,
    forget,
    groups_of,
    mirrored,
    pairs_of,
    photo_of,
    stored,
    unlike_photos,
)
from tests.support.vector_ads import built_index, renew_all

Find = Callable[[], Finder]


def verdicts(shop: Shop) -> dict[tuple[str, str], Any]:
    """Of each pair of ads of the catalog kg."""
    return {(one, other): row[2] for (_, one, other), row in pairs_of(shop.database).items()}


def test_copies_are_found(shop: Shop, find: Find) -> None:
    """The same bytes, encoded again and mirrored: by another seller, without other likeness."""
    shop.add("again", photo_of(1), quality=40)
    shop.add("turned", mirrored(photo_of(1)))
    for ad_id, photo in (("1", "p1"), ("2", "p1"), ("3", "again"), ("4", "turned"), ("5", "p5")):
        shop.put(ad_id, photo)
    find()
    assert verdicts(shop) == {
        **{("1", "2"): "exact", ("1", "3"): "altered", ("1", "4"): "altered"},
        **{("2", "3"): "altered", ("2", "4"): "altered", ("3", "4"): "altered"},
    }
    assert groups_of(shop.database) == {("kg", "1"): frozenset("1234")}
    with shop.database.cursor() as cursor:
        cursor.execute(
            "SELECT changes FROM lalafo.photo_pairs WHERE sha256 IN (%(a)s, %(b)s) "
            "AND other_sha256 IN (%(a)s, %(b)s)",
            {"a": shop.sha256("p1"), "b": shop.sha256("turned")},
        )
        assert "mirrored" in cursor.fetchall()[0][0]


def test_a_crop_is_found_among_the_ads_of_the_seller(shop: Shop, find: Find) -> None:
    """No hash finds it; without an index of vectors, the seller's last ads are looked at."""
    shop.add("crop", cropped(photo_of(1), 0.3))
    shop.likes["crop"] = shop.sha256("p1")
    shop.put("1", "p1", seller="s-1")
    shop.put("2", "crop", seller="s-1")
    find()
    assert verdicts(shop) == {("1", "2"): "altered"}


def test_a_crop_is_found_by_the_vectors(
    shop: Shop, find: Find, connection: psycopg.Connection[Any]
) -> None:
    """By another seller; a change waits until the indexer is past it, and not without end."""
    shop.add("crop", cropped(photo_of(1), 0.3))
    shop.likes["crop"] = shop.sha256("p1")
    for number in range(30):
        shop.put(f"{number}", f"p{number + 1}", seller=f"s-{number}", title=f"thing {number}")
    find()
    with built_index(shop.database) as indexer:
        shop.put("crop", "crop", seller="s-x", title="something else")
        with shop.database.cursor() as cursor:
            assert changes.next_changes(cursor, limit=9) == []
            assert changes.waits(cursor)
        renew_all(shop.database, indexer)
        with shop.database.cursor() as cursor:
            assert len(changes.next_changes(cursor, limit=9)) == 1
        find()
        assert verdicts(shop) == {("0", "crop"): "altered"}
        shop.put("late", "p3")
        with shop.database.cursor() as cursor:
            cursor.execute(
                "UPDATE lalafo.duplicate_changes SET queued_at = queued_at - interval '10 s'"
            )
        find()
        assert verdicts(shop)["2", "late"] == "exact"


def test_revisions_and_deletes_are_followed(shop: Shop, find: Find) -> None:
    """Other photos end a pair and split its group; a delete does; a later revision joins it."""
    for ad_id in "123":
        shop.put(ad_id, "p1")
    find()
    assert groups_of(shop.database) == {("kg", "1"): frozenset("123")}
    shop.put("1", "p2")
    find()
    assert groups_of(shop.database) == {("kg", "2"): frozenset("23")}
    shop.delete("3")
    find()
    assert (pairs_of(shop.database), groups_of(shop.database)) == ({}, {})
    shop.put("3", "p1", "p2")
    find()
    assert set(verdicts(shop)) == {("1", "3"), ("2", "3")}
    assert groups_of(shop.database) == {("kg", "1"): frozenset("123")}
    with shop.database.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM lalafo.duplicate_changes")
        assert cursor.fetchone() == (0,)


def test_what_does_not_change_is_not_compared_again(shop: Shop, find: Find) -> None:
    """A revision with the same photos has its new price compared, and no photo."""
    for ad_id in "12":
        shop.put(ad_id, "p1" if ad_id == "1" else "again", title="a chair", price=Decimal(100))
        shop.add("again", photo_of(1), quality=50)
    find()
    (before,) = pairs_of(shop.database).values()
    shop.put("2", "again", title="a sofa", price=Decimal(900), currency="KGS")
    finder = find()
    (after,) = pairs_of(shop.database).values()
    assert finder.counts.photo_pairs == 0
    assert after[2] == before[2] == "altered"
    assert after[3] < before[3]


def test_titles_and_prices_suffice_for_one_seller(shop: Shop, find: Find) -> None:
    """An ad that is posted again with other photos; not one of another seller."""
    same = {"title": "a blue velvet sofa", "price": Decimal(900), "currency": "KGS"}
    more = {"attributes": {"width_cm": 180.0}}
    shop.put("1", "p1", seller="s-1", **same, **more)
    shop.put("2", "p2", seller="s-1", **same, **more)
    shop.put("3", "p3", seller="s-2", **same, **more)
    find()
    assert verdicts(shop) == {("1", "2"): None}


def test_ads_with_titles_of_the_same_words_are_compared(shop: Shop, find: Find) -> None:
    """Of another seller, with a crop that no hash finds, and without an index of vectors."""
    shop.add("crop", cropped(photo_of(1), 0.3))
    shop.likes["crop"] = shop.sha256("p1")
    shop.put("1", "p1", seller="s-1", title="A blue velvet sofa")
    shop.put("2", "crop", seller="s-2", title="velvet sofa, blue - a")
    shop.put("3", "crop", seller="s-3", title="something else")
    find()
    assert verdicts(shop) == {("1", "2"): "altered", ("2", "3"): "exact"}
    shop.put("3", "crop", seller="s-3", title="a blue, velvet SOFA")
    find()
    assert verdicts(shop)["1", "3"] == "altered"


def test_an_ad_without_a_true_candidate_has_no_photo_compared(shop: Shop, find: Find) -> None:
    """The binary features of photos with alike embeddings are looked at, from what is stored."""
    names = unlike_photos(shop, 6)
    for name in names[1:]:
        shop.likes[name] = shop.sha256(names[0])
    for number, name in enumerate(names):
        shop.put(f"{number}", name, seller="s-1")
    counts = find().counts
    assert counts.looked_at == 15
    assert counts.compared <= 1
    assert verdicts(shop) == {}


def test_hashes_of_an_earlier_version_get_their_details(shop: Shop, find: Find) -> None:
    """A photo that is a candidate has them made once."""
    shop.add("crop", cropped(photo_of(1), 0.3))
    shop.likes["crop"] = shop.sha256("p1")
    shop.put("1", "p1", seller="s-1")
    find()
    with shop.database.cursor() as cursor:
        cursor.execute("UPDATE lalafo.photo_hashes SET details = NULL")
    shop.put("2", "crop", seller="s-1")
    find()
    assert verdicts(shop) == {("1", "2"): "altered"}
    with shop.database.cursor() as cursor:
        cursor.execute("SELECT count(*), count(details) FROM lalafo.photo_hashes")
        assert cursor.fetchone() == (2, 2)


def test_words_are_those_of_the_keys(shop: Shop, find: Find) -> None:
    """PostgreSQL computes what is looked up as `stored_keys` does."""
    for number in range(5):
        shop.put(f"{number}", f"p{number + 1}")
    find()
    with shop.database.cursor() as cursor:
        cursor.execute("SELECT pdq::text, words FROM lalafo.photo_hashes")
        rows = cursor.fetchall()
    assert len(rows) == 5
    for bits, words in rows:
        assert words == stored_keys(int(bits, 2).to_bytes(32))


def test_catalogs_are_apart(shop: Shop, find: Find) -> None:
    """The same photo in two catalogs makes no pair."""
    for catalog in ("kg", "kz"):
        for ad_id in "12":
            shop.put(ad_id, "p1", catalog=catalog)
    find()
    assert set(pairs_of(shop.database)) == {("kg", "1", "2"), ("kz", "1", "2")}
    assert groups_of(shop.database) == {
        ("kg", "1"): frozenset("12"),
        ("kz", "1"): frozenset("12"),
    }


def test_a_persons_word_wins_and_stays(shop: Shop, find: Find) -> None:
    """Over the score, over new revisions, and over a comparison of everything from the start."""
    for ad_id, photo in (("1", "p1"), ("2", "p1"), ("3", "p3")):
        shop.put(ad_id, photo)
    find()
    shop.label("1", "2", same=False)
    shop.label("1", "3", same=True)
    find()
    expected = {("kg", "1"): frozenset("13")}
    assert groups_of(shop.database) == expected
    shop.put("1", "p1", title="another title")
    shop.put("3", "p4")
    find()
    assert groups_of(shop.database) == expected
    forget(shop.database)
    find()
    assert groups_of(shop.database) == expected
    shop.delete("3")
    find()
    assert groups_of(shop.database) == {}
    shop.put("3", "p3")
    find()
    assert groups_of(shop.database) == expected


def test_a_photo_of_25_ads_connects_none(shop: Shop, find: Find) -> None:
    """Once it has too many; its ads are pairs by their other photos, and again if it has fewer."""
    for number in range(20):
        shop.put(f"{number:03d}", "p1", *(["p2"] if number < 2 else []))
    find()
    (group,) = groups_of(shop.database).values()
    assert len(group) == 20
    for number in range(20, 25):
        shop.put(f"{number:03d}", "p1")
    find()
    assert groups_of(shop.database) == {("kg", "000"): frozenset({"000", "001"})}
    assert set(verdicts(shop)) == {("000", "001")}
    for number in range(20, 25):
        shop.delete(f"{number:03d}")
    find()
    (group,) = groups_of(shop.database).values()
    assert len(group) == 20


def test_two_sellers_with_one_photo_are_an_event(shop: Shop, find: Find) -> None:
    """Once, however often the ads are compared; again after they no longer shared it."""
    shop.put("1", "p1", seller="s-1", title="a chair")
    revision = shop.put("2", "p1", seller="s-2", title="something else")
    shop.put("3", "p1", seller="s-1")
    shop.put("4", "p1")
    find()
    first = events_of(shop.database)
    keys = {(it["ad_id"], it["other"]["ad_id"]) for it in first}
    assert {frozenset(key) for key in keys} == {frozenset("12"), frozenset("23")}
    one = next(it for it in first if {it["ad_id"], it["other"]["ad_id"]} == {"1", "2"})
    assert {one["seller"], one["other"]["seller"]} == {"s-1", "s-2"}
    assert revision in (one["revision"], one["other"]["revision"])
    assert one["photos"] == [
        {
            **{"sha256": shop.sha256("p1").hex(), "other_sha256": shop.sha256("p1").hex()},
            **{"verdict": "exact", "probability": 1.0, "changes": []},
        }
    ]
    shop.put("2", "p1", seller="s-2", title="other words")
    find()
    assert len(events_of(shop.database)) == 2
    shop.put("2", "p2", seller="s-2")
    find()
    shop.put("2", "p1", seller="s-2")
    find()
    assert len(events_of(shop.database)) == 4


def test_a_photo_that_cannot_be_read_is_compared_by_its_bytes(shop: Shop, find: Find) -> None:
    """Its rendition is lost: nothing else stops."""
    shop.put("1", "p1")
    shop.put("2", "p2")
    shop.store.delete("renditions", shop.sha256("p1"))
    shop.photos["p1"] += b"x"  # what `put` stores is not what the row names
    shop.put("3", "p2")
    finder = find()
    assert finder.counts.unreadable >= 1
    assert verdicts(shop) == {("2", "3"): "exact"}


def test_a_finder_without_the_lease_changes_nothing(
    shop: Shop, epoch: int, connection: psycopg.Connection[Any]
) -> None:
    """Its transaction is refused as a whole; the newer finder's is not."""
    for ad_id in "12":
        shop.put(ad_id, "p1")
    with connection.cursor() as cursor:
        cursor.execute("UPDATE lalafo.leases SET expires_at = now() WHERE topic LIKE 'lalafo.%'")
    newer = finder_epoch(connection, "newer")
    with shop.database.cursor() as cursor:
        (change, _) = changes.next_changes(cursor, limit=10)
    done = compare(shop.database, PhotoComparer(Prints(shop.store)), change.key)
    with pytest.raises(LeaseLostError), shop.database.cursor() as cursor:
        write(cursor, epoch, change, done, topic=SCORED, run_id="frozen")
    assert pairs_of(shop.database) == {}
    find_all(shop.database, shop.store, newer)
    assert set(verdicts(shop)) == {("1", "2")}


def test_what_was_there_before_is_found_too(
    shop: Shop, connection: psycopg.Connection[Any]
) -> None:
    """Ads of a time when no commit queued them; a new start finds the same."""
    for number in range(8):
        shop.put(f"{number}", f"p{number // 2}")
    shop.delete("5")
    with shop.database.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM lalafo.duplicate_changes")
        assert cursor.fetchone() == (0,), "nothing is queued before a finder has started"
    epoch = finder_epoch(connection)
    find_all(shop.database, shop.store, epoch)
    assert set(verdicts(shop)) == {("0", "1"), ("2", "3"), ("6", "7")}
    before = stored(shop.database)
    assert changes.stop(shop.database)
    shop.put("0", "p0", "p3")
    assert not changes.stop(shop.database)
    find_all(shop.database, shop.store, epoch)
    assert set(verdicts(shop)) == {("0", "1"), ("0", "6"), ("0", "7"), ("2", "3"), ("6", "7")}
    assert before["groups"] != groups_of(shop.database)
