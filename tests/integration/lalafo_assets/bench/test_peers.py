"""`lalafo bench peers` with few photos: every peer does the whole work, and the figures agree.

No test asserts how fast it was.
"""

import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from lalafo_assets.bench.peers.measured_peer import PeerServers, measure_peer, open_peer_servers
from lalafo_assets.bench.peers.options import Peer, PeersBench
from lalafo_assets.starter import load_starter
from ops.models.embed import Embedder, prepare
from ops.models.heads import class_probabilities
from resources.postgres.binary_copy import register_halfvec
from resources.postgres.cursors import CursorSource

COUNT = 256
BENCH = PeersBench(
    photos=None, count=COUNT, rounds=1, kinds=frozenset({"plain", "ray", "daft", "product"})
)
PACKAGES = {"ray": "ray", "daft": "daft"}

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PeerServers]:
    home = tmp_path_factory.mktemp("peers")
    with open_peer_servers(BENCH, home, lambda *_: None) as opened:
        yield opened


@pytest.mark.parametrize("peer", BENCH.peers, ids=lambda peer: peer.name)
def test_a_peer_stores_the_result_of_every_photo(peer: Peer, servers: PeerServers):
    """Two processes share the photos; vectors and labels are those of the product's functions."""
    package = PACKAGES.get(peer.name.partition("_")[0])
    if package is not None and importlib.util.find_spec(package) is None:
        pytest.skip(f"{package} is not installed: the extra `bench`")
    seen: list[int] = []
    run = measure_peer(peer, servers, lambda _, done, __: seen.append(done))
    assert seen[-1] == COUNT
    assert run.photos_per_s > 0
    assert run.cpu_ms_per_photo > 0
    rows = stored(servers.database)
    assert sorted(rows) == sorted(servers.urls)
    assert len({process for _, _, process in rows.values()}) == 2
    for url, (vector, label) in expected(servers).items():
        found, found_label, _ = rows[url]
        assert found_label == label
        assert float(vector.astype(np.float32) @ found.astype(np.float32)) > 0.99


def test_the_command_prints_one_line(tmp_path: Path):
    """Progress on standard error, one JSON object on standard output."""
    done = subprocess.run(
        [
            *(sys.executable, "-m", "lalafo_assets.cli", "bench", "peers", "--json"),
            *("--only", "plain", "--count", "200", "--rounds", "1"),
        ],
        env={**os.environ, "LALAFO_HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2_000:]
    (line,) = done.stdout.splitlines()
    found = json.loads(line)
    assert set(found["results"]) == {"plain_eager", "plain_traced"}
    assert (found["photos"], found["rounds"], found["processes"]) == (200, 1, 2)
    for figures in found["results"].values():
        assert figures["rounds"] == [figures["photos_per_s"]]


def stored(database: CursorSource) -> dict[str, tuple[np.ndarray, str, int]]:
    """The rows of the peer's table: vector, label and process by URL."""
    with database.cursor() as cursor:
        register_halfvec(cursor.connection)
        cursor.execute("SELECT url, embedding, label, process FROM public.peer_photos", binary=True)
        return {url: tuple(row) for url, *row in cursor.fetchall()}


def expected(servers: PeerServers) -> dict[str, tuple[np.ndarray, str]]:
    """The vectors and labels of a few photos, computed in this process."""
    release = load_starter()
    head = release.heads["category"]
    embedder = Embedder(release.backbone, device="cpu", threads=1, mode="eager")
    urls = servers.urls[:: COUNT // 8]
    files = [servers.home / "photos" / url.rpartition("/")[2] for url in urls]
    images = [prepare(file.read_bytes(), release.manifest.preprocessing) for file in files]
    vectors = embedder.embed(images)
    labels = [head.labels[int(row.argmax())] for row in class_probabilities(vectors, head)]
    return {url: (v, label) for url, v, label in zip(urls, vectors, labels, strict=True)}
