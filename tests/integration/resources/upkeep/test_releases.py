"""Rows of superseded releases are deleted after their time; those of active ones are not."""

import pytest

from resources.releases.active import read_active_releases
from resources.releases.coverage import read_coverage
from resources.releases.promotion import promote, propose, withdraw
from resources.upkeep.releases import RemovedReleases, remove_superseded
from tests.support.live_session import Live, ad
from tests.support.odd_photos import jpeg, noisy
from tests.support.random_release import random_release
from tests.support.release_steps import TOPIC, judged, rescore, without_a_value

pytestmark = pytest.mark.parametrize("broker", ["embedded"], indirect=True)


@pytest.fixture
def promoted(live: Live) -> tuple[Live, str, str]:
    """A catalogue after a promotion to a release with another backbone."""
    urls = [live.photo(f"{n}.jpg", jpeg(noisy(40, 30, n))) for n in range(4)]
    live.publish(*(ad(str(n), [urls[n]]) for n in range(4)))
    live.drain()
    before = read_active_releases(live.database).live.name
    name = judged(live.database, live.settings, random_release(backbone_seed=1))
    propose(live.database, name)
    rescore(live.database, live.settings, name)
    promote(live.database, name, scored_topic=TOPIC)
    return live, before, name


def make_older(live: Live, days: int) -> None:
    with live.database.cursor() as cursor:
        for table, column in (("releases", "created_at"), ("release_changes", "changed_at")):
            cursor.execute(
                f"UPDATE lalafo.{table} SET {column} = {column} - make_interval(days => %s)",
                (days,),
            )


def counts(live: Live, table: str) -> dict[str, int]:
    column = "release" if table == "predictions" else "backbone"
    return dict(live.rows(f"SELECT {column}, count(*) FROM lalafo.{table} GROUP BY 1"))


def test_the_previous_release_is_emptied_after_its_time(promoted: tuple[Live, str, str]) -> None:
    live, before, name = promoted
    assert remove_superseded(live.database, keep_days=7) == RemovedReleases(None, (), 0)
    assert len(counts(live, "embeddings")) == 2
    make_older(live, 8)
    # It is retired first; its rows are deleted after the same time again without a rollback.
    assert remove_superseded(live.database, keep_days=7) == RemovedReleases(before, (), 0)
    assert remove_superseded(live.database, keep_days=7) == RemovedReleases(None, (), 0)
    make_older(live, 8)
    assert remove_superseded(live.database, keep_days=7) == RemovedReleases(None, (before,), 4)
    assert remove_superseded(live.database, keep_days=7) == RemovedReleases(None, (), 0)
    assert counts(live, "predictions") == {name: 4}
    assert len(counts(live, "embeddings")) == 1
    assert without_a_value(live.database, name) == []


def test_a_release_that_was_emptied_can_be_proposed_again(promoted: tuple[Live, str, str]) -> None:
    live, before, name = promoted
    for _ in range(2):
        make_older(live, 8)
        remove_superseded(live.database, keep_days=7)
    again = judged(live.database, live.settings, random_release())
    assert again == before
    propose(live.database, before)
    assert len(read_coverage(live.database, before).unscored) == 1
    rescore(live.database, live.settings, before)
    assert counts(live, "predictions") == {name: 4, before: 4}


def test_a_withdrawn_candidate_is_emptied_too_and_a_recent_one_is_not(live: Live) -> None:
    name = judged(live.database, live.settings, random_release(1))
    propose(live.database, name)
    make_older(live, 8)
    assert remove_superseded(live.database, keep_days=7).emptied == (), "it is active"
    withdraw(live.database, name)
    assert remove_superseded(live.database, keep_days=7).emptied == ()
    make_older(live, 8)
    assert remove_superseded(live.database, keep_days=7).emptied == (name,)


def test_upkeep_does_not_wait_for_a_long_query_on_the_predictions(
    promoted: tuple[Live, str, str],
) -> None:
    """Sessions would queue behind a waiting lock: upkeep gives up and tries again later."""
    live, before, _ = promoted
    for _ in range(2):
        make_older(live, 8)
        removed = None
        with live.database.begin() as connection:
            connection.exec_driver_sql("SELECT count(*) FROM lalafo.predictions")
            removed = remove_superseded(live.database, keep_days=7)
    assert removed is not None and removed.emptied == ()
    assert remove_superseded(live.database, keep_days=7).emptied == (before,)
