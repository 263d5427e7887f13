"""The options of one run of `lalafo bench stream`, and what follows from them."""

from dataclasses import dataclass
from pathlib import Path

from ops.errors import ConfigurationError

BACKFILL_PHOTOS = 4_000
WARM_ADS = 16
BASELINE_SATURATED = 2
"""Most processes of the baseline with `saturate`: one per core of a two-core machine."""

_HANDOVER_SHARE = 0.6  # a session's length as a share of the load's, so that one ends within it
_MIN_SESSION_S = 20.0


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamBench:
    """One run of the bench; None where the default depends on other options.

    Args:
        rate: ads a second.
        seconds: how long ads arrive. With `saturate` the same number of ads arrives at once.
    """

    rate: float = 20.0
    photos_per_ad: float = 2.5
    seconds: float = 60.0
    sessions: int | None = None
    partitions: int | None = None
    photos: Path | None = None
    saturate: bool = False
    handover: bool = False
    kill: bool = False
    with_backfill: bool = False
    backfill_photos: int = BACKFILL_PHOTOS
    embedded: bool = False
    explain: bool = False
    without_storing: bool = False
    all_tasks: bool = False
    with_search: bool = False
    plot: Path | None = None

    def __post_init__(self) -> None:
        if not 1 <= self.photos_per_ad <= 4:
            raise ConfigurationError(f"--photos-per-ad {self.photos_per_ad}: expected 1 to 4")
        if self.ads < 2:
            raise ConfigurationError(
                f"--rate times --seconds is {self.ads} ads: at least 2 ads are needed"
            )
        if self.kill and self.session_count < 2:
            raise ConfigurationError("--kill needs a standby: --sessions 2 or more")

    @property
    def ads(self) -> int:
        """How many ads are measured."""
        return round(self.rate * self.seconds)

    @property
    def photo_count(self) -> int:
        """How many photos those ads have together."""
        return round(self.ads * self.photos_per_ad)

    @property
    def session_count(self) -> int:
        """Sessions to run: 1, or 2 with `kill` (one stands by) or `saturate` (one per core)."""
        if self.sessions is not None:
            return self.sessions
        return 2 if self.saturate or self.kill else 1

    @property
    def partition_count(self) -> int:
        """Partitions of the topic."""
        if self.partitions is not None:
            return self.partitions
        return 2 if self.saturate else 1

    @property
    def load_rate(self) -> float:
        """Ads a second of the load generator; 0 is as fast as it can."""
        return 0.0 if self.saturate else self.rate

    @property
    def baseline_processes(self) -> int:
        """How many baseline processes share the partitions."""
        return min(BASELINE_SATURATED, self.partition_count) if self.saturate else 1

    @property
    def session_minutes(self) -> float | None:
        """LALAFO_SESSION_MINUTES for a handover during the load; None leaves the default."""
        if not self.handover:
            return None
        return max(self.seconds * _HANDOVER_SHARE, _MIN_SESSION_S) / 60

    def environment(self) -> dict[str, str]:
        """Environment variables of the stack's processes, besides the stack's own exports."""
        variables = {
            # The bench's photos are served on loopback, which the fetcher refuses otherwise.
            "LALAFO_FETCH_ALLOW_PRIVATE": "true",
            "LALAFO_SESSIONS": str(self.session_count),
        }
        if self.with_search:
            variables["LALAFO_SIMILAR_ADS"] = "true"
        if self.session_minutes is not None:
            variables["LALAFO_SESSION_MINUTES"] = f"{self.session_minutes:.3f}"
        return variables
