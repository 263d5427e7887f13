"""From a photo host that was away to a scored ad: session, upkeep, relay and session again."""

import json
import socket

import pytest

from resources.kafka.outbox import relay
from resources.upkeep.requeue import Requeued, requeue_ads
from tests.support.live_session import Live, ad
from tests.support.odd_photos import jpeg


def grow_older(live: Live) -> None:
    """As if half an hour had passed since the last commit."""
    with live.database.cursor() as cursor:
        cursor.execute("UPDATE lalafo.ads SET updated_at = updated_at - interval '30 minutes'")
        cursor.execute("UPDATE lalafo.outbox SET created_at = created_at - interval '1 minute'")


def upkeep(live: Live) -> Requeued:
    """What the job does of it."""
    message = requeue_ads(live.database, live.settings.ads_topic, retry_s=900)
    with live.stream.publisher() as publisher:
        while relay(live.database, publisher, older_than_s=0, limit=100):
            pass
    return message


@pytest.mark.parametrize("broker", ["embedded"], indirect=True)
def test_an_ad_whose_photos_were_out_of_reach_is_scored_in_the_end(live: Live) -> None:
    """The same revision comes again and is taken once; a replay of it changes nothing."""
    reachable = live.photo("a.jpg", jpeg())
    with socket.create_server(("127.0.0.1", 0)) as closed:
        away = f"http://127.0.0.1:{closed.getsockname()[1]}/a.jpg"  # nobody listens there
    first = ad("1", [away])
    live.publish(first)
    live.drain()
    query = "SELECT status, revision FROM lalafo.ads"
    assert live.rows(query) == [("unscored", 1)]
    assert live.rows("SELECT reason FROM lalafo.ad_photos") == [("fetch_unreachable",)]
    assert upkeep(live) == Requeued()
    grow_older(live)
    assert upkeep(live) == Requeued(out_of_reach=1)
    assert live.rows(query) == [("received", 1)]
    live.drain()
    assert live.rows(query) == [("unscored", 1)], "still away: to be tried again"
    with live.database.cursor() as cursor:  # the host is back, as the address would say it
        cursor.execute("UPDATE lalafo.ad_photos SET url = %s", (reachable,))
    grow_older(live)
    assert upkeep(live) == Requeued(out_of_reach=1)
    live.drain()
    assert live.rows(query) == [("scored", 1)]
    assert len(live.rows("SELECT 1 FROM lalafo.predictions")) == 1
    assert live.rows("SELECT count(*) FROM lalafo.failures") == [(0,)]
    live.publish(json.dumps(first).encode(), key=b"kg/1")
    live.drain()
    grow_older(live)
    assert upkeep(live) == Requeued()
    assert live.rows("SELECT revision, status, event_id FROM lalafo.ads") == [
        (1, "scored", first["event_id"])
    ]
