"""The groups of workers that follow commits: the membership of sessions, one partition each.

One worker of a kind works; one that is started beside it leaves, unless the first is due or runs
older code: then it takes over. A killed one's lease is free at once.
"""

from collections.abc import Mapping, Sequence

from resources.changes.lease import PARTITION, WorkerLease
from resources.postgres.database import Database
from resources.sessions.group.members import MembershipConfig
from resources.sessions.group.membership import SessionMembership
from resources.settings import Settings

LONGER = 15
"""Times LALAFO_LEASE_TTL_S. A worker has idle priority: on a busy machine it renews its lease
seconds late, and would be replaced again and again. A killed one's lease is free at once anyway."""


def worker_membership(
    database: Database, settings: Settings, lease: WorkerLease, *, run_id: str, code_version: str
) -> SessionMembership:
    """The membership of one worker; a context manager."""
    config = MembershipConfig(
        run_id=run_id,
        stream_id=lease.stream,
        topic=lease.topic,
        partitions=(PARTITION,),
        sessions=1,
        session_s=settings.session_minutes * 60,
        ttl_s=settings.lease_ttl_s * LONGER,
        code_version=code_version,
    )
    return SessionMembership(database, config, positions=_from_the_start)


def _from_the_start(partitions: Sequence[int]) -> Mapping[int, int]:
    """The queue is a table: there is no offset to look up."""
    return dict.fromkeys(partitions, 0)
