"""The demo's closing table, from what a real session wrote."""

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from psycopg.types.json import Jsonb
from rich.console import Console

from lalafo_assets.demo.bad_photos import corrupt_photos
from lalafo_assets.demo.outcome import Outcome, TreeAnswers, Watch, outcome_table
from lalafo_assets.demo.photo_host import PhotoHost
from ops.training.figures import Accuracy
from tests.support.live_session import Live, ad
from tests.support.odd_photos import jpeg, noisy
from tests.support.working_sessions import Working, until

pytestmark = pytest.mark.parametrize("broker", ["embedded"], indirect=True)


@pytest.fixture
def corrupt(tmp_path: Path) -> Iterator[PhotoHost]:
    folder = tmp_path / "corrupt"
    folder.mkdir()
    for name, data in corrupt_photos().items():
        (folder / name).write_bytes(data)
    with PhotoHost(folder) as host:
        yield host


def shown(outcome: Outcome) -> str:
    """The table at 80 columns, as one line."""
    console = Console(width=80)
    with console.capture() as capture:
        console.print(outcome_table(outcome, [("known categories", "3 of 3")]))
    assert all(len(line) <= 80 for line in capture.get().splitlines())
    return " ".join(capture.get().replace("│", " ").split())


def test_the_table_of_a_demo(live: Live, corrupt: PhotoHost) -> None:
    """Photos made corrupt on purpose are apart from others that fail, and ads that waited for the
    session apart from the latency; few ads have an accuracy that may be chance."""
    since = datetime.now(UTC)
    watch = Watch(live.database, "kg", live.stream.stream_id(), since, corrupt.address)
    good = live.photo("a.jpg", jpeg(noisy(40, 30, 1)))
    own = live.photo("own.jpg", b"<html>")
    live.publish(ad("1", [good, corrupt.url("noise.jpg"), corrupt.url("a", path="missing")]))
    live.publish(ad("2", [good, own]), b"nonsense")
    with Working(live) as working:
        until(lambda: watch.counts().ads == 2)
        live.publish(ad("3", [good]), ad("4", [], category=None))
        until(lambda: watch.counts().ads == 4)
        assert working.error is None
    watch.wait_for_timings()
    outcome = watch.outcome(5, 1)
    assert sum(outcome.corrupt.values()) == 2
    assert sum(outcome.photo_failures.values()) == 1
    assert outcome.waited is not None and outcome.waited.ads == 2
    assert outcome.latency is not None and outcome.latency.ads == 2
    ((right,),) = live.rows("SELECT count(*) FROM lalafo.predictions WHERE label = 'chair'")
    assert outcome.accuracy == Accuracy(right, 3, 1.0)
    assert outcome.accounted_for == outcome.published == 5
    text = shown(outcome)
    assert "dead letters 1 sent by the demo on purpose" in text
    assert "photos failed 2 made corrupt on purpose by the demo" in text
    assert "1 others" in text
    assert "left out 2 ads that waited for a session to start" in text
    assert "may be chance" in text
    assert "not accounted for 0" in text
    assert outcome.tree is None and "sure" not in text
    # The same ads under categories that are a tree: a node above is right, a part of its name is
    # not, and an answer that is not sure is neither.
    for ad_id, label, path in (("1", "home", ["home"]), ("2", "ho", ["ho"]), ("3", "home", [])):
        with live.database.cursor() as cursor:
            cursor.execute(
                "UPDATE lalafo.predictions SET label = %s, details = %s WHERE ad_id = %s",
                (label, Jsonb({"path": path}), ad_id),
            )
            cursor.execute("UPDATE lalafo.ads SET category = 'home/chair' WHERE ad_id = '1'")
    tree = watch.outcome(5, 1)
    assert tree.tree == TreeAnswers(ads=3, sure=2, right=1)
    assert "2 of 3 ads have an answer that is sure, 50.0% of them right" in shown(tree)


def test_without_categories_there_is_no_accuracy(live: Live, corrupt: PhotoHost) -> None:
    """The row is left out; nothing is divided by zero."""
    watch = Watch(live.database, "kg", live.stream.stream_id(), datetime.now(UTC), corrupt.address)
    live.publish(ad("1", [live.photo("a.jpg", jpeg(noisy(40, 30, 1)))], category=None))
    live.drain()
    outcome = watch.outcome(1, 0)
    assert outcome.accuracy is None
    assert "accuracy" not in shown(outcome)
    assert outcome.latency is None
    assert "Kafka to row, p50 / p99 none" in shown(outcome)
