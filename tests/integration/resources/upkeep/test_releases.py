"""Superseded releases: their rows go after their time, and nothing that is in force does."""

import pytest

from resources.releases.active import promote, propose, read_active_releases, withdraw
from resources.releases.coverage import read_coverage
from resources.upkeep.releases import RemovedReleases, remove_superseded
from tests.support.live_session import Live, ad
from tests.support.odd_photos import jpeg, noisy
from tests.support.random_release import random_release
from tests.support.release_steps import TOPIC, judged, rescore, without_a_value

pytestmark = pytest.mark.parametrize("broker", ["embedded"], indirect=True)


@pytest.fixture
def flipped(live: Live) -> tuple[Live, str, str]:
    """A catalogue that moved from one release to one with another backbone."""
    urls = [live.photo(f"{n}.jpg", jpeg(noisy(40, 30, n))) for n in range(4)]
    live.publish(*(ad(str(n), [urls[n]]) for n in range(4)))
    live.drain()
    before = read_active_releases(live.database).live.name
    name = judged(live.database, live.settings, random_release(backbone_seed=1))
    propose(live.database, name)
    rescore(live.database, live.settings, name)
    promote(live.database, name, scored_topic=TOPIC)
    return live, before, name


def as_if_days_later(live: Live, days: int) -> None:
    with live.database.cursor() as cursor:
        for table, column in (("releases", "created_at"), ("release_changes", "changed_at")):
            cursor.execute(
                f"UPDATE lalafo.{table} SET {column} = {column} - make_interval(days => %s)",
                (days,),
            )


def counts(live: Live, table: str) -> dict[str, int]:
    column = "release" if table == "predictions" else "backbone"
    return dict(live.rows(f"SELECT {column}, count(*) FROM lalafo.{table} GROUP BY 1"))


def test_what_was_live_goes_once_its_time_is_over(flipped: tuple[Live, str, str]) -> None:
    live, before, name = flipped
    assert remove_superseded(live.database, keep_days=7) == RemovedReleases(None, (), 0)
    assert len(counts(live, "embeddings")) == 2
    as_if_days_later(live, 8)
    # It is retired first; its rows go when nobody has gone back to it for as long again.
    assert remove_superseded(live.database, keep_days=7) == RemovedReleases(before, (), 0)
    assert remove_superseded(live.database, keep_days=7) == RemovedReleases(None, (), 0)
    as_if_days_later(live, 8)
    assert remove_superseded(live.database, keep_days=7) == RemovedReleases(None, (before,), 4)
    assert remove_superseded(live.database, keep_days=7) == RemovedReleases(None, (), 0)
    assert counts(live, "predictions") == {name: 4}
    assert len(counts(live, "embeddings")) == 1
    assert without_a_value(live.database, name) == []


def test_a_release_that_was_emptied_can_be_proposed_again(flipped: tuple[Live, str, str]) -> None:
    live, before, name = flipped
    for _ in range(2):
        as_if_days_later(live, 8)
        remove_superseded(live.database, keep_days=7)
    again = judged(live.database, live.settings, random_release())
    assert again == before
    propose(live.database, before)
    assert len(read_coverage(live.database, before).unscored) == 1
    rescore(live.database, live.settings, before)
    assert counts(live, "predictions") == {name: 4, before: 4}


def test_a_withdrawn_candidate_goes_too_and_a_young_one_stays(live: Live) -> None:
    name = judged(live.database, live.settings, random_release(1))
    propose(live.database, name)
    as_if_days_later(live, 8)
    assert remove_superseded(live.database, keep_days=7).emptied == (), "it is in force"
    withdraw(live.database, name)
    assert remove_superseded(live.database, keep_days=7).emptied == ()
    as_if_days_later(live, 8)
    assert remove_superseded(live.database, keep_days=7).emptied == (name,)


def test_a_long_query_on_the_predictions_is_not_queued_before(
    flipped: tuple[Live, str, str],
) -> None:
    """Sessions wait behind whoever waits for a table: upkeep gives up and comes again."""
    live, before, _ = flipped
    for _ in range(2):
        as_if_days_later(live, 8)
        removed = None
        with live.database.begin() as connection:
            connection.exec_driver_sql("SELECT count(*) FROM lalafo.predictions")
            removed = remove_superseded(live.database, keep_days=7)
    assert removed is not None and removed.emptied == ()
    assert remove_superseded(live.database, keep_days=7).emptied == (before,)
