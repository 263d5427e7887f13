"""What `lalafo bench gateway` is asked to measure."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewayBench:
    """What was asked for.

    Args:
        rows: ads that are looked up among.
        seconds: of each load.
        parts: some of accept, read, wait, lookup, peer.
    """

    rows: int
    seconds: int
    parts: frozenset[str]

    @property
    def rows_needed(self) -> int:
        """Ads to fill in; 0 where nothing reads."""
        if "lookup" in self.parts:
            return self.rows
        return min(self.rows, READ_ROWS) if "read" in self.parts else 0


READ_ROWS = 100_000
"""Ads that reads are measured among where no lookup is asked for."""
