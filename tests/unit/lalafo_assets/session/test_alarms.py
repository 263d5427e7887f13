"""Faults of the program are reported to people: in the run's log, and to the webhook."""

import queue
from collections import Counter
from collections.abc import Mapping

from lalafo_assets.session.alarms import EVERY_S, Alarms
from ops.session.tally import Tally

URL = "https://hooks.example/secret"
PATIENCE_S = 90


class Place:
    """A webhook that a test reads, and a clock that it sets."""

    def __init__(self, url: str = URL) -> None:
        self.now = 0.0
        self.sent: queue.Queue[tuple[str, Mapping[str, object]]] = queue.Queue()
        self.alarms = Alarms(
            url,
            run_id="run-1",
            job="score_new_ads",
            send=lambda to, body: self.sent.put((to, body)),
            clock=lambda: self.now,
        )

    def body(self) -> Mapping[str, object]:
        url, body = self.sent.get(timeout=PATIENCE_S)
        assert url == URL
        return body


def failed(photos: int = 0, events: int = 0, quarantined: int = 0) -> Tally:
    return Tally(
        photo_failures=Counter(internal_error=photos, fetch_timeout=7),
        dead_letters=Counter(internal_error=events, quarantined=quarantined, event_not_json=3),
    )


def test_faults_of_senders_alarm_nobody() -> None:
    """Photos that can't be fetched, and events that are not JSON, are no fault of the program."""
    place = Place()
    assert place.alarms.report(failed()) is None
    assert place.sent.empty()


def test_internal_errors_are_in_the_log_and_at_the_webhook() -> None:
    """With their number, and the run to look at."""
    place = Place()
    line = place.alarms.report(failed(photos=2, events=1, quarantined=1))
    assert line is not None and line.startswith("4 events or photos failed")
    body = place.body()
    assert body["error"] == line
    assert (body["run_id"], body["ui"]) == ("run-1", "/runs/run-1")


def test_the_webhook_gets_a_message_at_most_every_ten_minutes() -> None:
    """Nothing is lost: the next message covers everything since the last."""
    place = Place()
    place.alarms.report(failed(photos=1))
    assert str(place.body()["error"]).startswith("1 events")
    for _ in range(5):
        place.now += EVERY_S / 10
        assert place.alarms.report(failed(photos=1)) is not None
    assert place.sent.empty()
    place.now += EVERY_S
    assert place.alarms.report(failed()) is None
    assert str(place.body()["error"]).startswith("5 events")


def test_without_a_webhook_only_the_log_has_it() -> None:
    """Nothing is sent anywhere."""
    place = Place(url="")
    assert place.alarms.report(failed(photos=1)) is not None
    assert place.sent.empty()
