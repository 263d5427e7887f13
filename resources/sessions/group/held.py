"""The partitions of one session, and the changes that it still has to take.

Does not depend on PostgreSQL or threads: the membership's lock guards it.
"""

from collections.abc import Collection, Mapping

import structlog

from ops.session.admission import Ownership
from ops.session.ports import PartitionAssigned, PartitionRevoked

log = structlog.get_logger()


class HeldPartitions:
    """The leases of one session by partition, and what it has not been notified of."""

    def __init__(self) -> None:
        self.epochs: dict[int, int] = {}  # by partition
        self.unassigned: set[int] = set()  # acquired, PartitionAssigned not sent yet
        self.waited: set[int] = set()  # of those: their records waited for the session's start
        self.revoked: set[int] = set()  # PartitionRevoked sent, not released yet
        self.changes: list[PartitionAssigned | PartitionRevoked] = []

    def acquire(self, epochs: Mapping[int, int], *, waited: Collection[int] = ()) -> None:
        """Add acquired partitions, which are assigned once their offsets are known.

        Args:
            waited: those whose records waited for the session's start.
        """
        self.epochs.update(epochs)
        self.unassigned.update(epochs)
        self.waited = (self.waited - epochs.keys()) | set(waited)

    def unassigned_epochs(self) -> dict[int, int]:
        """The epochs of acquired partitions that are not assigned yet."""
        return {p: self.epochs[p] for p in self.unassigned if p in self.epochs}

    def assign(self, epochs: Mapping[int, int], offsets: Mapping[int, int]) -> None:
        """Assign acquired partitions with the offsets from which to read them."""
        for partition, epoch in sorted(epochs.items()):
            # It may have been lost meanwhile, and acquired again under another epoch.
            if partition in self.unassigned and self.epochs.get(partition) == epoch:
                owner = Ownership(partition, epoch)
                waited = partition in self.waited
                self.changes.append(PartitionAssigned(owner, offsets[partition], waited))
                self.unassigned.discard(partition)

    def revoke(self, partitions: Collection[int]) -> None:
        """Revoke those of the partitions that the session holds."""
        for partition in sorted(self.epochs.keys() & set(partitions)):
            if partition not in self.revoked:
                self.revoked.add(partition)
                self.unassigned.discard(partition)
                self.changes.append(PartitionRevoked(partition))

    def lose(self, partitions: Collection[int]) -> None:
        """Drop partitions whose leases other sessions have."""
        for partition in sorted(self.epochs.keys() & set(partitions)):
            log.warning("session.lease_lost", partition=partition)
            self.forget(partition)
            self.changes.append(PartitionRevoked(partition, lost=True))

    def forget(self, partition: int) -> None:
        """Drop a partition without notice to the session."""
        self.epochs.pop(partition, None)
        self.revoked.discard(partition)
        self.unassigned.discard(partition)

    def take_changes(self) -> list[PartitionAssigned | PartitionRevoked]:
        """Return the changes since the last call, in order."""
        changes, self.changes = self.changes, []
        return changes
