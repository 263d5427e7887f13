"""The statistics over HTTP: they match what real sessions wrote, and read only small tables.

The query plans are checked here. To see one, run `EXPLAIN (ANALYZE, BUFFERS)` with a statement of
`gateway/statistics/queries.py` in psql.
"""

from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import numpy as np
import psycopg
import pytest

from gateway.backends.lag import OFFSETS
from gateway.edge.keys import make
from gateway.schemas.statistics import StatisticsOut
from gateway.statistics import queries
from ops.session.latency_histogram import RATIO
from resources.postgres.database import Database
from resources.releases.promotion import propose
from resources.releases.registry import find_release
from resources.rescoring.attempts import request, starting
from tests.support.gateway_live import LiveGateway, live_gateway
from tests.support.live_session import Live, ad
from tests.support.odd_photos import jpeg, noisy
from tests.support.random_release import random_release
from tests.support.release_steps import judged, rescore
from tests.support.working_sessions import Working, until

pytestmark = pytest.mark.parametrize("broker", ["embedded"], indirect=True)

STAGES = ("fetch", "photos", "queued", "embed", "predict")


@pytest.fixture
def gateway(live: Live) -> Iterator[LiveGateway]:
    changes = {"gateway_auth": "off", "dagster_url": "http://dagster.example/"}
    with live_gateway(live.settings.model_copy(update=changes)) as gateway:
        yield gateway


def statistics(gateway: LiveGateway, minutes: int = 10) -> dict[str, Any]:
    answer = httpx.get(f"{gateway.url}/v1/statistics", params={"minutes": minutes})
    assert answer.status_code == 200, answer.text
    StatisticsOut.model_validate_json(answer.content)
    return answer.json()


def publish(live: Live) -> None:
    """Publish 14 ads: scored, without a usable photo, without photos, deleted; and dead letters."""
    urls = [live.photo(f"{n}.jpg", jpeg(noisy(40, 30, n))) for n in range(4)]
    live.publish(*(ad(f"{n:02}", urls[n % 3 : n % 3 + 2]) for n in range(10)))
    live.publish(ad("bad", [live.host.url("missing.jpg"), urls[0]]))
    live.publish(ad("worse", [live.host.url("missing.jpg")]), ad("none", []), ad("gone", urls[:1]))
    live.publish(ad("gone", [], revision=2, kind="deleted"))
    live.publish(b"nonsense", b'{"schema": 2}', key=None)


def test_the_figures_match_the_tables(live: Live, gateway: LiveGateway) -> None:
    """Counts are equal, and percentiles are within the width of a bucket."""
    publish(live)
    live.drain()
    live.publish(ad("late", [live.photo("late.jpg", jpeg(noisy(40, 30, 9)))]))
    live.drain(run_id="another")
    found = statistics(gateway)

    timings = live.rows(
        "SELECT extract(epoch FROM committed_at - kafka_at)::float8 * 1000, "
        "fetch_ms, photos_ms, queued_ms, embed_ms, predict_ms FROM lalafo.stage_timings"
    )
    assert len(timings) == 16, "the deleted ad has two revisions"
    assert found["totals"]["ads"] == len(timings)
    assert found["totals"]["events"] == 18
    failures = dict(live.rows("SELECT reason, count(*) FROM lalafo.failures GROUP BY 1"))
    assert found["failures"] == failures and sum(failures.values()) == 4
    assert found["totals"]["failures"] == 4
    statuses = Counter(dict(live.rows("SELECT status, count(*) FROM lalafo.ads GROUP BY 1")))
    assert Counter(found["statuses"]) == statuses + Counter(scored=1), "`gone` was scored before"
    labels = dict(live.rows("SELECT label, count(*) FROM lalafo.predictions GROUP BY 1"))
    assert sum(found["labels"]["category"].values()) == sum(labels.values()) + 1
    assert set(found["labels"]) == {"category"}

    assert "total" not in found["latencies"], "every ad was published before its session began"
    shown_by_stage = found["latencies"] | {"total": found["waited_for_session"]}
    for stage, exact in zip(("total", *STAGES), np.array(timings, dtype=float).T, strict=True):
        shown = shown_by_stage[stage]
        assert shown["ads"] == len(timings)
        for name, share in (("p50_ms", 50), ("p90_ms", 90), ("p99_ms", 99)):
            expected = float(np.percentile(exact, share))
            assert abs(shown[name] - expected) <= (RATIO - 1) * expected + 1.01, (stage, name)


def test_ads_that_waited_for_a_session_are_left_out(live: Live, gateway: LiveGateway) -> None:
    """Those published before the session began are counted apart, and marked in their timings."""
    url = live.photo("a.jpg", jpeg(noisy(40, 30, 1)))
    live.publish(*(ad(f"early-{n}", [url]) for n in range(3)))
    with Working(live) as working:
        until(lambda: live.rows("SELECT count(*) FROM lalafo.ads") == [(3,)])
        live.publish(*(ad(f"late-{n}", [url]) for n in range(2)))
        until(lambda: live.rows("SELECT count(*) FROM lalafo.ads") == [(5,)])
        assert working.error is None
    found = statistics(gateway)
    assert found["totals"]["ads"] == 5
    assert found["latencies"]["total"]["ads"] == 2
    assert found["waited_for_session"]["ads"] == 3
    assert found["latencies"]["embed"]["ads"] == 5, "what a stage takes does not depend on it"
    ((late_ms,),) = live.rows(
        "SELECT max(extract(epoch FROM committed_at - kafka_at)::float8 * 1000) "
        "FROM lalafo.stage_timings WHERE NOT waited_for_session"
    )
    assert max(one["p99_ms"] or 0 for one in found["series"]) <= RATIO * late_ms + 1.01
    assert live.rows(
        "SELECT ad_id FROM lalafo.stage_timings WHERE waited_for_session ORDER BY 1"
    ) == [(f"early-{n}",) for n in range(3)]


def test_the_series_has_every_minute_of_the_window(live: Live, gateway: LiveGateway) -> None:
    """Including minutes without ads, and none before the window."""
    add_minute(live.database, ago=2, scored=3)
    add_minute(live.database, ago=2, scored=4, run_id="other")
    add_minute(live.database, ago=9, scored=100)
    found = statistics(gateway, minutes=5)
    series = found["series"]
    begins = [datetime.fromisoformat(one["minute"]) for one in series]
    assert np.diff(begins).tolist() == [timedelta(minutes=1)] * 4
    assert datetime.fromisoformat(found["at"]) - begins[-1] < timedelta(minutes=1)
    # A minute may have begun since the rows were written.
    assert [one["ads"] for one in series] in ([0, 0, 7, 0, 0], [0, 7, 0, 0, 0])
    (busy,) = (one for one in series if one["ads"])
    assert busy["p50_ms"] == pytest.approx(100, rel=0.12) and busy["photos"] == 14
    assert all(one["p50_ms"] is None for one in series if one["ads"] == 0)
    assert found["totals"]["ads"] == 7


def add_minute(database: Database, *, ago: int, scored: int, run_id: str = "run") -> None:
    """Write the figures of a minute with `scored` ads, at 100 ms each."""
    with database.cursor() as cursor:
        cursor.execute(
            "INSERT INTO lalafo.stream_minutes "
            "(minute, run_id, events, photos, statuses, labels, failures, latencies) VALUES "
            "(date_trunc('minute', now()) - make_interval(mins => %s), %s, %s, %s, "
            "jsonb_build_object('scored', %s::int), '{}', '{}', "
            "jsonb_build_object('total', jsonb_build_object('41', %s::int)))",
            (ago, run_id, scored, 2 * scored, scored, scored),
        )


def test_only_the_most_frequent_labels_are_returned(live: Live, gateway: LiveGateway) -> None:
    """For every task, also for one that the code does not know."""
    with live.database.cursor() as cursor:
        cursor.execute(
            "INSERT INTO lalafo.stream_minutes "
            "(minute, run_id, events, photos, statuses, labels, failures, latencies) "
            "SELECT date_trunc('minute', now()), 'run', 0, 0, '{}', "
            "jsonb_build_object('mood', jsonb_object_agg('m' || n, n)), '{}', '{}' "
            "FROM generate_series(1, 30) AS n"
        )
    labels = statistics(gateway)["labels"]["mood"]
    assert list(labels.items()) == [(f"m{n}", n) for n in range(30, 10, -1)]


def test_backlogs_are_returned(live: Live, gateway: LiveGateway) -> None:
    """Events in Kafka, records in the outbox, and accepted ads."""
    publish(live)
    until(lambda: (statistics(gateway)["lag"] or {}).get("events") == 17)
    with live.database.cursor() as cursor:
        cursor.execute(
            "INSERT INTO lalafo.outbox (topic, key, value, created_at) "
            "SELECT 'nowhere', 'k', 'v', now() - interval '4 seconds' FROM generate_series(1, 2)"
        )
        cursor.execute(
            "INSERT INTO lalafo.accepted_ads (catalog, ad_id, revision, event, digest, "
            "accepted_by, accepted_at) SELECT 'kg', id, revision, '{}', '', 'k', "
            "now() - interval '7 seconds' FROM (VALUES ('00', 1), ('01', 2), ('unheard', 1)) "
            "AS v (id, revision)"
        )
    live.drain()
    # The relay may have published the two rows already.
    until(lambda: (statistics(gateway)["lag"] or {}).get("events") == 0)
    found = statistics(gateway)
    assert {one["partition"] for one in found["lag"]["partitions"]} == {0, 1, 2, 3}
    assert sum(one["committed"] or 0 for one in found["lag"]["partitions"]) == 17
    assert found["accepted"]["waiting"] == 2 and not found["accepted"]["at_least"]
    assert found["accepted"]["oldest_s"] >= 7
    assert found["outbox"]["waiting"] in (0, 2)


def test_the_outbox_is_counted_up_to_a_maximum(live: Live) -> None:
    """An outage of hours must not make the statistics slow too."""
    database = live.database
    with database.cursor() as cursor:
        cursor.execute(
            "INSERT INTO lalafo.outbox (topic, value, created_at) "
            "SELECT 't', '', now() - make_interval(secs => 100 - n) FROM generate_series(1, 30) n"
        )
    with database.cursor() as cursor:
        few = queries.read_backlog(cursor, queries.OUTBOX, 20)
        all_of_them = queries.read_backlog(cursor, queries.OUTBOX, 50)
    assert (few.waiting, few.at_least) == (20, True)
    assert (all_of_them.waiting, all_of_them.at_least) == (30, False)
    assert few.oldest_s is not None and few.oldest_s == pytest.approx(99, abs=5)


def test_sessions_and_releases_are_returned(live: Live, gateway: LiveGateway) -> None:
    """The running sessions, their partitions, and the progress of the next release."""
    live.publish(*(ad(f"{n:02}", [live.photo(f"{n}.jpg", jpeg(noisy(40, 30, n)))]) for n in (1, 2)))
    with Working(live, run_id="at-work") as working:
        working.wait_for(2)
        until(lambda: [len(one["releases"]) for one in statistics(gateway)["sessions"]] == [1])
        (session,) = statistics(gateway)["sessions"]
        assert session["state"] == "ready"
        assert session["run"] == {"id": "at-work", "url": "http://dagster.example/runs/at-work"}
        assert session["partitions"] == len(working.partitions)
    name = judged(live.database, live.settings, random_release(1))
    propose(live.database, name)
    known = find_release(live.database, name)
    row = request(live.database, known, requested_by="a test", any_time=True)
    with starting(live.database, row):
        pass
    until(lambda: len(statistics(gateway)["releases"]) == 2)
    now, then = statistics(gateway)["releases"]
    assert (now["role"], now["days_unscored"], now["rescore"]) == ("live", 0, None)
    assert (then["role"], then["release"]["id"], then["days_unscored"]) == ("candidate", name, 1)
    assert then["rescore"]["state"] == "running" and then["rescore"]["remaining_s"] is None
    rescore(live.database, live.settings, name)
    until(lambda: statistics(gateway)["releases"][1]["days_unscored"] == 0)
    then = statistics(gateway)["releases"][1]
    assert then["rescore"]["days_done"] == 1 and then["rescore"]["remaining_s"] == 0
    assert statistics(gateway)["sessions"] == []


def test_without_a_broker_only_the_lag_is_missing(live: Live) -> None:
    changes = {"gateway_auth": "off", "kafka_bootstrap": "127.0.0.1:9"}
    with live_gateway(live.settings.model_copy(update=changes)) as gateway:
        found = statistics(gateway)
    assert found["lag"] is None and len(found["releases"]) == 1


def test_a_key_for_some_catalogs_gets_no_statistics(live: Live) -> None:
    some = make(live.database, "some", scopes=["read"], catalogs=["kg"]).text
    every = make(live.database, "every", scopes=["read"]).text
    with live_gateway(live.settings) as gateway:
        url = f"{gateway.url}/v1/statistics"
        refused = httpx.get(url, headers={"Authorization": f"Bearer {some}"})
        assert (refused.status_code, refused.json()["type"]) == (
            403,
            "urn:lalafo:problem:other_catalog",
        )
        assert httpx.get(url, headers={"Authorization": f"Bearer {every}"}).status_code == 200
        assert httpx.get(url).status_code == 401


@pytest.mark.parametrize("minutes", ["0", "1441", "x", ""])
def test_a_window_has_limits(live: Live, gateway: LiveGateway, minutes: str) -> None:
    answer = httpx.get(f"{gateway.url}/v1/statistics?minutes={minutes}")
    assert answer.status_code == 422


def test_the_cost_does_not_grow_with_the_ads(live: Live) -> None:
    """Tables that grow with the ads are read by key for a limited number of rows, or not at all."""
    with live.database.cursor() as cursor:
        many_ads(cursor, 20_000)
        cursor.execute("ANALYZE lalafo.ads, lalafo.accepted_ads")
        moment = datetime.now(UTC)
        values = {
            "MINUTES": {"since": moment - timedelta(hours=1), "until": moment},
            "OFFSETS": {"stream_id": "s", "topic": "ads"},
            "OUTBOX": {"most": 10_000},
            "ACCEPTED": {"most": 1_000},
            "SESSIONS": {"topic": "ads"},
            "RELEASES": {},
        }
        statements = {**vars(queries), "OFFSETS": OFFSETS}
        executed = {}
        for name, parameters in values.items():
            cursor.execute(f"EXPLAIN (ANALYZE, FORMAT JSON) {statements[name]}", parameters)
            ((plan,),) = cursor.fetchall()
            executed[name] = list(scans(plan[0]["Plan"]))
    tables = {name: {table for table, _, _ in rows} for name, rows in executed.items()}
    assert tables == {
        "MINUTES": {"stream_minutes"},
        "OFFSETS": {"stream_offsets"},
        "OUTBOX": {"outbox"},
        "ACCEPTED": {"accepted_ads", "ads"},
        "SESSIONS": {"sessions", "leases"},
        "RELEASES": {"active_releases", "rescores", "release_days"},
    }
    assert sorted(executed["ACCEPTED"]) == [
        ("accepted_ads", "accepted_ads_accepted_at_idx", 1_000),
        ("ads", "ads_pkey", 1_000),
    ]


def many_ads(cursor: psycopg.Cursor, count: int) -> None:
    """Write `count` committed ads, each with its row in `accepted_ads`."""
    cursor.execute(
        "INSERT INTO lalafo.ads (catalog, ad_id, revision, day, status, title, description, "
        "event_id, occurred_at, kafka_at, received_at, stream_id, topic, partition, "
        "\"offset\", run_id) SELECT 'kg', n, 1, '2026-05-01', 'scored', '', '', n, at, at, at, "
        "'s', 'ads', 0, n, 'r' FROM (SELECT n, timestamptz '2026-05-01 00:00+00' "
        "+ n * interval '1 second' AS at FROM generate_series(1, %s) AS n) AS numbered",
        (count,),
    )
    cursor.execute(
        "INSERT INTO lalafo.accepted_ads (catalog, ad_id, revision, event, digest, accepted_by, "
        "accepted_at) SELECT catalog, ad_id, revision, '{}', '', 'k', received_at FROM lalafo.ads"
    )


def scans(plan: dict[str, Any]) -> Iterator[tuple[str, str, float]]:
    """The scans of an executed plan: table, index (empty: none) and number of rows."""
    if "Relation Name" in plan:
        rows = plan["Actual Rows"] * plan["Actual Loops"]
        yield plan["Relation Name"], plan.get("Index Name", ""), rows
    for below in plan.get("Plans", ()):
        yield from scans(below)
