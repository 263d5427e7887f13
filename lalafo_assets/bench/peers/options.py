"""The options of one run of `lalafo bench peers`, and which peers run with them."""

import importlib.util
from dataclasses import dataclass
from pathlib import Path

from lalafo_assets.bench.harness.options import StreamBench
from ops.errors import ConfigurationError

PROCESSES = 2
MODES = ("eager", "traced")
PHOTOS_PER_AD = 2.5
_RATE = 20.0  # ads a second of StreamBench; with `saturate` only its product with the time matters
_PACKAGES = {"ray": "ray", "daft": "daft"}  # by kind, what must be installed


@dataclass(frozen=True, slots=True)
class Peer:
    """One contender of a round: a worker module, and how its processes run the network.

    Args:
        module: what runs, once for all processes or, if not `shares_work`, once for each.
    """

    name: str
    module: str
    mode: str
    shares_work: bool = True  # whether one worker starts all processes and gives them work


@dataclass(frozen=True, slots=True, kw_only=True)
class PeersBench:
    """One run of the bench.

    Args:
        count: photos that each contender gets.
        kinds: some of plain, ray, daft, product.
        embedded: whether the product runs on librdkafka's test broker.
    """

    photos: Path | None
    count: int
    rounds: int
    kinds: frozenset[str]
    embedded: bool = False

    @property
    def peers(self) -> list[Peer]:
        """The peers of a round, in order."""
        modules = {"plain": "plain", "ray": "ray_data", "daft": "daft_data"}
        return [
            Peer(
                f"{kind}_{mode}",
                f"lalafo_assets.bench.peers.{module}",
                mode,
                shares_work=kind != "plain",
            )
            for kind, module in modules.items()
            if kind in self.kinds
            for mode in MODES
        ]

    @property
    def stream(self) -> StreamBench:
        """The options with which the product gets the same photos at once, in two sessions."""
        ads = round(self.count / PHOTOS_PER_AD)
        return StreamBench(
            rate=_RATE,
            seconds=ads / _RATE,
            photos_per_ad=PHOTOS_PER_AD,
            sessions=PROCESSES,
            partitions=PROCESSES,
            photos=self.photos,
            saturate=True,
            embedded=self.embedded,
        )

    def check_installed(self) -> None:
        """Raise ConfigurationError if Ray or Daft is asked for and is not installed."""
        missing = [
            package
            for kind, package in _PACKAGES.items()
            if kind in self.kinds and importlib.util.find_spec(package) is None
        ]
        if missing:
            others = ",".join(sorted(self.kinds - set(_PACKAGES))) or "plain"
            raise ConfigurationError(
                f"missing: {' and '.join(missing)}. Install the extra, "
                f"`pip install 'lalafo-vision[bench]'`, or measure the others: --only {others}"
            )
