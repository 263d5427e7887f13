"""Measures one peer on the peers' own servers: a PostgreSQL and the photo host, nothing else."""

import secrets
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from lalafo_assets.bench.harness.cpu import CpuWatch
from lalafo_assets.bench.harness.feed import POLL_S, STALLED_S
from lalafo_assets.bench.harness.photo_server import start_photo_server
from lalafo_assets.bench.harness.photos import bench_photos
from lalafo_assets.bench.harness.place import Progress
from lalafo_assets.bench.harness.workers import Worker
from lalafo_assets.bench.peers.figures import Run, Stored, cpu_within, window
from lalafo_assets.bench.peers.options import PROCESSES, Peer, PeersBench
from lalafo_assets.bench.peers.photo_work import TABLE
from ops.errors import LalafoError
from resources.embedded.postgres import EmbeddedPostgres
from resources.postgres.database import Database
from resources.processes.environment import TUNING

ENVIRONMENT = {
    **TUNING,
    "OMP_NUM_THREADS": "1",
    # No report of this use to the makers of Ray and Daft, and no bars in the log.
    "RAY_USAGE_STATS_ENABLED": "0",
    "DO_NOT_TRACK": "1",
    "DAFT_PROGRESS_BAR": "0",
}
_PEER = "peer"


@dataclass(frozen=True, slots=True)
class PeerServers:
    """The running servers of the peers."""

    home: Path
    database: Database
    urls: list[str]  # of the photos
    ray_token: Path  # a file


@contextmanager
def open_peer_servers(bench: PeersBench, home: Path, step: Progress) -> Iterator[PeerServers]:
    """Write the photos, start PostgreSQL and the photo host, and stop them on exit."""
    folder = home / "photos"
    folder.mkdir(parents=True)
    names = []
    for index, data in enumerate(bench_photos(bench.count, folder=bench.photos)):
        names.append(f"{index:06d}.jpg")
        (folder / names[-1]).write_bytes(data)
        step("making photos", index + 1, bench.count)
    token = home / "ray-token"
    token.touch(mode=0o600)
    token.write_text(secrets.token_hex(32))
    with ExitStack() as stack:
        server, host = start_photo_server(folder, log_file=home / "logs" / "photos.log")
        stack.enter_context(server)
        postgres = EmbeddedPostgres(home / "postgres")
        postgres.start()
        stack.callback(postgres.stop)
        database = stack.enter_context(closing(Database(postgres.url())))
        yield PeerServers(home, database, [f"{host}/{name}" for name in names], token)


def measure_peer(peer: Peer, servers: PeerServers, step: Progress) -> Run:
    """Run one peer over all photos, in an empty table.

    Raises:
        LalafoError: a worker ended, or stored nothing new for STALLED_S.
    """
    with servers.database.cursor() as cursor:
        cursor.execute("DROP TABLE IF EXISTS public.peer_photos")
        cursor.execute(TABLE)
    with ExitStack() as stack:
        shares = 1 if peer.shares_work else PROCESSES
        workers = [
            stack.enter_context(
                Worker(
                    peer.module,
                    {
                        "database": servers.database.conninfo.text("lalafo-bench"),
                        "mode": peer.mode,
                        "urls": servers.urls[number::shares],
                        "folder": str(servers.home / "ray"),
                    },
                    log_file=servers.home / "logs" / f"{peer.name}-{number}.log",
                    # Ray's processes know each other by it; otherwise Ray writes one into HOME.
                    environment={**ENVIRONMENT, "RAY_AUTH_TOKEN_PATH": str(servers.ray_token)},
                )
            )
            for number in range(shares)
        ]
        for worker in workers:
            worker.answer()
        watch = CpuWatch({_PEER: [worker.pid for worker in workers]}, set)
        for worker in workers:
            worker.go()
        samples = _sample_until_stored(peer, servers, workers, watch, step)
    stored = read_stored(servers.database)
    span = window(stored)
    cpu_s = cpu_within(samples, span)
    return Run(span.photos_per_s, cpu_s * 1000 / span.photos)


def read_stored(database: Database) -> list[Stored]:
    """When each process of the peer stored how many photos."""
    with database.cursor() as cursor:
        cursor.execute(
            "SELECT process::text, extract(epoch FROM stored_at)::float8, count(*) "
            "FROM public.peer_photos GROUP BY process, stored_at ORDER BY stored_at"
        )
        return [Stored(*row) for row in cursor.fetchall()]


def _sample_until_stored(
    peer: Peer, servers: PeerServers, workers: list[Worker], watch: CpuWatch, step: Progress
) -> list[tuple[float, float]]:
    """Wait until every photo has a row; returns moments and the peer's CPU seconds until then."""
    total, count, changed_at = len(servers.urls), -1, time.monotonic()
    working = list(workers)
    samples = [(time.time(), watch.used_s()[_PEER])]
    while count < total:
        time.sleep(POLL_S)
        with servers.database.cursor() as cursor:
            cursor.execute("SELECT count(*) FROM public.peer_photos")
            (now,) = cursor.fetchall()[0]
        samples.append((time.time(), watch.used_s()[_PEER]))
        if now != count:
            count, changed_at = now, time.monotonic()
            step(peer.name, count, total)
        for worker in [worker for worker in working if not worker.is_running()]:
            worker.answer()  # raises with the last lines of its log, unless it was done
            working.remove(worker)
        if time.monotonic() - changed_at > STALLED_S:
            raise LalafoError(
                f"{peer.name} stored {count} of {total} photos, and no more for {STALLED_S:.0f} s"
            )
    for worker in working:
        worker.answer()
    return samples
