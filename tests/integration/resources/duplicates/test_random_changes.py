"""Whatever happens to ads, and to the finder: pairs and groups are those of a fresh run."""

import random
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import psycopg
import pytest

from ops.duplicates.ads.groups import MOST_ADS
from resources.duplicates.changes import LEASE
from resources.duplicates.finder import Finder
from resources.postgres.database import Database
from tests.support.duplicate_ads import (
    RandomAds,
    Shop,
    events_of,
    find_all,
    finder_epoch,
    forget,
    groups_of,
    stored,
    unlike_photos,
)

WITHIN_S = 90.0
CHANGES = 120
FACTS = ("photo_pairs", "hashes")
"""Of photos, whichever ads have them: photos of former revisions have some too."""


def made(database: Database) -> dict[str, object]:
    """What depends on the ads as they are."""
    return {name: value for name, value in stored(database).items() if name not in FACTS}


def fresh(shop: Shop, epoch: int) -> dict[str, object]:
    """The same, made anew from the ads that are stored."""
    forget(shop.database)
    find_all(shop.database, shop.store, epoch)
    return made(shop.database)


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2])
def test_groups_are_those_of_ad_groups(
    shop: Shop, epoch: int, find: Callable[[], Finder], seed: int
) -> None:
    """At each moment at which the finder has caught up, while a photo becomes common and rare."""
    ads = RandomAds(shop, random.Random(seed), unlike_photos(shop, 9))
    seen = set()
    for number in range(CHANGES):
        ads.change()
        if ads.rng.random() < 0.15 or number == CHANGES - 1:
            find()
            assert groups_of(shop.database) == ads.groups()
            seen.add(sum(ads.pool[0] in photos for photos in ads.ads.values()) > MOST_ADS)
    assert seen == {True, False}
    before = made(shop.database)
    assert before == fresh(shop, epoch)


@contextmanager
def finder(shop: Shop, run_id: str) -> Iterator[subprocess.Popen[str]]:
    """A finder's process, killed at the end."""
    arguments = [shop.database.url.render_as_string(), shop.store.url("renditions", bytes(32))]
    arguments[1] = arguments[1].partition("/renditions/")[0].removeprefix("file://")
    command = [sys.executable, "-m", "tests.support.finder_process", *arguments, run_id, "2"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def await_(condition: Callable[[], bool]) -> None:
    """Wait until it holds."""
    deadline = time.monotonic() + WITHIN_S
    while not condition():
        assert time.monotonic() < deadline, "not in time"
        time.sleep(0.02)


def is_idle(database: Database) -> bool:
    """Whether nothing is queued, and every ad was looked at as it is."""
    with database.cursor() as cursor:
        cursor.execute(
            "SELECT EXISTS (SELECT FROM lalafo.duplicate_search) "
            "AND NOT EXISTS (SELECT FROM lalafo.duplicate_changes) AND NOT EXISTS ("
            "SELECT FROM lalafo.ads AS a LEFT JOIN lalafo.compared_ads AS c USING (catalog, ad_id) "
            "WHERE CASE WHEN a.status = 'deleted' THEN c.revision IS NOT NULL "
            "ELSE c.revision IS DISTINCT FROM a.revision END)"
        )
        return bool(cursor.fetchall()[0][0])


@pytest.mark.slow
def test_a_killed_finder_leaves_what_a_fresh_run_makes(
    shop: Shop, connection: psycopg.Connection
) -> None:
    """Killed at five moments over 300 changes; each event is written once."""
    rng = random.Random(7)
    ads = RandomAds(shop, rng, unlike_photos(shop, 14))
    shop.put("x1", ads.pool[1], seller="s-1", title="a lamp")
    shop.put("x2", ads.pool[1], seller="s-2", title="a lamp")
    for life in range(5):
        with finder(shop, f"finder-{life}") as process:
            assert process.stdout is not None
            assert process.stdout.readline().startswith("joined")
            for _ in range(60):
                ads.change()
                time.sleep(rng.random() * 0.02)
    with finder(shop, "finder-last"):
        await_(lambda: is_idle(shop.database))
    before = made(shop.database)
    assert len(events_of(shop.database)) == 1
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE lalafo.leases SET expires_at = now() WHERE topic = %s", (LEASE.topic,)
        )
    assert before == fresh(shop, finder_epoch(connection, "fresh"))


@pytest.mark.slow
def test_of_two_finders_one_works(shop: Shop) -> None:
    """The second leaves; after the death of the first, the next has the lease at once."""
    database = shop.database
    for number in range(4):
        shop.put(f"{number}", "p1")

    def holder() -> str | None:
        with database.cursor() as cursor:
            cursor.execute(
                "SELECT run_id FROM lalafo.leases WHERE topic = %s "
                "AND expires_at > clock_timestamp()",
                (LEASE.topic,),
            )
            row = cursor.fetchone()
            return None if row is None else str(row[0])

    with finder(shop, "first") as first:
        await_(lambda: is_idle(database))
        with finder(shop, "second") as second:
            assert second.wait(WITHIN_S) == 0
        assert holder() == "first"
        first.kill()
        with finder(shop, "third"):
            shop.put("4", "p1")
            await_(lambda: holder() == "third" and is_idle(database))
    assert groups_of(database) == {("kg", "0"): frozenset("01234")}
