"""Measures post to result: ads posted with `?wait=` to the gateway of a live session, and the peer.

Both get the same ads with the same photos from the same host at the same rate, in alternating
rounds. Each round has photos that the session has never seen. Percentiles are medians over the
rounds; the maximum is that of all rounds.
"""

import statistics
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gateway.edge.keys import make
from lalafo_assets.bench.gateway.place import check_durability, run_gateway
from lalafo_assets.bench.gateway.tornado_peer import start_peer
from lalafo_assets.bench.gateway.wrk import Load, Request, run_load
from lalafo_assets.bench.gateway.wrk_requests import peer_requests, requests_needed, wait_requests
from lalafo_assets.bench.harness.ads import PlannedAd, plan_ads
from lalafo_assets.bench.harness.feed import warm_ads, warm_sessions
from lalafo_assets.bench.harness.options import StreamBench
from lalafo_assets.bench.harness.place import Place, open_place
from lalafo_assets.bench.harness.sessions import Sessions

if TYPE_CHECKING:
    from lalafo_assets.bench.gateway.options import GatewayBench
    from lalafo_assets.bench.harness.progress import ProgressDisplay

RATE = 20.0  # ads a second: 1,200 a minute
PHOTOS_PER_AD = 2.5
ROUNDS = 3
CONNECTIONS = 60
WARM_RATE, WARM_S = 4.0, 3


def measure_scored(bench: "GatewayBench", home: Path, display: "ProgressDisplay") -> dict[str, Any]:
    """Measure the gateway, the peer, or both, as `bench.parts` says.

    Raises:
        LalafoError: a server did not start, or answered with an error.
    """
    ads_per_round = requests_needed(RATE, bench.seconds)
    stream = StreamBench(
        rate=RATE, seconds=ROUNDS * ads_per_round / RATE, photos_per_ad=PHOTOS_PER_AD
    )
    with ExitStack() as stack:
        place = stack.enter_context(
            open_place(stream, home, on_progress=display.say, step=display.step)
        )
        check_durability(place.database)
        targets: dict[str, _Target] = {}
        if "wait" in bench.parts:
            _warm_stack(stream, place, display)
            key = make(place.database, "bench", scopes=("ingest", "read")).text
            gateway = stack.enter_context(
                run_gateway(place.stack.exports, home / "logs" / "gateway.log")
            )
            targets["wait"] = _Target(gateway.url, key, place.host, home)
        if "peer" in bench.parts:
            worker, url = start_peer(
                mode=place.settings.model_mode, log_file=home / "logs" / "peer.log"
            )
            stack.enter_context(worker)
            targets["peer"] = _Target(url, "", place.host, home)
        loads = _rounds(bench, place, targets, ads_per_round, display)
    return _figures(loads) | {"wait_broker": place.broker.name, "model": place.release}


class _Target:
    """A server to load: the gateway, with an API key, or the peer, without one."""

    def __init__(self, url: str, key: str, host: str, folder: Path) -> None:
        self._url, self._key, self._host, self._folder = url, key, host, folder

    def load(self, ads: Sequence[PlannedAd], *, rate: float, seconds: int, prefix: str) -> Load:
        """Send these ads, each once."""
        requests: Iterable[Request] = (
            peer_requests(ads, host=self._host)
            if self._key == ""
            else wait_requests(ads, host=self._host, prefix=prefix)
        )
        return run_load(
            self._url,
            requests,
            rate=rate,
            seconds=seconds,
            connections=CONNECTIONS,
            folder=self._folder,
            api_key=self._key,
        ).require(200, 202)


def _warm_stack(stream: StreamBench, place: Place, display: "ProgressDisplay") -> None:
    display.say("waiting for the session that the sensor starts")
    sessions = Sessions(
        place.database,
        place.stream.stream_id(),
        place.settings.ads_topic,
        len(place.stream.partitions()),
        tuple(place.stack.pids),
    )
    warm_sessions(stream, place, sessions, display.step)


def _rounds(
    bench: "GatewayBench",
    place: Place,
    targets: dict[str, _Target],
    ads_per_round: int,
    display: "ProgressDisplay",
) -> dict[str, list[Load]]:
    warm = warm_ads(place)
    for target in targets.values():
        target.load(warm, rate=WARM_RATE, seconds=WARM_S, prefix="warm")
    ads = plan_ads(
        ads=ROUNDS * ads_per_round, photos_per_ad=PHOTOS_PER_AD, rate=RATE, names=place.names
    )
    loads: dict[str, list[Load]] = {name: [] for name in targets}
    for number in range(ROUNDS):
        of_round = ads[number * ads_per_round : (number + 1) * ads_per_round]
        for name, target in targets.items():
            place.stack.check()
            load = target.load(of_round, rate=RATE, seconds=bench.seconds, prefix=f"round-{number}")
            loads[name].append(load)
            done = sum(len(rounds) for rounds in loads.values())
            display.step("rounds", done, ROUNDS * len(targets))
    return loads


def _figures(loads: dict[str, list[Load]]) -> dict[str, Any]:
    """Medians over the rounds; the share answered in time is over all of them."""
    figures: dict[str, Any] = {}
    for name, rounds in loads.items():
        answered = sum(load.answered for load in rounds)
        in_time = sum(load.statuses.get("200", 0) for load in rounds)
        figures |= {
            f"{name}_p50_ms": round(statistics.median(load.p50_ms for load in rounds), 1),
            f"{name}_p90_ms": round(statistics.median(load.p90_ms for load in rounds), 1),
            f"{name}_p99_ms": round(statistics.median(load.p99_ms for load in rounds), 1),
            f"{name}_max_ms": round(max(load.max_ms for load in rounds), 1),
            f"{name}_late_p99_ms": round(max(load.late_p99_ms for load in rounds), 1),
            f"{name}_rate": round(statistics.median(load.rate for load in rounds), 2),
            f"{name}_answered": round(in_time / answered, 4),
        }
    return figures
