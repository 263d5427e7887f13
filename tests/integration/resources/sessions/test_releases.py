"""Sessions while releases are proposed, promoted and rolled back: no restart, complete values."""

import random
import threading
import time
from collections.abc import Callable
from dataclasses import replace

import pytest

from ops.models.release import FrozenBackbone
from ops.scoring.ready_release import PhotoEmbedder
from resources.inference.loading import new_embedder
from resources.releases.active import read_active_releases
from resources.releases.coverage import read_coverage
from resources.releases.promotion import announce, promote, propose, rollback
from tests.support.live_session import Live, ad
from tests.support.odd_photos import jpeg, noisy
from tests.support.random_release import random_release
from tests.support.release_steps import TOPIC, judged, left_over, rescore, without_a_value
from tests.support.session_process import Crew, wait_for
from tests.support.working_sessions import Working, until

pytestmark = pytest.mark.parametrize("broker", ["embedded"], indirect=True)

ADS = 60
PATIENCE_S = 90
LEASES = "SELECT partition, run_id, epoch, expires_at FROM lalafo.leases"


class Feed:
    """Publishes ads, updates and deletions until it is stopped; knows their final state."""

    def __init__(self, live: Live, seed: int = 1) -> None:
        self.live = live
        self.random = random.Random(seed)
        self.urls = [live.photo(f"{n}.jpg", jpeg(noisy(40, 30, n))) for n in range(30)]
        self.revisions: dict[int, int] = {}
        self.deleted: set[int] = set()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def some(self, count: int) -> None:
        """Publish this many events."""
        self.live.publish(*(self._event() for _ in range(count)))

    def settled(self) -> bool:
        """Whether every published event is committed."""
        stored = self.live.rows("SELECT ad_id::int, revision FROM lalafo.ads")
        return dict(stored) == self.revisions

    def __enter__(self) -> "Feed":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stop.is_set():
            self.some(4)
            time.sleep(0.02)

    def _event(self) -> dict:
        number = self.random.randrange(ADS)
        revision = self.revisions[number] = self.revisions.get(number, 0) + 1
        urls = self.random.sample(self.urls, self.random.randint(1, 3))
        if revision > 1 and self.random.random() < 0.15:
            self.deleted.add(number)
            return ad(str(number), [], revision, kind="deleted")
        self.deleted.discard(number)
        return ad(str(number), urls, revision)


def recorded(live: Live, threads: list[str]) -> Callable[[FrozenBackbone], PhotoEmbedder]:
    """The session's factory of embedders, which also records the name of the calling thread."""

    def create(frozen: FrozenBackbone) -> PhotoEmbedder:
        threads.append(threading.current_thread().name)
        return new_embedder(frozen, live.settings)

    return create


def committing(live: Live) -> bool:
    """Whether a session has committed within the last tenth of a second."""
    recent = "SELECT 1 FROM lalafo.ads WHERE updated_at > clock_timestamp() - interval '0.1 s'"
    return live.rows(recent) != []


def check_predictions(live: Live, *names: str) -> None:
    """Every scored ad has one prediction of its revision under each release, and no other."""
    for name in names:
        assert without_a_value(live.database, name) == []
        assert left_over(live.database, name) == []


def test_ads_that_change_during_a_rescore_are_correct_under_both_releases(live: Live) -> None:
    """The stream continues during candidate, re-score, promotion and rollback."""
    database, threads = live.database, []
    live.parts = replace(live.parts, embedder=recorded(live, threads))
    before = read_active_releases(database).live.name
    feed = Feed(live)
    with Working(live), feed:
        until(lambda: len(live.rows("SELECT 1 FROM lalafo.ads")) > 20)
        name = judged(database, live.settings, random_release(1))
        propose(database, name)
        while not read_coverage(database, name).complete:
            rescore(database, live.settings, name)
        promote(database, name, scored_topic=TOPIC)
        assert without_a_value(database, name) == []
        time.sleep(0.3)
        rollback(database, scored_topic=TOPIC)
        assert without_a_value(database, before) == []
        time.sleep(0.3)
        feed.__exit__()
        until(feed.settled)
    check_predictions(live, before, name)
    assert len(threads) == 1, "a new head on the same backbone loads no weights"
    (count,) = live.rows("SELECT count(*) FROM lalafo.ads WHERE status = 'deleted'")
    assert count[0] == len(feed.deleted) > 0


def test_an_announced_backbone_is_loaded_in_the_background(live: Live) -> None:
    """Another backbone is warm in the session before the first commit needs it."""
    database, threads = live.database, []
    live.parts = replace(live.parts, embedder=recorded(live, threads))
    feed = Feed(live)
    with Working(live) as working:
        feed.some(20)
        until(feed.settled)
        name = judged(database, live.settings, random_release(backbone_seed=1))
        announce(database, name)
        warm = "SELECT warm FROM lalafo.sessions WHERE run_id = 'run-1'"
        until(lambda: name in working.checked().live.rows(warm)[0][0])
        propose(database, name)
        feed.some(40)
        until(feed.settled)
        rescore(database, live.settings, name)
        promote(database, name, scored_topic=TOPIC)
        feed.some(20)
        until(feed.settled)
    assert threads[1:] == ["release-watch"]
    check_predictions(live, name)


def test_an_announced_release_that_cannot_be_loaded_stops_nothing(live: Live) -> None:
    """A damaged file is logged; the session continues with the loaded releases."""
    name = judged(live.database, live.settings, random_release(backbone_seed=1))
    (digest,) = live.rows("SELECT digest FROM lalafo.releases WHERE name = %s", name)[0]
    folder = f"{live.settings.resolved_store_url}/releases/{digest}"
    with open(f"{folder}/heads.safetensors", "r+b") as file:  # noqa: PTH123 - damages the file
        file.write(b"x")
    feed = Feed(live)
    with Working(live) as working:
        announce(live.database, name)
        feed.some(10)
        until(feed.settled)
        time.sleep(1.2)
        feed.some(10)
        until(feed.settled)
        assert name not in working.checked().live.rows("SELECT warm FROM lalafo.sessions")[0][0]


@pytest.mark.timeout(180)
def test_a_session_paused_across_a_candidate_and_its_promotion(live: Live) -> None:
    """Frozen at any moment, it commits no ad without a prediction of the live release."""
    settings = live.settings.model_copy(update={"lease_ttl_s": 1.0})
    database, feed, shuffled = live.database, Feed(live), random.Random(5)
    names = [read_active_releases(database).live.name]
    with Crew(settings, size=1, name="paused") as crew:
        for number in range(1, 5):
            feed.some(60)
            wait_for(lambda: committing(live), lambda: live.rows(LEASES), PATIENCE_S)
            time.sleep(shuffled.random() * 0.2)
            paused = crew.members[0]
            paused.freeze()
            name = judged(database, settings, random_release(number))
            propose(database, name)
            rescore(database, settings, name)
            promote(database, name, scored_topic=TOPIC)
            names.append(name)
            paused.thaw()
            assert without_a_value(database, name) == []
        feed.some(20)
        wait_for(feed.settled, lambda: live.rows(LEASES), PATIENCE_S)
    assert len(set(names)) == 5
    check_predictions(live, names[-1], names[-2])
