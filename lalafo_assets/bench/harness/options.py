"""What `lalafo bench stream` was asked for, and what follows from it."""

from dataclasses import dataclass
from pathlib import Path

from ops.errors import ConfigurationError

BACKFILL_PHOTOS = 4_000
WARM_ADS = 16
BASELINE_SATURATED = 2
"""Processes of the baseline where everything waits at once: one a core, here."""

_HANDOVER_SHARE = 0.6  # of the load's length: a session never outlives it
_SHORTEST_SESSION_S = 20.0


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamBench:
    """One run of the bench; None where the default depends on the others.

    Args:
        rate: ads a second.
        seconds: how long ads come. With `saturate` the same number of ads comes at once.
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
    plot: Path | None = None

    def __post_init__(self) -> None:
        if not 1 <= self.photos_per_ad <= 4:
            raise ConfigurationError(f"--photos-per-ad {self.photos_per_ad}: 1 to 4 are possible")
        if self.ads < 2:
            raise ConfigurationError("--rate times --seconds: at least 2 ads are needed")
        if self.kill and self.session_count < 2:
            raise ConfigurationError("--kill needs a standby: --sessions 2 or more")

    @property
    def ads(self) -> int:
        """How many ads are counted."""
        return round(self.rate * self.seconds)

    @property
    def photo_count(self) -> int:
        """The photos of all those ads."""
        return round(self.ads * self.photos_per_ad)

    @property
    def session_count(self) -> int:
        """Sessions kept: a standby for a kill, one a core where everything waits at once."""
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
        """Ads a second of the load generator; 0: as fast as it can."""
        return 0.0 if self.saturate else self.rate

    @property
    def baseline_processes(self) -> int:
        """How many baselines share the partitions."""
        return min(BASELINE_SATURATED, self.partition_count) if self.saturate else 1

    @property
    def session_minutes(self) -> float | None:
        """LALAFO_SESSION_MINUTES where a handover shall fall into the load; None: the default."""
        if not self.handover:
            return None
        return max(self.seconds * _HANDOVER_SHARE, _SHORTEST_SESSION_S) / 60

    def environment(self) -> dict[str, str]:
        """What the stack's processes are told besides its own exports."""
        message = {
            # The bench's photos are served on loopback, which the fetcher refuses otherwise.
            "LALAFO_FETCH_ALLOW_PRIVATE": "true",
            "LALAFO_SESSIONS": str(self.session_count),
        }
        if self.session_minutes is not None:
            message["LALAFO_SESSION_MINUTES"] = f"{self.session_minutes:.3f}"
        return message
