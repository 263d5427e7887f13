"""Tasks of scope photo and of the lane after the path, with real parts."""

from collections.abc import Callable, Iterator
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from ops.errors import ConfigurationError
from ops.scoring.switched_off import NONE_OFF
from ops.tasks import task_by_name
from resources.catalogue.stale_photos import Catalogue
from resources.inference.batch_release import load_heads
from resources.releases.active import read_active_releases
from resources.releases.coverage import close_complete_days, open_days
from resources.releases.installed_tasks import tasks_off
from resources.releases.registry import partition_name, photo_partition_name
from resources.rescoring.embed_and_score import ScoreOptions, score_days
from resources.sessions.deferred import worker as worker_module
from resources.sessions.deferred.process import DeferredWorker, Order, Report
from resources.sessions.deferred.queue import MAX_ATTEMPTS
from resources.storage.photos import PhotoStore
from resources.storage.releases import ReleaseStore
from resources.upkeep.photos import sweep_photos
from resources.upkeep.releases import _remove_predictions
from tests.support.live_session import Live, ad
from tests.support.odd_photos import jpeg, noisy
from tests.support.photo_tasks import REFUSED, PhotoTasks, live_name, photo_tasks, with_photo_tasks

pytestmark = pytest.mark.parametrize("broker", ["embedded"], indirect=True)

QUEUE = "SELECT ad_id, revision, attempts FROM lalafo.deferred_ads ORDER BY id"


@pytest.fixture
def tasks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[PhotoTasks]:
    """The two tasks, installed. A session's own worker process starts after an hour."""
    monkeypatch.setattr(worker_module, "LOOK_EVERY_S", 3_600.0)
    with photo_tasks(tmp_path / "package", monkeypatch) as found:
        yield found


@pytest.fixture
def running(tasks: PhotoTasks, live: Live) -> Live:
    """A session's parts, with a live release that runs both tasks."""
    live.make_live(with_photo_tasks())
    return live


def photo(live: Live, number: int, width: int = 90, height: int = 70) -> str:
    return live.photo(f"{number}.jpg", jpeg(noisy(width + number, height, number)))


def new_worker(live: Live, stopped: Callable[[], bool] = lambda: False) -> DeferredWorker:
    order = Order(live.database.conninfo.text(), live.settings, "worker", "ads.scored")
    return DeferredWorker(live.database, order, stopped=stopped)


def answered(live: Live) -> Report:
    """Let a worker answer everything; what it did in all."""
    worker, total = new_worker(live), Report()
    while (report := worker.step()).rows:
        total.scored += report.scored
        total.dropped += report.dropped
        total.failed += report.failed
    return total


def predictions(live: Live, task: str) -> dict[str, tuple[Any, ...]]:
    return {
        row[0]: row[1:]
        for row in live.rows(
            "SELECT ad_id, revision, label, score::text, details FROM lalafo.predictions "
            "WHERE task = %s AND release = %s",
            *(task, live_name(live)),
        )
    }


def answers(live: Live, task: str) -> list[tuple[Any, ...]]:
    return live.rows(
        "SELECT sha256, label, score::text, details FROM lalafo.photo_predictions "
        "WHERE task = %s AND release = %s ORDER BY sha256",
        *(task, live_name(live)),
    )


def failures(live: Live) -> list[tuple[str, str]]:
    return live.rows(
        "SELECT ad_id, split_part(subject, '#', 2) || CASE WHEN subject LIKE '%%#%%#%%' "
        "THEN ' of a photo' ELSE '' END FROM lalafo.failures WHERE kind = 'task' ORDER BY 1, 2"
    )


def days(live: Live) -> list[date]:
    return [row[0] for row in live.rows("SELECT DISTINCT day FROM lalafo.ads")]


def rescored(live: Live, task: str) -> int:
    release = read_active_releases(live.database).live
    url = live.settings.resolved_store_url
    return score_days(
        Catalogue(live.database, run_id="again"),
        load_heads(release, ReleaseStore(url)),
        task_by_name(task),
        days(live),
        on_progress=lambda _: None,
        options=ScoreOptions(workers=1),
        store_url=url,
        off=tasks_off(live.settings, [task_by_name(name) for name in ("early", "late")]),
    )


def clear(live: Live, *tables: str) -> None:
    with live.database.cursor() as cursor:
        for table in tables:
            cursor.execute(f"DELETE FROM lalafo.{table} WHERE task <> 'category'")


def test_shared_photos_are_computed_once_and_a_re_score_gives_the_same(
    running: Live, tasks: PhotoTasks
) -> None:
    """On the path, after it, and in a re-score, with what is stored and without it."""
    live = running
    urls = [photo(live, number) for number in range(3)]
    live.publish(ad("1", urls[:2]), ad("none", []))
    live.drain()
    live.publish(ad("2", [urls[0], live.host.url("missing.jpg"), urls[2], urls[0]]))
    live.drain()
    assert sorted(tasks.computed("early")) == ["90x70", "91x70", "92x70"]
    assert tasks.computed("late") == []
    assert live.rows(QUEUE) == [("1", 1, 0), ("2", 1, 0)]
    assert set(predictions(live, "early")) == {"1", "2"}
    assert predictions(live, "late") == {}
    total = answered(live)
    assert (total.scored, total.dropped, total.failed) == (2, 0, 0)
    assert live.rows(QUEUE) == []
    assert sorted(tasks.computed("late")) == ["90x70", "91x70", "92x70"]
    before = {task: predictions(live, task) for task in ("early", "late")}
    of_photos = {task: answers(live, task) for task in before}
    assert before["early"] == before["late"]
    assert of_photos["early"] == of_photos["late"]
    assert len(of_photos["late"]) == 3
    assert [place[1:] for place in before["late"]["2"][3]["photos"]] == [[0, 90], [2, 92]]
    clear(live, "predictions")
    computed = len(tasks.computed("early")), len(tasks.computed("late"))
    assert [rescored(live, task) for task in before] == [2, 2]
    assert {task: predictions(live, task) for task in before} == before
    assert (len(tasks.computed("early")), len(tasks.computed("late"))) == computed
    clear(live, "predictions", "photo_predictions")
    assert [rescored(live, task) for task in before] == [2, 2]
    assert {task: predictions(live, task) for task in before} == before
    assert {task: answers(live, task) for task in before} == of_photos
    assert [rescored(live, task) for task in before] == [0, 0]


def test_a_photo_that_a_task_fails_for_fails_alone(running: Live) -> None:
    """Its ad is answered by the others; an ad of such photos alone fails in the task alone."""
    live = running
    bad = live.photo("bad.jpg", jpeg(noisy(REFUSED, 70, 50)))
    live.publish(ad("1", [bad, photo(live, 1)]), ad("2", [bad]), ad("3", [photo(live, 2)]))
    live.drain()
    answered(live)
    name = live_name(live)
    expected = [
        ("1", f"early@{name} of a photo"),
        ("1", f"late@{name} of a photo"),
        ("2", f"early@{name}"),
        ("2", f"early@{name} of a photo"),
        ("2", f"late@{name}"),
        ("2", f"late@{name} of a photo"),
    ]
    assert failures(live) == expected
    for task in ("early", "late"):
        found = predictions(live, task)
        assert sorted(found) == ["1", "3"]
        assert (found["1"][3]["failed"], found["1"][3]["photos"][0][1]) == (1, 1)
        assert len(answers(live, task)) == 2
    assert sorted(predictions(live, "category")) == ["1", "2", "3"]
    with live.database.cursor() as cursor:
        cursor.execute("DELETE FROM lalafo.failures")
    clear(live, "predictions", "photo_predictions")
    assert [rescored(live, task) for task in ("early", "late")] == [2, 2]
    assert failures(live) == expected


def test_a_newer_revision_overtakes_the_one_that_waits(running: Live) -> None:
    """Its commit does not wait for the worker, whose answers are not written."""
    live = running
    live.publish(ad("1", [photo(live, 1)]))
    live.drain()
    overtaken: list[int] = []

    def overtake() -> bool:
        if not overtaken:
            overtaken.append(1)
            live.publish(ad("1", [photo(live, 2, width=200)], revision=2))
            live.drain()
        return False

    report = new_worker(live, overtake).step()
    assert (report.scored, report.dropped) == (0, 1)
    assert live.rows("SELECT revision FROM lalafo.ads") == [(2,)]
    assert predictions(live, "late") == {}
    assert live.rows(QUEUE) == [("1", 2, 0)]
    assert answered(live).scored == 1
    assert predictions(live, "late")["1"][3]["photos"][0][2] == 202
    live.publish({**ad("1", [], revision=3), "kind": "deleted"})
    live.drain()
    assert live.rows(QUEUE) == []
    assert predictions(live, "late") == {}


def test_an_ad_that_was_deleted_while_it_waited(running: Live) -> None:
    """Its row is dropped."""
    live = running
    live.publish(ad("1", [photo(live, 1)]))
    live.drain()
    live.publish({**ad("1", [], revision=2), "kind": "deleted"})
    live.drain()
    total = answered(live)
    assert (total.scored, total.dropped) == (0, 1)
    assert predictions(live, "late") == {}


def test_another_release_becomes_live_meanwhile(running: Live) -> None:
    """The ads are answered again, under the releases that are active then, once."""
    live = running
    live.publish(ad("1", [photo(live, 1)]))
    live.drain()
    before = live_name(live)
    changed: list[str] = []

    def change() -> bool:
        if not changed:
            changed.append(live.make_live(with_photo_tasks(seed=5)))
        return False

    worker = new_worker(live, change)
    assert worker.step().rows == 0
    assert live.rows(QUEUE) == [("1", 1, 0)]
    assert predictions(live, "late") == {}
    assert worker.step().scored == 1
    assert live_name(live) == changed[0] != before
    assert list(predictions(live, "late")) == ["1"]
    count = "SELECT count(*) FROM lalafo.outbox WHERE topic = 'ads.scored' AND value LIKE %s"
    assert live.rows(count, b'%"tasks":["late"]%') == [(1,)]


def test_an_ad_that_is_never_finished_fails(running: Live) -> None:
    """After so many attempts, each of which was counted before it began."""
    live = running
    live.publish(ad("1", [photo(live, 1)]), ad("2", [photo(live, 2)]))
    live.drain()
    with live.database.cursor() as cursor:
        cursor.execute(
            "UPDATE lalafo.deferred_ads SET attempts = %s WHERE ad_id = '1'", (MAX_ATTEMPTS,)
        )
    total = answered(live)
    assert (total.scored, total.failed) == (1, 1)
    assert failures(live) == [("1", f"late@{live_name(live)}")]
    assert list(predictions(live, "late")) == ["2"]
    assert live.rows(QUEUE) == []


def test_a_day_is_complete_with_the_later_answers_or_with_ads_that_wait_for_them(
    running: Live,
) -> None:
    """Without either it is not."""
    live = running
    live.publish(ad("1", [photo(live, 1)]), ad("2", [photo(live, 2)]))
    live.drain()
    release = read_active_releases(live.database).live

    def unscored() -> list[int]:
        with live.database.cursor() as cursor:
            open_days(cursor, release.name)
        return [day.unscored for day in close_complete_days(live.database, release, days(live))]

    assert unscored() == [0]
    with live.database.cursor() as cursor:
        cursor.execute("DELETE FROM lalafo.predictions WHERE task = 'early' AND ad_id = '2'")
    assert unscored() == [1]
    assert rescored(live, "early") == 1
    with live.database.cursor() as cursor:
        cursor.execute("DELETE FROM lalafo.deferred_ads WHERE ad_id = '1'")
    assert unscored() == [1]
    assert rescored(live, "late") == 2
    assert unscored() == [0]


def test_a_task_that_is_off_in_a_catalog(running: Live) -> None:
    """Its ads have no such row, in both lanes and in a re-score, and count as complete."""
    live = running
    off = {"tasks_off": "late@kg, early@uz"}
    live.settings = live.settings.model_copy(update=off)
    object.__setattr__(live.parts, "settings", live.settings)
    live.publish(ad("1", [photo(live, 1)]), ad("2", [photo(live, 2)], catalog="uz"))
    live.drain()
    answered(live)
    assert list(predictions(live, "early")) == ["1"]
    assert list(predictions(live, "late")) == ["2"]
    assert [rescored(live, task) for task in ("early", "late")] == [0, 0]
    release = read_active_releases(live.database).live
    switched = tasks_off(live.settings, [task_by_name(name) for name in ("early", "late")])
    for known, expected in ((switched, 0), (NONE_OFF, 2)):
        with live.database.cursor() as cursor:
            open_days(cursor, release.name)
        states = close_complete_days(live.database, release, days(live), known)
        assert [(day.ads, day.unscored) for day in states] == [(2, expected)]


def test_a_task_that_is_off_and_not_installed(running: Live) -> None:
    """No session starts: it would be a typing error that nobody notices."""
    settings = running.settings.model_copy(update={"tasks_off": "lat@kg"})
    object.__setattr__(running.parts, "settings", settings)
    with pytest.raises(ConfigurationError, match=r"not installed here: lat\. Installed are:"):
        running.drain()


def test_the_answers_of_a_deleted_photo_are_deleted(running: Live) -> None:
    """By the sweep that deletes it; those of other photos stay."""
    live = running
    live.publish(ad("1", [photo(live, 1)]), ad("2", [photo(live, 2)]))
    live.drain()
    answered(live)
    live.publish({**ad("1", [], revision=2), "kind": "deleted"})
    live.drain()
    sweep = sweep_photos(
        live.database, PhotoStore(live.settings.resolved_store_url), orphaned_s=0.0
    )
    assert sweep.removed == 1
    kept = live.rows("SELECT sha256 FROM lalafo.photos")
    assert [row[:1] for row in answers(live, "late")] == kept
    assert [row[:1] for row in answers(live, "early")] == kept


def test_a_release_has_a_partition_for_its_photos_until_it_is_removed(running: Live) -> None:
    """Beside that of its predictions."""
    live = running
    live.publish(ad("1", [photo(live, 1)]))
    live.drain()
    first = read_active_releases(live.database).live
    parts = [partition_name(first.digest), photo_partition_name(first.digest)]

    def there() -> list[bool]:
        (row,) = live.rows(
            "SELECT to_regclass('lalafo.' || %s) IS NOT NULL, "
            "to_regclass('lalafo.' || %s) IS NOT NULL",
            *parts,
        )
        return list(row)

    assert there() == [True, True]
    live.make_live(with_photo_tasks(seed=3))
    with live.database.cursor() as cursor:
        cursor.execute("UPDATE lalafo.active_releases SET previous = NULL")
    assert _remove_predictions(live.database, first)
    assert there() == [False, False]
    assert not _remove_predictions(live.database, first)
