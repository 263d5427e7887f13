"""Faults of PostgreSQL under a gateway: 503 while it can't write, and at once as before after."""

import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path

import httpx
import pytest

from resources.embedded.postgres import EmbeddedPostgres
from resources.postgres.database import Database
from resources.settings import Settings
from tests.support.database_faults import Faults, full, small_disk
from tests.support.gateway_live import live_gateway
from tests.support.working_sessions import until

ANSWERS_WITHIN_S = 10.0  # a request that hangs fails here; it is answered in a third of it


@pytest.fixture
def faults(home: Path) -> Iterator[Faults]:
    """A migrated server of the test's own."""
    server = EmbeddedPostgres(home, overrides={"fsync": "off"})
    server.start()
    with closing(Database(server.url())) as database:
        database.migrate()
    yield Faults(server)
    server.stop()


class Gateway:
    """A gateway's requests, and what became of them."""

    def __init__(self, url: str) -> None:
        self.client = httpx.Client(base_url=url, timeout=ANSWERS_WITHIN_S)
        self.ads = 0

    def post(self) -> httpx.Response:
        self.ads += 1
        body = {"catalog": "kg", "ad_id": str(self.ads), "title": "a" * 900}
        return self.client.post("/v1/ads", json=body)

    def read(self) -> int:
        return self.client.get("/v1/ads/kg/1").status_code

    def ready(self) -> tuple[int, str]:
        answer = self.client.get("/readyz")
        return answer.status_code, answer.json()["checks"]["postgresql"]["found"]

    def statistics(self) -> int:
        return self.client.get("/v1/statistics").status_code


@contextmanager
def gateway(url: str, home: Path, **changes: object) -> Iterator[Gateway]:
    settings = Settings.model_validate(
        {"home": home, "database_url": url, "gateway_auth": "off", "kafka_bootstrap": "", **changes}
    )
    with live_gateway(settings) as live:
        client = Gateway(live.url)
        with closing(client.client):
            assert client.post().status_code == 202
            yield client


def check_unavailable(answer: httpx.Response) -> None:
    """The caller learns that it may send the request again, and nothing of the server."""
    assert (answer.status_code, answer.json()["type"]) == (503, "urn:lalafo:problem:unavailable")
    assert int(answer.headers["Retry-After"]) > 0


def test_a_read_only_server(faults: Faults, tmp_path: Path) -> None:
    """Writes get 503 and reads go on; the first write after it is accepted, although the pooled
    connections would have stayed read-only."""
    with gateway(faults.server.url(), tmp_path, gateway_connections=4) as gate:
        faults.make_read_only()
        for _ in range(6):
            check_unavailable(gate.post())
        assert gate.read() == 200
        assert gate.statistics() == 200
        until(
            lambda: (
                gate.ready() == (503, "is read-only: it is a standby, or a failover is under way")
            )
        )
        faults.make_writable()
        assert [gate.post().status_code for _ in range(6)] == [202] * 6
        until(lambda: gate.ready()[0] == 200)


def test_terminated_backends(faults: Faults, tmp_path: Path) -> None:
    """No request fails, and the gateway is never reported as not ready."""
    with gateway(faults.server.url(), tmp_path) as gate:
        for _ in range(10):
            faults.terminate()
            assert gate.post().status_code == 202
            faults.terminate()
            assert gate.read() == 200
            faults.terminate()
            assert gate.statistics() == 200
            faults.terminate()
            assert gate.ready()[0] == 200


def test_backends_that_are_terminated_under_load(faults: Faults, tmp_path: Path) -> None:
    """Requests in progress lose their connection too: they are tried once more, and each ad is
    accepted once, although the answer to its commit may have been lost."""
    statuses: Counter[tuple[str, int]] = Counter()
    rounds: Counter[int] = Counter()  # by worker
    with gateway(faults.server.url(), tmp_path, requests_at_once=1000) as gate:
        ended = threading.Event()

        def work(number: int) -> None:
            own = Gateway(str(gate.client.base_url))
            own.ads = number * 1_000_000
            with closing(own.client):
                while not ended.is_set():
                    statuses["read", own.read()] += 1
                    statuses["post", own.post().status_code] += 1
                    rounds[number] += 1

        workers = [threading.Thread(target=work, args=(number,)) for number in range(1, 5)]
        for worker in workers:
            worker.start()
        for _ in range(20):
            before = Counter(rounds)
            faults.terminate()
            # The next one comes once all have gone on: a request is repeated once, not twice.
            until(lambda before=before: all(rounds[n] >= before[n] + 2 for n in range(1, 5)))
        ended.set()
        for worker in workers:
            worker.join()
    assert statuses.keys() == {("read", 200), ("post", 202)}, statuses
    with closing(Database(faults.server.url())) as database, database.cursor() as cursor:
        cursor.execute("SELECT count(*), count(DISTINCT key) FROM lalafo.outbox")
        accepted = statuses["post", 202] + 1
        assert cursor.fetchall() == [(accepted, accepted)]


def test_its_connections_are_bounded_and_counted(faults: Faults, tmp_path: Path) -> None:
    """The pool and three more, however many requests come; the metric is what the server sees."""
    with gateway(
        faults.server.url(), tmp_path, gateway_connections=4, requests_at_once=1000
    ) as gate:
        with ThreadPoolExecutor(24) as callers:
            assert set(callers.map(lambda _: gate.read(), range(400))) == {200}
        assert gate.statistics() == 200
        assert 2 < faults.connections() <= 4 + 3

        def counted() -> int:
            text = gate.client.get("/metrics").text
            name = "lalafo_gateway_database_connections "
            (line,) = (line for line in text.splitlines() if line.startswith(name))
            return int(float(line.removeprefix(name)))

        until(lambda: counted() == faults.connections())


def test_a_frozen_server(faults: Faults, tmp_path: Path) -> None:
    """Every request is answered, although the server says nothing; nothing has to be restarted."""
    with gateway(faults.server.url(), tmp_path) as gate:
        with faults.frozen():
            assert gate.ready() == (503, "does not respond")
            assert gate.statistics() == 503
            check_unavailable(gate.post())
            assert gate.read() == 503
            assert gate.ready() == (503, "does not respond")
        until(lambda: gate.ready()[0] == 200)
        assert (gate.post().status_code, gate.read(), gate.statistics()) == (202, 200, 200)


def test_no_free_connection(faults: Faults, tmp_path: Path) -> None:
    """The server refuses every new connection: 503, and then as before."""
    with gateway(faults.limited_url(), tmp_path) as gate:
        with faults.no_free_connection():
            check_unavailable(gate.post())
            assert gate.ready() == (503, "does not respond")
        until(lambda: gate.ready()[0] == 200)
        assert gate.post().status_code == 202


def test_a_full_disk(faults: Faults, tmp_path: Path) -> None:
    """Not ready as soon as no row can be stored, although every read works."""
    with small_disk(faults.server) as disk, gateway(faults.server.url(), tmp_path) as gate:
        with full(disk):
            until(lambda: gate.post().status_code == 503)
            check_unavailable(gate.post())
            until(lambda: gate.ready() == (503, "has no space left on its disk"))
            assert gate.read() == 200
        until(lambda: gate.ready()[0] == 200)
        assert gate.post().status_code == 202
