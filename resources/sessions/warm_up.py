"""Loads a session's releases: at idle priority while another session scores, else at once.

The first session is what every ad waits for. A successor or a standby takes seconds of processor
time to import torch and to load and compile a model, and no ad waits for it, until the session that
it stands by for ends.
"""

import structlog

from ops.errors import RetryableError
from resources.inference.cache import LoadedReleases
from resources.postgres.database import Database
from resources.processes.priority import run_idle
from resources.sessions.group.members import MembershipConfig, read_sessions

log = structlog.get_logger()


def warm_up(database: Database, loaded: LoadedReleases, own: MembershipConfig) -> None:
    """Load the active releases into memory.

    Raises:
        ConfigurationError: none is live, or a file of one does not match its digest.
        RetryableError: PostgreSQL or the store is unavailable.
    """
    if _others_are_ready(database, own):
        log.info("session.warms_up", priority="idle")
        run_idle(loaded.active, needed=lambda: not _others_are_ready(database, own))
    else:
        loaded.active()


def _others_are_ready(database: Database, own: MembershipConfig) -> bool:
    """Whether another session of the stream reads it or stands by; True during an outage."""
    try:
        sessions = read_sessions(database, own.topic)
    except RetryableError:
        return True
    return any(
        session.alive
        and session.member.state == "ready"
        and session.stream_id == own.stream_id
        and run_id != own.run_id
        for run_id, session in sessions.items()
    )
