"""The loads of `lalafo bench gateway` that need no session: posting ads and reading ads."""

from pathlib import Path
from typing import Any

from lalafo_assets.bench.gateway.fill import ad_id
from lalafo_assets.bench.gateway.place import RunningGateway
from lalafo_assets.bench.gateway.wrk import run_load
from lalafo_assets.bench.gateway.wrk_requests import accept_requests, read_requests, requests_needed

ACCEPT_RATE, READ_RATE = 200.0, 500.0  # a second
CONNECTIONS = 32
WARM_S = 2
READ_AMONG = 20_000  # how many of all ads are read


def measure_accept(gateway: RunningGateway, key: str, folder: Path, seconds: int) -> dict[str, Any]:
    """POST distinct ads at ACCEPT_RATE, after a warm-up that is not counted."""
    for name, length in (("warm", WARM_S), ("accept", seconds)):
        load = run_load(
            gateway.url,
            accept_requests(requests_needed(ACCEPT_RATE, length), prefix=name),
            rate=ACCEPT_RATE,
            seconds=length,
            connections=CONNECTIONS,
            folder=folder,
            expected_text='"published":true',
            api_key=key,
        ).require(202)
    return {
        "accept_p50_ms": round(load.p50_ms, 2),
        "accept_p99_ms": round(load.p99_ms, 2),
        "accept_max_ms": round(load.max_ms, 2),
        "accept_rate": round(load.rate, 1),
        "accept_late_p99_ms": round(load.late_p99_ms, 1),
        "published_share": round(load.share(load.matched), 4),
    }


def measure_read(
    gateway: RunningGateway, key: str, folder: Path, rows: int, seconds: int
) -> dict[str, Any]:
    """GET random ads at READ_RATE, after a warm-up that is not counted."""
    ids = [ad_id(number) for number in range(0, rows, max(1, rows // READ_AMONG))]
    for seed, length in ((1, WARM_S), (2, seconds)):
        load = run_load(
            gateway.url,
            read_requests(ids, requests_needed(READ_RATE, length), seed=seed),
            rate=READ_RATE,
            seconds=length,
            connections=CONNECTIONS,
            folder=folder,
            api_key=key,
        ).require(200)
    return {
        "read_p50_ms": round(load.p50_ms, 2),
        "read_p99_ms": round(load.p99_ms, 2),
        "read_max_ms": round(load.max_ms, 2),
        "read_rate": round(load.rate, 1),
        "read_late_p99_ms": round(load.late_p99_ms, 1),
    }
