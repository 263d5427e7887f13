"""From an unreachable photo host to a scored ad: session, upkeep, relay, and session again."""

import json
import socket

import pytest

from resources.kafka.outbox import relay
from resources.upkeep.requeue import Requeued, requeue_ads
from tests.support.live_session import Live, ad
from tests.support.odd_photos import jpeg


def make_older(live: Live) -> None:
    """Set the ads' last update to half an hour earlier, and the outbox rows to a minute."""
    with live.database.cursor() as cursor:
        cursor.execute("UPDATE lalafo.ads SET updated_at = updated_at - interval '30 minutes'")
        cursor.execute("UPDATE lalafo.outbox SET created_at = created_at - interval '1 minute'")


def upkeep(live: Live) -> Requeued:
    """The steps of the upkeep job that requeue and relay."""
    requeued = requeue_ads(live.database, live.settings.ads_topic, retry_s=900)
    with live.stream.publisher() as publisher:
        while relay(live.database, publisher, older_than_s=0, limit=100):
            pass
    return requeued


@pytest.mark.parametrize("broker", ["embedded"], indirect=True)
def test_an_ad_with_unreachable_photos_is_scored_later(live: Live) -> None:
    """The same revision is published again and accepted once; a replay changes nothing."""
    reachable = live.photo("a.jpg", jpeg())
    with socket.create_server(("127.0.0.1", 0)) as closed:
        unreachable = f"http://127.0.0.1:{closed.getsockname()[1]}/a.jpg"  # nobody listens there
    first = ad("1", [unreachable])
    live.publish(first)
    live.drain()
    query = "SELECT status, revision FROM lalafo.ads"
    assert live.rows(query) == [("unscored", 1)]
    assert live.rows("SELECT reason FROM lalafo.ad_photos") == [("fetch_unreachable",)]
    assert upkeep(live) == Requeued()
    make_older(live)
    assert upkeep(live) == Requeued(out_of_reach=1)
    assert live.rows(query) == [("received", 1)]
    live.drain()
    assert live.rows(query) == [("unscored", 1)], "still unreachable: to be retried"
    with live.database.cursor() as cursor:  # replaces the unreachable URL by a reachable one
        cursor.execute("UPDATE lalafo.ad_photos SET url = %s", (reachable,))
    make_older(live)
    assert upkeep(live) == Requeued(out_of_reach=1)
    live.drain()
    assert live.rows(query) == [("scored", 1)]
    assert len(live.rows("SELECT 1 FROM lalafo.predictions")) == 1
    assert live.rows("SELECT count(*) FROM lalafo.failures") == [(0,)]
    live.publish(json.dumps(first).encode(), key=b"kg/1")
    live.drain()
    make_older(live)
    assert upkeep(live) == Requeued()
    assert live.rows("SELECT revision, status, event_id FROM lalafo.ads") == [
        (1, "scored", first["event_id"])
    ]
