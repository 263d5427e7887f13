"""API keys of a live gateway, over HTTP and in PostgreSQL."""

import asyncio
import json
import logging
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import httpx
import pytest
from typer.testing import CliRunner

from gateway.backends.database import GatewayDatabase
from gateway.edge import auth, keys
from gateway.edge.auth import KeyRing
from gateway.edge.key_text import KeyText, new_key, read_key
from gateway.problems import Problem
from lalafo_assets.cli import app
from ops.errors import ConfigurationError
from resources.postgres.database import Database
from resources.settings import Settings
from tests.support.gateway_live import LiveGateway, live_gateway

ANY = "/v1/ads/kg/1"


def bearer(key: KeyText) -> dict[str, str]:
    return {"Authorization": f"Bearer {key.text}"}


def settings_of(database: Database, **changes: object) -> Settings:
    url = database.url.render_as_string(hide_password=False)
    return Settings.model_validate({"database_url": url, "kafka_bootstrap": "", **changes})


@asynccontextmanager
async def key_ring(
    database: Database, clock: Callable[[], float] = time.monotonic
) -> AsyncIterator[KeyRing]:
    settings = settings_of(database)
    async with (
        GatewayDatabase(settings.database_url, size=2) as pool,
        KeyRing(pool, settings, clock=clock) as ring,
    ):
        yield ring


@pytest.fixture
def gateway(database: Database, tmp_path) -> Iterator[LiveGateway]:
    with live_gateway(settings_of(database, home=tmp_path)) as running:
        yield running


def status_of(answer: httpx.Response) -> tuple[int, str]:
    kind = answer.json().get("type", "").rpartition(":")[2]
    return answer.status_code, kind


def test_a_request_without_a_key_is_refused_and_the_answer_says_how_to_send_one(
    gateway: LiveGateway,
):
    answer = httpx.get(gateway.url + ANY)
    assert status_of(answer) == (401, "no_key")
    assert answer.headers["www-authenticate"].startswith("Bearer")
    assert answer.headers["content-type"] == "application/problem+json"
    assert "Authorization: Bearer lv_" in answer.json()["detail"]


def test_a_key_is_known_in_either_header(gateway: LiveGateway, database: Database):
    key = keys.make(database, "shop", scopes=["read"])
    assert status_of(httpx.get(gateway.url + ANY, headers=bearer(key)))[0] == 404
    assert status_of(httpx.get(gateway.url + ANY, headers={"X-API-Key": key.text}))[0] == 404


@pytest.mark.parametrize(
    "authorization",
    [
        pytest.param(f"Bearer {new_key().text}", id="unknown key"),
        "Bearer lv_short_key",
        "Bearer",
        "Bearer \xff\xfe",
        "Basic c2hvcDpzZWNyZXQ=",
        "nothing",
    ],
)
def test_a_wrong_key_is_refused_and_not_repeated(gateway: LiveGateway, authorization: str):
    answer = httpx.get(
        gateway.url + ANY, headers=[(b"authorization", authorization.encode("latin-1"))]
    )
    assert answer.status_code == 401
    assert 'error="invalid_token"' in answer.headers["www-authenticate"]
    assert authorization[7:] == "" or authorization[7:] not in answer.text


def test_the_right_id_with_another_secret_reads_as_an_unknown_id(
    gateway: LiveGateway, database: Database
):
    key = keys.make(database, "shop")
    assert httpx.get(gateway.url + ANY, headers=bearer(key)).status_code == 404  # trusted now
    guessed = KeyText(key.id, new_key().secret)
    wrong = httpx.get(gateway.url + ANY, headers=bearer(guessed)).json()
    unknown = httpx.get(gateway.url + ANY, headers=bearer(new_key())).json()
    assert wrong == unknown
    assert wrong["status"] == 401


def test_a_revoked_key_stops_working_within_the_documented_time(database: Database):
    clock = SimpleNamespace(now=1000.0)
    key = keys.make(database, "shop")

    async def scenario() -> list[str]:
        seen = []
        async with key_ring(database, lambda: clock.now) as ring:
            for later_s in (0.0, auth.FRESH_S - 0.1, auth.TRUSTED_S):
                clock.now = 1000.0 + later_s
                try:
                    seen.append((await ring.caller({"x-api-key": key.text})).name)
                except Problem as problem:
                    seen.append(problem.kind)
                if later_s == 0.0:
                    await asyncio.to_thread(keys.revoke, database, "shop")
        return seen

    assert auth.TRUSTED_S <= 5
    assert asyncio.run(scenario()) == ["shop", "shop", "revoked_key"]


def test_an_expired_key_is_refused_though_it_is_cached(database: Database):
    key = keys.make(database, "shop", expires_at=datetime.now(UTC) + timedelta(hours=1))

    async def scenario() -> str:
        async with key_ring(database) as ring:
            assert (await ring.caller({"x-api-key": key.text})).name == "shop"
            (trusted,) = ring._trusted.values()
            trusted.expires_at = datetime.now(UTC)
            with pytest.raises(Problem) as refused:
                await ring.caller({"x-api-key": key.text})
        return refused.value.kind

    assert asyncio.run(scenario()) == "expired_key"


def test_guesses_use_no_memory(database: Database):
    key = keys.make(database, "shop")

    async def scenario() -> int:
        async with key_ring(database) as ring:
            await ring.caller({"x-api-key": key.text})
            for _ in range(50):
                for guess in (new_key(), KeyText(key.id, new_key().secret)):
                    with pytest.raises(Problem):
                        await ring.caller({"x-api-key": guess.text})
            return len(ring._trusted) + len(ring._used)

    assert asyncio.run(scenario()) == 2


def test_every_secret_is_compared_in_constant_time_known_id_or_not(
    database: Database, monkeypatch: pytest.MonkeyPatch
):
    key, compared = keys.make(database, "shop"), []
    compare = auth.hmac.compare_digest
    monkeypatch.setattr(
        auth,
        "hmac",
        SimpleNamespace(compare_digest=lambda a, b: compared.append(a) or compare(a, b)),
    )

    async def scenario() -> None:
        async with key_ring(database) as ring:
            for guess in (new_key(), KeyText(key.id, new_key().secret)):
                with pytest.raises(Problem):
                    await ring.caller({"x-api-key": guess.text})

    asyncio.run(scenario())
    assert compared == [bytes(32), key.hash]


def test_a_key_may_do_what_its_scopes_allow(gateway: LiveGateway, database: Database):
    reads = keys.make(database, "reads", scopes=["read"])
    ingests = keys.make(database, "ingests", scopes=["ingest"])
    admin = keys.make(database, "admin", scopes=["admin"])
    ad = {"catalog": "kg", "ad_id": "1", "title": "A chair"}
    refused = httpx.post(f"{gateway.url}/v1/ads", json=ad, headers=bearer(reads))
    assert status_of(refused) == (403, "scope")
    assert (refused.json()["needed"], refused.json()["scopes"]) == ("ingest", ["read"])
    assert status_of(httpx.get(gateway.url + ANY, headers=bearer(ingests))) == (403, "scope")
    assert httpx.get(gateway.url + ANY, headers=bearer(admin)).status_code == 404


def test_a_key_may_access_only_its_own_catalogs(gateway: LiveGateway, database: Database):
    key = keys.make(database, "shop", scopes=["read"], catalogs=["kg"])
    other = httpx.get(f"{gateway.url}/v1/ads/kz/1", headers=bearer(key))
    assert status_of(other) == (403, "other_catalog")
    assert other.json()["catalogs"] == ["kg"]
    assert httpx.get(f"{gateway.url}/v1/ads/kg/1", headers=bearer(key)).status_code == 404


def test_after_a_rotation_both_keys_are_valid_during_the_grace_period(
    gateway: LiveGateway, database: Database
):
    old = keys.make(database, "shop", scopes=["read"], catalogs=["kg"], requests_per_s=7)
    new = keys.rotate(database, "shop", grace=timedelta(hours=1))
    assert httpx.get(gateway.url + ANY, headers=bearer(old)).status_code == 404
    assert httpx.get(gateway.url + ANY, headers=bearer(new)).status_code == 404
    newest = keys.rotate(database, "shop", grace=timedelta(0))
    rows = {row.id: row for row in keys.keys(database)}
    assert rows[newest.id].catalogs == ["kg"]
    assert rows[newest.id].requests_per_s == 7
    assert rows[newest.id].expires_at is None
    now = datetime.now(UTC)
    assert [rows[k.id].state(now) for k in (old, new, newest)] == ["expired", "expired", "valid"]
    last = keys.make(database, "other", expires_at=now + timedelta(milliseconds=1))
    assert status_of(httpx.get(gateway.url + ANY, headers=bearer(last))) == (401, "expired_key")


def test_what_is_stored_does_not_hold_the_secret(database: Database):
    key = keys.make(database, "shop")
    with database.cursor() as cursor:
        cursor.execute("SELECT k::text, hash FROM lalafo.api_keys AS k")
        ((row, stored),) = cursor.fetchall()
    assert key.secret not in row
    assert bytes(stored) == key.hash
    assert key.secret not in repr(key)
    assert read_key(key.text) == key


def test_when_a_key_was_used_is_written_once(gateway: LiveGateway, database: Database):
    key = keys.make(database, "shop", scopes=["read"])
    for _ in range(3):
        httpx.get(gateway.url + ANY, headers=bearer(key))
    (ring,) = [gateway.app.state.services.keys]
    for _ in range(200):
        if not ring._usage_writes:
            break
        asyncio.run(asyncio.sleep(0.01))
    (row,) = keys.keys(database)
    assert row.last_used_at is not None
    assert abs((row.last_used_at - datetime.now(UTC)).total_seconds()) < 60


def test_no_secret_is_in_the_log_or_an_answer(
    gateway: LiveGateway, database: Database, caplog: pytest.LogCaptureFixture
):
    caplog.set_level(logging.DEBUG)
    key = keys.make(database, "shop")
    responses = ""
    for headers in (bearer(key), bearer(new_key()), {"Authorization": key.text}):
        for path in (ANY, "/v1/ads", "/v1/nothing", "/healthz", f"/v1/ads/{'x' * 300}/1"):
            answer = httpx.post(gateway.url + path, headers=headers, content=b"{")
            responses += answer.text + str(answer.headers)
    assert key.secret not in responses
    # httpx logs this test's own requests.
    records = [r for r in caplog.records if not r.name.startswith(("httpx", "httpcore"))]
    assert key.secret not in "".join(record.getMessage() for record in records)


def test_while_postgresql_is_unavailable_keys_can_not_be_checked(tmp_path):
    unreachable = Settings(
        home=tmp_path, database_url="postgresql://nobody@127.0.0.1:1/none", kafka_bootstrap=""
    )
    with live_gateway(unreachable) as gateway:
        answer = httpx.get(gateway.url + ANY, headers=bearer(new_key()), timeout=60)
    assert status_of(answer) == (503, "unavailable")
    assert "127.0.0.1" not in answer.text
    assert int(answer.headers["retry-after"]) > 0


@pytest.mark.parametrize(
    "wrong",
    [
        {"name": ""},
        {"name": "a\nb"},
        {"scopes": ["write"]},
        {"scopes": []},
        {"catalogs": []},
        {"catalogs": ["a/b"]},
        {"requests_per_s": -1},
        {"expires_at": datetime(2020, 1, 1, tzinfo=UTC)},
    ],
)
def test_a_key_with_invalid_arguments_is_not_created(database: Database, wrong: dict):
    with pytest.raises(ConfigurationError):
        keys.make(database, **{"name": "shop", **wrong})
    assert keys.keys(database) == []


def test_the_command_prints_the_key_alone_and_once(
    database: Database, monkeypatch: pytest.MonkeyPatch, tmp_path
):
    monkeypatch.setenv("LALAFO_DATABASE_URL", settings_of(database).database_url)
    monkeypatch.setenv("LALAFO_HOME", str(tmp_path))
    run = CliRunner().invoke
    created = run(app, ["keys", "make", "shop", "--scopes", "ingest, read", "--catalogs", "kg"])
    key = read_key(created.stdout.strip())
    assert key is not None, created.output
    assert created.stdout.count("\n") == 1
    again = run(app, ["keys", "make", "shop"])
    assert isinstance(again.exception, ConfigurationError)
    assert "rotate shop" in str(again.exception)
    rotated = read_key(run(app, ["keys", "rotate", "shop", "--grace", "0s"]).stdout.strip())
    assert rotated is not None
    listed = run(app, ["keys", "list"]).stdout
    assert rotated.id in listed and "expired" in listed
    assert rotated.secret not in listed
    document = run(app, ["keys", "list", "--json"]).stdout
    assert rotated.secret not in document
    states = {row["id"]: row["state"] for row in json.loads(document)}
    assert states == {key.id: "expired", rotated.id: "valid"}
    assert run(app, ["keys", "revoke", "shop"]).exit_code == 0
    (valid, _) = sorted(keys.keys(database), key=lambda k: k.revoked_at is None)
    assert valid.id == rotated.id
    unknown = run(app, ["keys", "rotate", "nobody"])
    assert "there are no keys yet" in str(unknown.exception)
    wrong = run(app, ["keys", "rotate", "shop", "--grace", "soon"])
    assert wrong.exit_code == 2 and "30m" in wrong.output
