"""The options of one run of `lalafo bench gateway`, and what follows from them."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewayBench:
    """One run of the bench.

    Args:
        rows: ads in the database for the lookups.
        seconds: length of each load.
        parts: some of accept, read, wait, lookup, peer.
    """

    rows: int
    seconds: int
    parts: frozenset[str]

    @property
    def rows_needed(self) -> int:
        """Ads to insert; 0 if no part reads them."""
        if "lookup" in self.parts:
            return self.rows
        return min(self.rows, READ_ROWS) if "read" in self.parts else 0


READ_ROWS = 100_000
"""Most ads in the database for `read` without `lookup`."""
