"""`lalafo bench gateway`: its requests and their rate, how it reads results, and its peer."""

import asyncio
import json
import shutil
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path

import pytest
from typer.testing import CliRunner

from gateway.schemas.ads import AdIn
from lalafo_assets.bench.gateway.fill import check_disk_space
from lalafo_assets.bench.gateway.lookup import reject_seq_scans
from lalafo_assets.bench.gateway.tornado_peer import start_peer
from lalafo_assets.bench.gateway.wrk import Load, Request, read_result, run_load
from lalafo_assets.bench.gateway.wrk_requests import (
    SPARE,
    accept_requests,
    peer_requests,
    read_requests,
    requests_needed,
    wait_requests,
)
from lalafo_assets.bench.harness.ads import PlannedAd
from lalafo_assets.bench.harness.photo_server import start_photo_server
from lalafo_assets.bench.harness.photos import bench_photos
from lalafo_assets.cli import app
from ops.errors import ConfigurationError, LalafoError

needs_wrk = pytest.mark.skipif(shutil.which("wrk") is None, reason="no wrk on the PATH")

ADS = [PlannedAd("a", ("1.jpg", "2.jpg"), 0.0), PlannedAd("b", ("3.jpg",), 0.1)]
RESULT = {
    **{"seconds": 2.0, "sent": 11, "answered": 10, "matched": 9, "statuses": {"202": 10}},
    **{"p50_ms": 1.5, "p90_ms": 2.0, "p99_ms": 3.0, "max_ms": 4.0, "late_p99_ms": 1.0},
    **{"connection_errors": 0, "timed_out": 0, "first_error": ""},
}


def test_posted_ads_are_distinct_and_valid():
    requests = list(accept_requests(50, prefix="x"))
    ads = [AdIn.model_validate_json(request.body) for request in requests]
    assert len({ad.ad_id for ad in ads}) == 50
    assert all(len(ad.photos) == 2 for ad in ads)
    assert {(r.method, r.path) for r in requests} == {("POST", "/v1/ads")}


def test_the_gateway_and_the_peer_get_the_same_photos():
    gateway = [json.loads(r.body) for r in wait_requests(ADS, host="http://h", prefix="r")]
    peer = [json.loads(r.body) for r in peer_requests(ADS, host="http://h")]
    assert [[photo["url"] for photo in ad["photos"]] for ad in gateway] == [
        ad["photos"] for ad in peer
    ]
    assert peer[0]["photos"] == ["http://h/1.jpg", "http://h/2.jpg"]
    for ad in gateway:
        AdIn.model_validate(ad)


def test_reads_are_of_ads_that_exist():
    requests = list(read_requests(["a", "b/c"], 40))
    assert {r.path for r in requests} == {"/v1/ads/bench/a", "/v1/ads/bench/b/c"}
    assert requests == list(read_requests(["a", "b/c"], 40)), "the same at every call"


@pytest.mark.parametrize(("rate", "seconds"), [(20, 3), (200, 20)])
def test_no_request_is_sent_twice(rate: float, seconds: int):
    assert requests_needed(rate, seconds) >= rate * seconds * SPARE


def test_a_line_holds_one_request():
    """A tab or newline in a field is refused, because it would change the request."""
    assert Request("GET", "/a").line() == "GET\t/a\t\n"
    with pytest.raises(AssertionError):
        Request("POST", "/a", "one\ntwo").line()


def test_wrk_output_is_read_by_its_last_line():
    load = read_result(f"Running 2s test\nLatency 1ms\n{json.dumps(RESULT)}\n")
    assert (load.rate, load.share(load.matched)) == (5.0, 0.9)
    with pytest.raises(LalafoError, match="no such host"):
        read_result("", "no such host")


def test_an_unexpected_answer_fails_the_load_with_its_text():
    assert Load(**RESULT).require(202) == Load(**RESULT)
    refused = Load(**{**RESULT, "statuses": {"202": 9, "429": 1}, "first_error": "429 too many"})
    with pytest.raises(LalafoError, match="429 too many"):
        refused.require(202)
    with pytest.raises(LalafoError, match="0 answered"):
        Load(**{**RESULT, "answered": 0, "statuses": {}}).require(202)
    with pytest.raises(LalafoError, match="3 connections failed"):
        Load(**{**RESULT, "connection_errors": 3}).require(202)


def test_a_plan_that_reads_a_whole_table_is_refused():
    index = {"Node Type": "Index Scan", "Relation Name": "ads"}
    reject_seq_scans("GET", {"Node Type": "Nested Loop", "Plans": [index]})
    scan = {"Node Type": "Seq Scan", "Relation Name": "ads"}
    with pytest.raises(LalafoError, match="plan of GET reads all of ads"):
        reject_seq_scans("GET", {"Node Type": "Nested Loop", "Plans": [index, scan]})


def test_too_little_disk_space_is_an_error_before_anything_starts(tmp_path: Path):
    check_disk_space(tmp_path, 1_000)
    with pytest.raises(ConfigurationError, match="TMPDIR"):
        check_disk_space(tmp_path, 10**12)


def test_an_unknown_part_is_a_wrong_use():
    result = CliRunner().invoke(app, ["bench", "gateway", "--only", "accept,nothing"])
    assert result.exit_code == 2
    assert "nothing" in result.output


@needs_wrk
def test_the_rate_does_not_depend_on_the_answers(tmp_path: Path):
    """An open loop: answers that take 50 ms do not slow arrivals, and are timed as 50 ms."""
    requests = [Request("POST", "/v1/ads", json.dumps({"n": n})) for n in range(400)]
    with slow_server(0.05, b'{"published":true}') as (url, bodies):
        load = run_load(
            *(url, requests),
            **{"rate": 100, "seconds": 2, "connections": 16, "folder": tmp_path},
            **{"expected_text": '"published":true', "api_key": "lv_secret"},
        )
    load.require(202)
    assert load.sent == pytest.approx(200, abs=20)
    assert load.matched == load.answered
    assert load.p50_ms >= 50
    assert sorted(bodies) == list(range(len(bodies))), "each once, in the file's order"


@needs_wrk
def test_without_an_idle_connection_the_delay_is_reported(tmp_path: Path):
    """Two connections can't send 100 requests a second of 100 ms each: `late_p99_ms` shows it."""
    with slow_server(0.1, b"{}") as (url, _):
        load = run_load(
            *(url, [Request("POST", "/", "{}")]),
            **{"rate": 100, "seconds": 2, "connections": 2, "folder": tmp_path},
        )
    assert load.rate < 30
    assert load.late_p99_ms > 500


@pytest.mark.slow
def test_the_peer_answers_with_a_category(tmp_path: Path):
    """The peer scores with the shipped release and fetches photos from the bench's host."""
    (tmp_path / "photos").mkdir()
    for number, data in enumerate(islice(bench_photos(3, folder=None), 3), 1):
        (tmp_path / "photos" / f"{number}.jpg").write_bytes(data)
    server, host = start_photo_server(tmp_path / "photos", log_file=tmp_path / "host.log")
    with server:
        worker, url = start_peer(mode="eager", log_file=tmp_path / "peer.log")
        with worker:
            answers = [post(url + r.path, r.body) for r in peer_requests(ADS, host=host)]
    assert [answer["status"] for answer in answers] == ["Success", "Success"]
    for answer in answers:
        top = answer["results"]["top"]
        assert [answer["results"]["category"], answer["results"]["score"]] == top[0]
        assert 0 < top[0][1] <= 1


def post(url: str, body: str) -> dict:
    request = urllib.request.Request(url, body.encode())
    with urllib.request.urlopen(request, timeout=30) as answer:
        return json.load(answer)


@contextmanager
def slow_server(takes_s: float, body: bytes) -> Iterator[tuple[str, list[int]]]:
    """A server that answers 202 after `takes_s`; yields its URL and the numbers `n` it received."""
    head = b"HTTP/1.1 202 Accepted\r\nContent-Length: %d\r\n\r\n" % len(body)
    received: list[int] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                headers = await reader.readuntil(b"\r\n\r\n")
                length = int(headers.lower().split(b"content-length:")[1].split(b"\r\n")[0])
                received.append(json.loads(await reader.readexactly(length)).get("n"))
                await asyncio.sleep(takes_s)
                writer.write(head + body)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    loop = asyncio.new_event_loop()
    server = loop.run_until_complete(asyncio.start_server(serve, "127.0.0.1", 0))
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", received
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        server.close()
        tasks = asyncio.all_tasks(loop)
        for task in tasks:
            task.cancel()
        loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
        loop.run_until_complete(asyncio.sleep(0))  # connections close in the next iteration
        loop.close()
