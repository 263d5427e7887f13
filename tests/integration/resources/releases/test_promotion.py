"""Activation, promotion and rollback of releases: refusals, and what is recorded and announced."""

import json
import threading
import time

import pytest

from ops.errors import ConfigurationError, NotReadyError
from resources.releases.active import read_active_releases, read_announced
from resources.releases.coverage import close_complete_days, read_coverage
from resources.releases.promotion import (
    announce,
    make_live,
    promote,
    propose,
    retire_previous,
    rollback,
    withdraw,
)
from resources.releases.registry import find_release
from tests.support.live_session import Live, ad
from tests.support.odd_photos import jpeg, noisy
from tests.support.random_release import random_release
from tests.support.release_steps import TOPIC, judged, left_over, rescore, without_a_value

pytestmark = pytest.mark.parametrize("broker", ["embedded"], indirect=True)


@pytest.fixture
def stored(live: Live) -> Live:
    """Twelve ads, scored under the live release."""
    urls = [live.photo(f"{n}.jpg", jpeg(noisy(40, 30, n))) for n in range(4)]
    live.publish(*(ad(f"{n:02}", urls[n % 3 : n % 3 + 2]) for n in range(12)))
    live.drain()
    return live


def active(live: Live) -> tuple[str, str | None, str | None]:
    """The names of the live, candidate and previous releases."""
    releases = read_active_releases(live.database)
    return (
        releases.live.name,
        releases.candidate and releases.candidate.name,
        releases.previous and releases.previous.name,
    )


def promoted_events(live: Live) -> list[dict]:
    rows = live.rows("SELECT value FROM lalafo.outbox WHERE key = 'release_promoted' ORDER BY id")
    return [json.loads(row[0]) for row in rows]


def test_a_release_that_was_not_judged_or_failed_is_no_candidate(stored: Live) -> None:
    """The error gives the reason and the command to run."""
    bad = judged(stored.database, stored.settings, random_release(1), why="recall of 'lamp' fell")
    with pytest.raises(NotReadyError, match="recall of 'lamp' fell"):
        propose(stored.database, bad)
    with stored.database.cursor() as cursor:
        cursor.execute("UPDATE lalafo.releases SET gate = NULL WHERE name = %s", (bad,))
    with pytest.raises(NotReadyError, match=f"releases check {bad}"):
        propose(stored.database, bad)
    with pytest.raises(ConfigurationError, match="no release named nothing"):
        propose(stored.database, "nothing")


def test_a_candidate_is_promoted_once_no_day_is_unscored(stored: Live) -> None:
    database, before = stored.database, read_active_releases(stored.database).live.name
    name = judged(database, stored.settings, random_release(1))
    propose(database, name)
    propose(database, name)  # repeating it does nothing
    assert active(stored) == (before, name, None)
    coverage = read_coverage(database, name)
    assert coverage.days == len(coverage.unscored) == 1
    with pytest.raises(NotReadyError, match="1 days are not scored"):
        promote(database, name, scored_topic=TOPIC)
    assert active(stored) == (before, name, None) and promoted_events(stored) == []

    (state,) = rescore(database, stored.settings, name)
    assert (state.ads, state.unscored, state.unembedded) == (12, 0, 0)
    assert promote(database, name, scored_topic=TOPIC) == ()
    assert active(stored) == (name, None, before)
    (event,) = promoted_events(stored)
    assert event["kind"] == "release_promoted"
    assert (event["release"], event["instead_of"], event["unscored_days"]) == (name, before, [])
    assert without_a_value(database, name) == []

    assert rollback(database, scored_topic=TOPIC) == (before, ())
    assert active(stored) == (before, None, name)
    assert rollback(database, scored_topic=TOPIC) == (name, ())
    assert [event["release"] for event in promoted_events(stored)] == [name, before, name]
    changes = stored.rows("SELECT kind, release FROM lalafo.release_changes ORDER BY id")
    assert changes[1:] == [
        ("proposed", name),
        ("promoted", name),
        ("rolled_back", before),
        ("rolled_back", name),
    ]


def test_a_partial_promotion_is_explicit_and_reports_the_unscored_days(stored: Live) -> None:
    name = judged(stored.database, stored.settings, random_release(1))
    propose(stored.database, name)
    (day,) = promote(stored.database, name, scored_topic=TOPIC, allow_partial=True)
    assert promoted_events(stored)[0]["unscored_days"] == [day.isoformat()]
    assert len(without_a_value(stored.database, name)) == 12
    rescore(stored.database, stored.settings, name)
    assert without_a_value(stored.database, name) == []


def test_a_new_backbone_waits_for_its_index_of_similar_ads(stored: Live) -> None:
    """Where the live backbone has an index, so that searches do not stop with the switch."""
    database = stored.database
    name = judged(database, stored.settings, random_release(0, backbone_seed=1))
    propose(database, name)
    rescore(database, stored.settings, name)
    old, new = (find_release(database, n).backbone for n in (active(stored)[0], name))
    assert old != new

    def index(backbone: str, state: str) -> None:
        with database.cursor() as cursor:
            cursor.execute(
                "INSERT INTO lalafo.vector_indexes (backbone, dimension, partition, state) "
                "VALUES (%s, 1024, %s, %s) "
                "ON CONFLICT (backbone) DO UPDATE SET state = EXCLUDED.state",
                (backbone, f"ad_vectors_{backbone[-4:]}", state),
            )

    index(old, "ready")
    index(new, "catching_up")
    with pytest.raises(NotReadyError, match="--allow-partial"):
        promote(database, name, scored_topic=TOPIC)
    index(new, "ready")
    promote(database, name, scored_topic=TOPIC)
    assert active(stored)[0] == name


def test_without_an_index_of_the_live_backbone_none_is_waited_for(stored: Live) -> None:
    name = judged(stored.database, stored.settings, random_release(0, backbone_seed=1))
    propose(stored.database, name)
    rescore(stored.database, stored.settings, name)
    promote(stored.database, name, scored_topic=TOPIC)
    assert active(stored)[0] == name


def test_one_candidate_at_a_time_and_a_withdrawn_one_is_incomplete_again(stored: Live) -> None:
    database = stored.database
    first, second = (judged(database, stored.settings, random_release(n)) for n in (1, 2))
    propose(database, first)
    with pytest.raises(NotReadyError, match=f"withdraw {first}"):
        propose(database, second)
    rescore(database, stored.settings, first)
    assert read_coverage(database, first).complete
    withdraw(database, first)
    stored.publish(ad("new", [stored.photo("n.jpg", jpeg(noisy(40, 30, 99)))]))
    stored.drain()
    propose(database, first)
    assert not read_coverage(database, first).complete, "it was not scored in between"
    with pytest.raises(NotReadyError, match="is not the candidate"):
        promote(database, second, scored_topic=TOPIC)


def test_a_verdict_against_another_live_release_is_invalid(stored: Live) -> None:
    database = stored.database
    first, second = (judged(database, stored.settings, random_release(n)) for n in (1, 2))
    propose(database, first)
    rescore(database, stored.settings, first)
    promote(database, first, scored_topic=TOPIC)
    with pytest.raises(NotReadyError, match="was judged against"):
        propose(database, second)


def test_a_rollback_is_possible_until_the_previous_release_is_retired(stored: Live) -> None:
    database = stored.database
    with pytest.raises(NotReadyError, match="no release to roll back to"):
        rollback(database, scored_topic=TOPIC)
    before = read_active_releases(database).live.name
    name = judged(database, stored.settings, random_release(1))
    propose(database, name)
    rescore(database, stored.settings, name)
    promote(database, name, scored_topic=TOPIC)
    assert retire_previous(database, after_days=1) is None
    with database.cursor() as cursor:
        cursor.execute(
            "UPDATE lalafo.release_changes SET changed_at = changed_at - interval '2 days'"
        )
    assert retire_previous(database, after_days=1) == before
    assert active(stored) == (name, None, None)
    with pytest.raises(NotReadyError, match="KEEP_SUPERSEDED_DAYS"):
        rollback(database, scored_topic=TOPIC)


def test_an_announced_release_changes_nothing_yet(stored: Live) -> None:
    database = stored.database
    before = active(stored)
    name = judged(database, stored.settings, random_release(1))
    announce(database, name)
    announced = read_announced(database)
    assert announced is not None and announced.name == name
    assert active(stored) == before
    withdraw(database, name)
    assert read_announced(database) is None


def test_settling_deletes_superseded_predictions_and_leaves_the_day_open(stored: Live) -> None:
    """A prediction of an older revision, and one of a deleted ad, are deleted."""
    database = stored.database
    name = judged(database, stored.settings, random_release(1))
    propose(database, name)
    rescore(database, stored.settings, name)
    with database.cursor() as cursor:
        cursor.execute(
            "UPDATE lalafo.predictions SET revision = 0 WHERE release = %s AND ad_id = '03'",
            (name,),
        )
        cursor.execute("UPDATE lalafo.ads SET status = 'deleted' WHERE ad_id = '04'")
        cursor.execute("UPDATE lalafo.release_days SET completed_at = NULL")
    assert left_over(database, name) == [("03", 0), ("04", 1)]
    known = find_release(database, name)
    (state,) = close_complete_days(database, known, read_coverage(database, name).unscored)
    assert (state.ads, state.unscored, state.complete) == (11, 1, False)
    assert left_over(database, name) == []
    assert not read_coverage(database, name).complete
    (state,) = rescore(database, stored.settings, name)
    assert state.complete and without_a_value(database, name) == []


def test_settling_waits_for_a_commit_in_progress(stored: Live) -> None:
    """Rows of a commit that could not see the re-score's rows are checked, not missed."""
    database = stored.database
    name = judged(database, stored.settings, random_release(1))
    propose(database, name)
    known, days = find_release(database, name), read_coverage(database, name).unscored
    done = threading.Event()
    with database.begin() as connection:
        connection.exec_driver_sql("SELECT FROM lalafo.active_releases FOR SHARE")
        thread = threading.Thread(
            target=lambda: (close_complete_days(database, known, days), done.set())
        )
        thread.start()
        assert not done.wait(0.3)
    thread.join(10)
    assert done.is_set()


def test_activating_a_release_over_a_catalogue_leaves_its_days_unscored(stored: Live) -> None:
    name = judged(stored.database, stored.settings, random_release(1))
    make_live(stored.database, name)
    assert len(read_coverage(stored.database, name).unscored) == 1


def test_readers_see_one_release_or_the_other_during_switches(stored: Live) -> None:
    """No mix and no gap: each query returns the predictions of one release for every ad."""
    database, names = stored.database, []
    names.append(read_active_releases(database).live.name)
    names.append(judged(database, stored.settings, random_release(1)))
    propose(database, names[1])
    rescore(database, stored.settings, names[1])
    expected = {
        (release, ad_id): score
        for release, ad_id, score in stored.rows(
            "SELECT release, ad_id, score FROM lalafo.predictions"
        )
    }
    assert len(expected) == 24
    seen: list[list[tuple]] = []
    stop = threading.Event()

    def read() -> None:
        while not stop.is_set():
            seen.append(
                stored.rows(
                    "SELECT p.release, a.ad_id, p.score FROM lalafo.ads AS a "
                    "CROSS JOIN lalafo.active_releases AS f LEFT JOIN lalafo.predictions AS p "
                    "ON p.release = f.live AND p.catalog = a.catalog AND p.ad_id = a.ad_id"
                )
            )

    readers = [threading.Thread(target=read) for _ in range(3)]
    for reader in readers:
        reader.start()
    promote(database, names[1], scored_topic=TOPIC)
    for _ in range(10):
        time.sleep(0.02)
        rollback(database, scored_topic=TOPIC)
    stop.set()
    for reader in readers:
        reader.join()
    assert {release for answer in seen for release, _, _ in answer} == set(names)
    for answer in seen:
        assert len(answer) == 12 and len({release for release, _, _ in answer}) == 1
        assert all(expected[release, ad_id] == score for release, ad_id, score in answer)
