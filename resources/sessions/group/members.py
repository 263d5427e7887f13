"""A session's row in `sessions`: how it describes itself, and how others read it."""

import os
import socket
from dataclasses import dataclass

from ops.session.assignment import Member
from resources.postgres.database import Database
from resources.sessions.group.leases import ALIVE, Connection

MAX_LEAD_S = 90.0
"""A session's successor is requested at most this long before its end; it has to import torch."""


@dataclass(frozen=True, slots=True)
class MembershipConfig:
    """A session's description of itself, and the target number of sessions."""

    run_id: str
    stream_id: str
    topic: str
    partitions: tuple[int, ...]  # of the topic
    sessions: int
    session_s: float
    ttl_s: float  # a session that renews nothing for longer counts as dead
    code_version: str
    metrics_url: str = ""

    @property
    def lead_s(self) -> float:
        """How many seconds before the session's end its successor may run beside it."""
        return lead_s(self.session_s)


def lead_s(session_s: float) -> float:
    """Return how many seconds before its end a session's successor is requested."""
    return min(MAX_LEAD_S, session_s / 2)


@dataclass(frozen=True, slots=True)
class MemberState:
    """The current row of a session."""

    member: Member
    alive: bool
    expired_s: float  # seconds since it expired or ended; 0 before
    host: str
    pid: int
    metrics_url: str
    stream_id: str  # of the log that it reads
    failed: bool = False


def write_member(
    connection: Connection, config: MembershipConfig, *, state: str, backend: tuple[str, str]
) -> None:
    """Write or renew a session's row.

    Args:
        backend: OWN_BACKEND or NO_BACKEND.
    """
    connection.execute(
        "INSERT INTO lalafo.sessions AS held (run_id, stream_id, topic, state, code_version, "
        "host, pid, metrics_url, backend_pid, backend_start, due_at, expires_at) "
        f"VALUES (%s, %s, %s, %s, %s, %s, %s, %s, {', '.join(backend)}, "
        "clock_timestamp() + %s * interval '1 second', "
        "clock_timestamp() + %s * interval '1 second') "
        "ON CONFLICT (run_id) DO UPDATE SET state = EXCLUDED.state, "
        "stream_id = EXCLUDED.stream_id, metrics_url = EXCLUDED.metrics_url, "
        "backend_pid = EXCLUDED.backend_pid, backend_start = EXCLUDED.backend_start, "
        "expires_at = EXCLUDED.expires_at",
        (
            *(config.run_id, config.stream_id, config.topic, state, config.code_version),
            *(socket.gethostname(), os.getpid(), config.metrics_url),
            *(config.session_s, config.ttl_s),
        ),
    )


def end_member(connection: Connection, run_id: str) -> None:
    """Write that a session has ended."""
    connection.execute(
        "UPDATE lalafo.sessions SET state = 'leaving', expires_at = clock_timestamp() "
        "WHERE run_id = %s",
        (run_id,),
    )


def write_failure(database: Database, run_id: str, topic: str, error: str) -> None:
    """Write why a session failed, also one that had not joined; the first reason stays.

    Args:
        error: one line, without secrets.
    """
    with database.cursor() as cursor:
        cursor.execute(
            "INSERT INTO lalafo.sessions AS held (run_id, stream_id, topic, state, code_version, "
            "host, pid, metrics_url, backend_pid, backend_start, due_at, expires_at, error, "
            "failed_at) VALUES (%s, '', %s, 'leaving', '', '', 0, '', 0, clock_timestamp(), "
            "clock_timestamp(), clock_timestamp(), %s, clock_timestamp()) "
            "ON CONFLICT (run_id) DO UPDATE SET error = coalesce(held.error, EXCLUDED.error), "
            "failed_at = coalesce(held.failed_at, EXCLUDED.failed_at)",
            (run_id, topic, error),
        )


def read_members(connection: Connection, stream_id: str, topic: str) -> list[Member]:
    """Return the living sessions of a stream."""
    rows = connection.execute(
        "SELECT run_id, state, started_at, "
        "extract(epoch FROM due_at - clock_timestamp())::float8, code_version "
        f"FROM lalafo.sessions WHERE stream_id = %s AND topic = %s AND {ALIVE}",
        (stream_id, topic),
    ).fetchall()
    return [Member(*row) for row in rows]


def read_sessions(database: Database, topic: str) -> dict[str, MemberState]:
    """Return every session of a topic by run, alive or ended, until upkeep deletes its row.

    Includes the sessions of a deleted topic of the same name, and those of another broker.
    """
    with database.cursor() as cursor:
        cursor.execute(
            "SELECT run_id, state, started_at, "
            "extract(epoch FROM due_at - clock_timestamp())::float8, code_version, "
            f"{ALIVE}, greatest(0, extract(epoch FROM clock_timestamp() - expires_at))::float8, "
            "host, pid, metrics_url, stream_id, error IS NOT NULL FROM lalafo.sessions "
            "WHERE topic = %s",
            (topic,),
        )
        return {row[0]: MemberState(Member(*row[:5]), *row[5:]) for row in cursor.fetchall()}
