"""A session's worker process: it answers what commits have queued, and its death loses nothing."""

import json
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from jsonschema import validate

from ops.events.schemas import scored_schema
from ops.session.ports import SessionPolicy
from resources.sessions.deferred import worker as worker_module
from resources.sessions.live import LiveSession, open_session
from tests.support.live_session import Live, ad
from tests.support.odd_photos import jpeg, noisy
from tests.support.photo_tasks import PhotoTasks, live_name, photo_tasks, with_photo_tasks
from tests.support.topic_records import everything_on

pytestmark = pytest.mark.parametrize("broker", ["embedded"], indirect=True)

PATIENCE_S = 90.0


@pytest.fixture
def tasks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[PhotoTasks]:
    """The two tasks, installed."""
    with photo_tasks(tmp_path / "package", monkeypatch) as found:
        yield found


@pytest.fixture
def running(tasks: PhotoTasks, live: Live) -> Live:
    """A session's parts, with a live release that runs both tasks.

    Its worker is not idle: on a machine that other tests keep busy it would not get on.
    """
    settings = live.settings.model_copy(update={"background_priority": "normal"})
    live.parts = replace(live.parts, settings=settings)
    live.make_live(with_photo_tasks())
    return live


def until(what: Callable[[], object], why: str) -> None:
    pause, deadline = threading.Event(), time.monotonic() + PATIENCE_S
    while not what():
        assert time.monotonic() < deadline, why
        pause.wait(0.05)


@contextmanager
def session(live: Live, run_id: str) -> Iterator[LiveSession]:
    """A session that runs in a thread for as long as the block lasts."""
    stop = threading.Event()
    with open_session(
        live.parts,
        run_id=run_id,
        report=lambda _: None,
        policy=SessionPolicy(report_every_s=0.2),
        keep_going=lambda: not stop.is_set(),
    ) as opened:
        thread = threading.Thread(target=opened.session.run)
        thread.start()
        try:
            yield opened
        finally:
            stop.set()
            thread.join()


def late(live: Live) -> list[str]:
    """The ads that have the later answer under the live release, sorted."""
    query = "SELECT ad_id FROM lalafo.predictions WHERE task = 'late' AND release = %s ORDER BY 1"
    return [row[0] for row in live.rows(query, live_name(live))]


def queued(live: Live) -> list[tuple[str, int]]:
    return live.rows("SELECT ad_id, attempts FROM lalafo.deferred_ads ORDER BY id")


def attempts(live: Live) -> int:
    """How often ads of the queue were begun, in all."""
    return sum(begun for _, begun in queued(live))


def photo(live: Live, number: int) -> str:
    return live.photo(f"{number}.jpg", jpeg(noisy(90 + number, 70, number)))


def announced(live: Live) -> dict[str, list[dict[str, object]]]:
    """The events of `ads.scored`, by ad, in order."""
    found: dict[str, list[dict[str, object]]] = {}
    for record in everything_on(live.stream, live.stream.config.scored_topic):
        event = json.loads(record.value or b"")
        found.setdefault(event["ad_id"], []).append(event)
    return found


def test_a_worker_answers_what_is_committed_and_the_ad_is_announced_again(
    running: Live,
) -> None:
    """Ads that a session left behind too; the second event says which task it adds."""
    live = running
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(worker_module, "LOOK_EVERY_S", 3_600.0)
        live.publish(ad("1", [photo(live, 1)]))
        live.drain(run_id="first")  # it ends before its worker has started
    assert queued(live) == [("1", 0)]
    with session(live, "second"):
        live.publish(ad("2", [photo(live, 2)]), ad("none", []))
        until(lambda: late(live) == ["1", "2"], "not answered")
        until(lambda: queued(live) == [], "still in the queue")
        until(lambda: len(announced(live).get("2", [])) == 2, "not announced again")
    events = announced(live)
    assert [len(events[ad_id]) for ad_id in ("1", "2", "none")] == [2, 2, 1]
    first, second = events["2"]
    assert "tasks" not in first
    assert sorted(first["predictions"]) == ["category", "early"]
    assert second["tasks"] == ["late"]
    assert sorted(second["predictions"]) == ["category", "early", "late"]
    assert second["predictions"]["early"] == first["predictions"]["early"]
    common = ("schema", "kind", "catalog", "ad_id", "revision", "event_id", "status", "photos")
    assert {key: first[key] for key in common} == {key: second[key] for key in common}
    validate(second, scored_schema())


def test_a_killed_worker_loses_no_ad_and_ends_no_session(
    running: Live, tasks: PhotoTasks, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the middle of its work, and by the task itself; commits go on meanwhile."""
    monkeypatch.setattr(worker_module, "_FIRST_PAUSE_S", 0.1)
    live = running
    with session(live, "first") as opened:
        with tasks.going_wrong("slow"):
            live.publish(ad("1", [photo(live, 1)]))
            until(lambda: queued(live) == [("1", 1)], "not begun")
            pid = opened.deferred.pid
            assert pid is not None
            os.kill(pid, signal.SIGKILL)
            live.publish(ad("2", [photo(live, 2)]))
            until(lambda: attempts(live) > 1, "nothing was begun by another process")
        until(lambda: late(live) == ["1", "2"], "not answered")
        assert opened.deferred.pid != pid
        with tasks.going_wrong("deadly"):
            live.publish(ad("3", [photo(live, 3)]))
            until(lambda: ("3", 1) in queued(live), "not begun")
            until(lambda: opened.deferred.pid is None, "the worker still runs")
            live.publish(ad("4", [photo(live, 4)]))
            until(lambda: "4" in [ad_id for ad_id, _ in queued(live)], "commits stand still")
        until(lambda: late(live) == ["1", "2", "3", "4"], "not answered")
    assert queued(live) == []
    assert live.rows("SELECT count(*) FROM lalafo.failures WHERE kind = 'task'") == [(0,)]


def test_a_session_that_leaves_its_ads_to_the_next_one(running: Live, tasks: PhotoTasks) -> None:
    """Also those that its worker had begun and could not end in time."""
    live = running
    with tasks.going_wrong("slow"), session(live, "first"):
        live.publish(*(ad(str(n), [photo(live, n)]) for n in range(1, 4)))
        until(lambda: attempts(live) > 0, "not begun")
    with session(live, "second"):
        until(lambda: late(live) == ["1", "2", "3"], "not answered")
        until(lambda: queued(live) == [], "still in the queue")
