"""Post to result: ads posted with `?wait=` to a gateway with a live session, and to the peer.

Decides that both get the same ads with the same photos from the same host at the same rate, in
turn, each round with photos that the session has never seen. Medians of the rounds count; the
maximum is that of all.
"""

import statistics
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gateway.edge.keys import make
from lalafo_assets.bench.gateway.place import check_forced, run_gateway
from lalafo_assets.bench.gateway.tornado_peer import start_peer
from lalafo_assets.bench.gateway.wrk import Load, Request, run_load
from lalafo_assets.bench.gateway.wrk_requests import enough, peer_requests, wait_requests
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


def measure_scored(bench: "GatewayBench", home: Path, shown: "ProgressDisplay") -> dict[str, Any]:
    """Both, as far as they are asked for.

    Raises:
        LalafoError: something did not start, or answered with an error.
    """
    each = enough(RATE, bench.seconds)
    stream = StreamBench(rate=RATE, seconds=ROUNDS * each / RATE, photos_per_ad=PHOTOS_PER_AD)
    with ExitStack() as stack:
        place = stack.enter_context(
            open_place(stream, home, on_progress=shown.say, step=shown.step)
        )
        check_forced(place.database)
        sides: dict[str, _Side] = {}
        if "wait" in bench.parts:
            _warm_stack(stream, place, shown)
            key = make(place.database, "bench", scopes=("ingest", "read")).text
            gateway = stack.enter_context(
                run_gateway(place.stack.exports, home / "logs" / "gateway.log")
            )
            sides["wait"] = _Side(gateway.url, key, place.host, home)
        if "peer" in bench.parts:
            worker, url = start_peer(
                mode=place.settings.model_mode, log_file=home / "logs" / "peer.log"
            )
            stack.enter_context(worker)
            sides["peer"] = _Side(url, "", place.host, home)
        loads = _rounds(bench, place, sides, each, shown)
    return _figures(loads) | {"wait_broker": place.broker.name, "model": place.release}


class _Side:
    """Who is loaded: ours with a key, or the peer without."""

    def __init__(self, url: str, key: str, host: str, folder: Path) -> None:
        self._url, self._key, self._host, self._folder = url, key, host, folder

    def load(self, ads: Sequence[PlannedAd], *, rate: float, seconds: int, prefix: str) -> Load:
        """These ads, once."""
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


def _warm_stack(stream: StreamBench, place: Place, shown: "ProgressDisplay") -> None:
    shown.say("waiting for the sensor's session")
    sessions = Sessions(
        place.database,
        place.stream.stream_id(),
        place.settings.ads_topic,
        len(place.stream.partitions()),
        tuple(place.stack.pids),
    )
    warm_sessions(stream, place, sessions, shown.step)


def _rounds(
    bench: "GatewayBench",
    place: Place,
    sides: dict[str, _Side],
    each: int,
    shown: "ProgressDisplay",
) -> dict[str, list[Load]]:
    warm = warm_ads(place)
    for side in sides.values():
        side.load(warm, rate=WARM_RATE, seconds=WARM_S, prefix="warm")
    ads = plan_ads(ads=ROUNDS * each, photos_per_ad=PHOTOS_PER_AD, rate=RATE, names=place.names)
    loads: dict[str, list[Load]] = {name: [] for name in sides}
    for number in range(ROUNDS):
        of_round = ads[number * each : (number + 1) * each]
        for name, side in sides.items():
            place.stack.check()
            prefix = f"round-{number}"
            loads[name].append(side.load(of_round, rate=RATE, seconds=bench.seconds, prefix=prefix))
            done = sum(len(found) for found in loads.values())
            shown.step("rounds", done, ROUNDS * len(sides))
    return loads


def _figures(loads: dict[str, list[Load]]) -> dict[str, Any]:
    """Medians of the rounds; answers of the whole."""
    found: dict[str, Any] = {}
    for name, rounds in loads.items():
        answered = sum(load.answered for load in rounds)
        in_time = sum(load.statuses.get("200", 0) for load in rounds)
        found |= {
            f"{name}_p50_ms": round(statistics.median(load.p50_ms for load in rounds), 1),
            f"{name}_p90_ms": round(statistics.median(load.p90_ms for load in rounds), 1),
            f"{name}_p99_ms": round(statistics.median(load.p99_ms for load in rounds), 1),
            f"{name}_max_ms": round(max(load.max_ms for load in rounds), 1),
            f"{name}_late_p99_ms": round(max(load.late_p99_ms for load in rounds), 1),
            f"{name}_rate": round(statistics.median(load.rate for load in rounds), 2),
            f"{name}_answered": round(in_time / answered, 4),
        }
    return found
