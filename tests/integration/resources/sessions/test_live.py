"""A session with real parts: ads arrive through Kafka, and categories are written to PostgreSQL.

Every test runs on the embedded broker and on Apache Kafka.
"""

import hashlib
from itertools import count, islice

import numpy as np
import pytest

from lalafo_assets.demo.bad_photos import corrupt_photos
from resources.kafka.dead_letter_replay import DeadLetterFilter, find, latest, replay
from resources.sessions.group.leases import read_leases
from resources.sessions.offsets import read_offsets
from tests.support.live_session import Live, ad
from tests.support.odd_photos import jpeg, noisy
from tests.support.random_release import LABELS, random_release
from tests.support.working_sessions import Working, until


def photo_bytes(seed: int) -> bytes:
    return jpeg(noisy(80, 60, seed))


def test_ads_come_out_scored(live: Live) -> None:
    """Each ad has a category of the release, each photo has a unit vector, each row has its run."""
    urls = [live.photo(f"{n}.jpg", photo_bytes(n)) for n in range(6)]
    live.publish(*(ad(str(n), urls[2 * n : 2 * n + 2]) for n in range(3)))
    total, _ = live.drain()
    assert (total.events, total.written, total.photos, total.photos_failed) == (3, 3, 6, 0)
    assert total.unaccounted == 0
    found = live.rows("SELECT ad_id, label, score, run_id FROM lalafo.predictions ORDER BY 1")
    assert [row[0] for row in found] == ["0", "1", "2"]
    assert all(label in LABELS and 0 < score <= 1 for _, label, score, _ in found)
    norms = live.rows("SELECT l2_norm(embedding) FROM lalafo.embeddings")
    assert len(norms) == 6
    assert np.allclose([norm for (norm,) in norms], 1, atol=2e-3)
    assert {row[3] for row in found} == {"run-1"}
    stream_id, topic = live.stream.stream_id(), live.settings.ads_topic
    committed = read_offsets(live.database, stream_id, topic)
    ends = {p: end for p, end in live.stream.end_offsets().items() if end > 0}
    assert committed == ends
    assert not any(
        lease.alive for lease in read_leases(live.database, stream_id, topic).values()
    ), "the session released its leases"


def test_each_bad_record_is_a_dead_letter_and_nothing_else_stops(live: Live) -> None:
    """Good ads are scored; bad records are in `failures` and on the DLQ, with all their bytes."""
    url = live.photo("good.jpg", photo_bytes(1))
    poison = [
        b"not json",
        ad("b1", [url], schema=9),
        ad("b2", [url], revision="seven"),
        ad("b3", [url] * 10_000),
        ad("b4", [url], title="x" * 900_000),
        {name: value for name, value in ad("b5", [url]).items() if name != "ad_id"},
        ad("b6", [url], photos="none"),
        b"",
    ]
    for index, bad in enumerate(poison):
        live.publish(ad(f"good-{index}", [url]))
        live.publish(bad, key=f"kg/b{index}".encode() if isinstance(bad, bytes) else b"")
    total, _ = live.drain()
    assert total.written == len(poison)
    assert sum(total.dead_letters.values()) == len(poison)
    assert total.unaccounted == 0
    rows = live.rows(
        'SELECT reason, topic, partition, "offset", original FROM lalafo.failures '
        "WHERE kind = 'event'"
    )
    assert sorted(row[0] for row in rows) == sorted(
        [
            *("event_not_json", "event_unknown_schema", "event_bad_revision"),
            *("event_too_many_photos", "event_text_too_long", "event_missing_field"),
            *("event_wrong_type", "event_empty"),
        ]
    )
    dlq = live.settings.dlq_topic
    with live.stream.consumer(dlq) as consumer:
        consumer.assign(dict.fromkeys(live.stream.partitions(dlq), 0))
        letters = []
        while len(letters) < len(poison):
            letters += consumer.poll(max_records=100, timeout_s=5)
    on_topic = {}
    for letter in letters:
        headers = dict(letter.headers)
        place = (headers["topic"].decode(), int(headers["partition"]), int(headers["offset"]))
        on_topic[place] = (headers["reason"].decode(), letter.value or b"")
    in_table = {(row[1], row[2], row[3]): (row[0], bytes(row[4] or b"")) for row in rows}
    assert on_topic == in_table


def test_a_dead_letter_keeps_the_headers_of_its_record(live: Live) -> None:
    """In the row and on the topic; a replay of it has them again."""
    headers = [("traceparent", b"00-ab"), ("reason", b"mine"), ("raw", b"\xff\x00")]
    with live.stream.publisher() as publisher:
        publisher.publish(live.stream.config.ads_topic, b"kg/1", b"not json", headers).result(10)
    live.drain()
    letter = find(live.database, live.rows("SELECT subject FROM lalafo.failures")[0][0])
    assert list(letter.headers) == headers
    with live.stream.publisher() as publisher:
        assert replay(live.database, publisher, live.stream.config.ads_topic, [letter]).sent == 1
    live.drain()
    (again,) = (
        it for it in latest(live.database, DeadLetterFilter(), 2) if it.subject != letter.subject
    )
    assert list(again.headers) == [*headers, ("lalafo-replay-of", letter.subject.encode())]
    assert again.replay_headers == (*headers, ("lalafo-replay-of", again.subject.encode()))


def test_a_bad_photo_fails_alone(live: Live) -> None:
    """A refused, slow, missing, huge or corrupt photo is one failure; its ad is scored."""
    good = live.photo("good.jpg", photo_bytes(2))
    bad = {name: live.photo(name, data) for name, data in corrupt_photos().items()}
    bad["missing"] = live.host.url("gone.jpg", path="missing")
    bad["loop"] = live.host.url("round.jpg", path="loop")
    bad["drips"] = live.host.url("good.jpg", path="slow")
    bad["ftp"] = "ftp://127.0.0.1/x.jpg"
    live.publish(*(ad(name, [good, url]) for name, url in bad.items()))
    live.publish(ad("all-bad", list(bad.values())[:3]))
    total, _ = live.drain()
    assert total.written == len(bad) + 1
    assert dict(live.rows("SELECT status, count(*) FROM lalafo.ads GROUP BY 1")) == {
        "scored": len(bad),
        "unscored": 1,
    }
    reasons = dict(
        live.rows(
            "SELECT ad_id, reason FROM lalafo.failures WHERE kind = 'photo' AND ad_id <> 'all-bad'"
        )
    )
    assert set(reasons) == set(bad), "every bad photo has its row"
    expected = {
        "empty.jpg": "photo_empty",
        "page.jpg": "fetch_not_a_photo",
        "lying.jpg": "photo_too_large",
        "truncated.jpg": "photo_truncated",
        "missing": "fetch_not_found",
        "loop": "fetch_too_many_redirects",
        "drips": "fetch_timeout",
        "ftp": "fetch_bad_url",
    }
    assert {name: reasons[name] for name in expected} == expected
    assert live.rows("SELECT count(*) FROM lalafo.predictions") == [(len(bad),)]


def test_a_second_session_continues_where_the_first_ended(live: Live) -> None:
    """Offsets are stored in PostgreSQL: no event is read twice, and none is skipped."""
    url = live.photo("a.jpg", photo_bytes(3))
    live.publish(*(ad(str(n), [url]) for n in range(5)))
    first, _ = live.drain(run_id="run-1")
    live.publish(*(ad(str(n), [url]) for n in range(5, 9)))
    second, _ = live.drain(run_id="run-2")
    assert (first.events, second.events) == (5, 4)
    found = dict(live.rows("SELECT run_id, count(*) FROM lalafo.ads GROUP BY 1"))
    assert found == {"run-1": 5, "run-2": 4}
    assert second.embedded == 0, "a photo that ads share is embedded once"


def test_updates_and_deletes_end_at_the_highest_revision(live: Live) -> None:
    """Interleaved, repeated and late events of one ad result in its highest revision."""
    urls = [live.photo(f"{n}.jpg", photo_bytes(n)) for n in range(4)]
    live.publish(
        ad("1", urls[:1], revision=1),
        ad("1", urls[:3], revision=3),
        ad("2", urls[:2], revision=1),
        ad("1", urls[:2], revision=2),
        ad("2", [], revision=2, kind="deleted"),
        ad("1", urls[:3], revision=3),
    )
    live.drain()
    live.publish(ad("2", urls, revision=1), ad("1", urls, revision=2))
    total, _ = live.drain(run_id="run-2")
    assert (total.written, total.unchanged) == (0, 2)
    found = live.rows("SELECT ad_id, revision, status FROM lalafo.ads ORDER BY 1")
    assert found == [("1", 3, "scored"), ("2", 2, "deleted")]
    assert live.rows("SELECT ad_id, count(*) FROM lalafo.ad_photos GROUP BY 1") == [("1", 3)]
    assert live.rows("SELECT ad_id, revision FROM lalafo.predictions") == [("1", 3)]


def test_a_photo_may_be_referenced_by_its_sha256(live: Live) -> None:
    """A stored photo is reused without a URL; an unknown one is a failure."""
    data = photo_bytes(5)
    live.publish(ad("1", [live.photo("a.jpg", data)]))
    live.drain()
    known = {"sha256": hashlib.sha256(data).hexdigest()}
    live.publish(ad("2", [], photos=[known, {"sha256": "ab" * 32}]))
    live.drain(run_id="run-2")
    found = live.rows("SELECT reason FROM lalafo.ad_photos WHERE ad_id = '2' ORDER BY position")
    assert found == [(None,), ("fetch_unknown_sha256",)]


def test_a_session_follows_an_activated_release(live: Live) -> None:
    """Ads scored after the change have the new release; the photo is embedded once."""
    url = live.photo("a.jpg", photo_bytes(6))
    live.publish(ad("1", [url]))
    live.drain()
    other = live.make_live(random_release(seed=1))
    live.publish(ad("2", [url]))
    total, _ = live.drain(run_id="run-2")
    assert total.embedded == 0, "a head-only release shares its backbone's embeddings"
    assert live.rows("SELECT release FROM lalafo.predictions WHERE ad_id = '2'") == [(other,)]


def test_a_running_session_follows_another_backbone(live: Live) -> None:
    """The next model is loaded beside the active one: no ad is lost, none has two releases."""
    urls = [live.photo(f"{n}.jpg", photo_bytes(n)) for n in range(8)]
    (before,) = live.rows("SELECT live FROM lalafo.active_releases")
    other = random_release(backbone_seed=1)
    with Working(live) as worker:
        live.publish(*(ad(str(n), [urls[n % 8]]) for n in range(40)))
        worker.wait_for(40)
        live.publish(*(ad(str(n), [urls[n % 8]]) for n in range(40, 240)))
        after = live.make_live(other)
        live.publish(*(ad(str(n), [urls[n % 8]]) for n in range(240, 300)))
        worker.wait_for(300)
    assert worker.error is None, worker.error
    found = live.rows("SELECT ad_id::int, release FROM lalafo.predictions")
    assert len(found) == len({number for number, _ in found}) == 300
    releases = dict(found)
    assert {releases[number] for number in range(40)} == {before[0]}
    assert {releases[number] for number in range(240, 300)} == {after}
    assert live.rows("SELECT count(*) FROM lalafo.embeddings GROUP BY backbone") == [(8,), (8,)]


def test_an_offset_outside_the_log_is_an_incident_without_loss(live: Live) -> None:
    """A log that ends before the committed offset is read from its beginning, and recorded."""
    url = live.photo("a.jpg", photo_bytes(7))
    live.publish(ad("1", [url]))
    partition = next(p for p, end in live.stream.end_offsets().items() if end > 0)
    with live.database.cursor() as cursor:
        cursor.execute(
            "INSERT INTO lalafo.stream_offsets (stream_id, topic, partition, next_offset, epoch, "
            "run_id) VALUES (%s, %s, %s, 500, 1, 'run-0')",
            (live.stream.stream_id(), live.settings.ads_topic, partition),
        )
    total, _ = live.drain()
    assert total.written == 1
    found = live.rows('SELECT kind, reason, "offset" FROM lalafo.failures')
    assert found == [("stream", "stream_offset_out_of_log", 500)]


def test_one_session_too_many_reads_nothing_and_ends(live: Live) -> None:
    """The first one keeps its partitions; the second one finds that it is not needed."""
    url = live.photo("a.jpg", photo_bytes(8))
    with Working(live, "one") as first:
        until(lambda: first.partitions == set(live.stream.partitions()))
        with Working(live, "two") as second:
            live.publish(*(ad(str(n), [url]) for n in range(4)))
            first.wait_for(4)
            until(lambda: second.ended)
        assert second.total is not None and second.total.events == 0
        assert first.partitions == set(live.stream.partitions())
    assert live.rows("SELECT DISTINCT run_id FROM lalafo.ads") == [("one",)]


def test_one_session_then_two_then_one(live: Live) -> None:
    """Partitions are shared and returned mid-stream: both write ads, each ad once, none lost."""
    urls = [live.photo(f"{n}.jpg", photo_bytes(n)) for n in range(4)]
    partitions = set(live.stream.partitions())
    numbers = count()

    def publish(ads: int) -> None:
        live.publish(*(ad(str(n), [urls[n % 4]]) for n in islice(numbers, ads)))

    with Working(live, "one", sessions=2) as first:
        publish(20)
        until(lambda: first.partitions == partitions)
        with Working(live, "two", sessions=2) as second:
            publish(20)
            until(lambda: second.checked().partitions and first.checked().partitions)
            assert not first.partitions & second.partitions
            publish(40)
            first.wait_for(80)
        assert second.error is None
        publish(20)
        first.wait_for(100)
        until(lambda: first.partitions == partitions)
    assert first.total is not None and second.total is not None
    assert first.total.unaccounted == second.total.unaccounted == 0
    assert (first.total.written + second.total.written) == 100, "an ad was written twice"
    found = dict(live.rows("SELECT run_id, count(*) FROM lalafo.predictions GROUP BY 1"))
    assert sum(found.values()) == 100 and set(found) == {"one", "two"}
    committed = read_offsets(live.database, live.stream.stream_id(), live.settings.ads_topic)
    assert committed == {p: end for p, end in live.stream.end_offsets().items() if end > 0}


@pytest.mark.parametrize("name", ["database_url", "kafka_bootstrap"])
def test_a_missing_setting_is_named(name: str, live: Live) -> None:
    """The error is one line that names the setting."""
    from ops.errors import ConfigurationError

    settings = live.settings.model_copy(update={name: ""})
    with pytest.raises(ConfigurationError, match=f"LALAFO_{name.upper()} is not set"):
        settings.require(name)
