"""A session's group membership in a separate process, for tests that kill it or freeze it.

    python -m tests.support.membership_process DATABASE_URL RUN_ID TTL_S PARTITIONS SESSIONS

Prints "assigned P" and "revoked P" for each change, and ends when its standard input closes.
"""

import sys
import threading
from contextlib import closing

from ops.session.ports import PartitionAssigned
from resources.postgres.database import Database
from resources.sessions.group.members import MembershipConfig
from resources.sessions.group.membership import SessionMembership


def main(url: str, run_id: str, ttl_s: str, partitions: str, sessions: str) -> None:
    config = MembershipConfig(
        run_id=run_id,
        stream_id="stream-1",
        topic="ads",
        partitions=tuple(range(int(partitions))),
        sessions=int(sessions),
        session_s=3_600,
        ttl_s=float(ttl_s),
        code_version="v1",
    )
    ended = threading.Event()
    threading.Thread(target=lambda: (sys.stdin.read(), ended.set()), daemon=True).start()
    with (
        closing(Database(url)) as database,
        SessionMembership(
            database, config, positions=lambda ps: dict.fromkeys(ps, 0)
        ) as membership,
    ):
        membership.ready()
        while not ended.wait(0.02):
            for change in membership.changes():
                if isinstance(change, PartitionAssigned):
                    print("assigned", change.owner.partition, flush=True)
                else:
                    print("revoked", change.partition, flush=True)
                    if not change.lost:
                        membership.release(change.partition)


if __name__ == "__main__":
    main(*sys.argv[1:])
