"""Assemble a session from its parts: Kafka, PostgreSQL, the photo store, and the models.

Owns the order of a session's start: join the group, so that other sessions see it warming up; load
the releases; then become ready for partitions, because the ads of a partition would wait while the
model loads. The stages are in `ops/session/pipeline.py`; the caller starts the session and reports.
"""

import threading
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import date

import structlog

from ops.errors import Reason, RetryableError
from ops.models.release import FrozenBackbone
from ops.outcomes import Batch, CommitResult
from ops.scoring.ads import AdScorer
from ops.scoring.ready_release import PhotoEmbedder
from ops.scoring.records import ReceiptRule, RecordReader
from ops.session.pipeline import Session
from ops.session.ports import NO_TRACING, SessionPolicy, SessionPorts, Tracing
from ops.session.tally import Tally
from ops.tasks import all_tasks
from ops.types import AdEvent, AdKey
from resources.catalogue.first_day import EARLIEST_DAY, read_first_day
from resources.inference.cache import LoadedReleases, ReleaseWatch
from resources.kafka.dead_letters import DeadLetterTopic
from resources.kafka.rights import session_operations
from resources.kafka.topics import AdStream, OffsetOutOfLog, TopicLog
from resources.photos.fetch import PhotoFetcher
from resources.photos.loading import PhotoLimits, PhotoLoader
from resources.postgres.database import Database
from resources.processes.collector import freeze_loaded
from resources.releases.active import read_active_releases
from resources.releases.installed_tasks import record_tasks, require_installed, tasks_off
from resources.sessions.ad_log import logged
from resources.sessions.code_version import code_version
from resources.sessions.commits.after_commit import AfterCommit
from resources.sessions.commits.commit import Holder, ResultWriter
from resources.sessions.deferred.process import Order
from resources.sessions.deferred.worker import DeferredTasks
from resources.sessions.group.deaths import SessionDeaths
from resources.sessions.group.members import MembershipConfig
from resources.sessions.group.membership import SessionMembership
from resources.sessions.metrics import SessionMetrics
from resources.sessions.reading.incidents import Forgets
from resources.sessions.reading.starting_offsets import record_outside, starting_offsets
from resources.sessions.reading.stream import SessionStream
from resources.sessions.reading.unreadable import UnreadableRecords
from resources.sessions.reading.watch import TopicWatch, record_replaced
from resources.sessions.warm_up import warm_up
from resources.sessions.watchdog import Watchdog
from resources.settings import Settings
from resources.storage.photos import PhotoStore
from resources.storage.releases import ReleaseStore

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class SessionParts:
    """The external resources of one session; the caller closes what it has opened."""

    settings: Settings
    database: Database
    stream: AdStream
    store: PhotoStore
    releases: ReleaseStore
    fetcher: Callable[[], PhotoFetcher]
    embedder: Callable[[FrozenBackbone], PhotoEmbedder]
    first_day: date | None = None
    """No ad has an earlier day; None: the catalogue's first day, when the session opens."""
    tracing: Tracing = NO_TRACING
    end_process: Callable[[int], object] | None = None
    """Ends the process if a stage hangs; None: the process has other work, and nothing watches."""
    yields: bool = False
    """Load the releases at idle priority while other sessions are ready; moves the process into a
    terminal session of its own, so it must have no other work."""


@dataclass(frozen=True, slots=True)
class LiveSession:
    """An open session with loaded models; it can be run once."""

    session: Session
    membership: SessionMembership
    metrics_url: str
    replaced: threading.Event  # set once the topic is another log: open a session for that one
    deferred: DeferredTasks

    @property
    def partitions(self) -> Mapping[int, int]:
        """The partitions that it reads now, with their epochs; {} while it is on standby."""
        return self.session.snapshot().partitions


def session_policy(settings: Settings) -> SessionPolicy:
    """Return the policy of a session from the settings."""
    idle_s = settings.idle_minutes * 60
    return SessionPolicy(
        max_photos=settings.in_flight_photos,
        batch_photos=settings.batch_photos,
        commit_ads=settings.commit_ads,
        idle_s=idle_s if idle_s > 0 else None,
    )


def run_session(
    parts: SessionParts,
    *,
    run_id: str,
    report: Callable[[Tally], None],
    policy: SessionPolicy,
    opened: Callable[[LiveSession], None] = lambda _: None,
    keep_going: Callable[[], bool] = lambda: True,
) -> Tally:
    """Open a session and run it to its end; again each time the topic becomes another log.

    Args:
        opened: called with each session before it runs.

    Returns:
        The counts of all of them.
    """
    sessions = open_sessions(
        parts, run_id=run_id, report=report, policy=policy, keep_going=keep_going
    )
    return run_sessions(sessions, next(sessions), opened=opened)


Sessions = Generator[LiveSession, None, None]
"""Open sessions, one after the other; each is closed before the next is opened."""


def open_sessions(
    parts: SessionParts,
    *,
    run_id: str,
    report: Callable[[Tally], None],
    policy: SessionPolicy,
    keep_going: Callable[[], bool] = lambda: True,
) -> Sessions:
    """Yield an open session, and another one each time the topic has become another log.

    Each has loaded its models, and gets partitions once it runs.
    """
    while True:
        with open_session(
            parts, run_id=run_id, report=report, policy=policy, keep_going=keep_going, ready=False
        ) as live:
            yield live
        if not live.replaced.is_set():
            return
        log.warning("session.opened_again", topic=parts.stream.config.ads_topic)


def run_sessions(
    sessions: Sessions, first: LiveSession, *, opened: Callable[[LiveSession], None]
) -> Tally:
    """Run an open session to its end, and those that follow it; returns the counts of all."""
    total, live = Tally(), first
    while True:
        try:
            opened(live)
            live.membership.ready()
            total.merge(live.session.run())
        except BaseException as error:
            sessions.throw(error)  # closes the session as an error in a `with` block does
            raise
        following = next(sessions, None)
        if following is None:
            return total
        live = following


@contextmanager
def open_session(
    parts: SessionParts,
    *,
    run_id: str,
    report: Callable[[Tally], None],
    policy: SessionPolicy,
    keep_going: Callable[[], bool] = lambda: True,
    ready: bool = True,
) -> Iterator[LiveSession]:
    """Join the group, load the models, and yield the session; leaving the block closes everything.

    Args:
        ready: take partitions at once; False: the caller calls `membership.ready` when it runs the
            session, since the ads of a partition wait until then.

    Raises:
        ConfigurationError: no release is live, or it runs a task that is not installed; a topic is
            missing, or a setting is invalid.
        RetryableError: PostgreSQL or Kafka is unavailable.
    """
    settings, database, stream = parts.settings, parts.database, parts.stream
    replaced = threading.Event()
    with ExitStack() as stack:
        found, topic = stream.current_log(), stream.config.ads_topic
        stream_id = stream.config.stream_id or found.id
        stream.check_rights(session_operations(stream.config))
        metrics = stack.enter_context(SessionMetrics(settings))
        membership = SessionMembership(
            database,
            MembershipConfig(
                run_id=run_id,
                stream_id=stream_id,
                topic=topic,
                partitions=found.partitions,
                sessions=settings.sessions,
                session_s=settings.session_minutes * 60,
                ttl_s=settings.lease_ttl_s,
                code_version=code_version(settings),
                metrics_url=metrics.url,
            ),
            positions=lambda partitions: starting_offsets(
                *(database, stream, partitions),
                stream_id=stream_id,
                run_id=run_id,
                counted=metrics.count_incident,
            ),
        )
        watchdog = _watchdog(parts, membership)
        if watchdog is not None:
            stack.enter_context(watchdog)
        # The membership is closed last: its leases are released once everything else has stopped.
        stack.enter_context(membership)
        consumer = stack.enter_context(stream.consumer(isolates=True))
        publisher = stack.enter_context(stream.publisher())
        after = stack.enter_context(AfterCommit(database, stream, publisher, run_id=run_id))
        tasks = all_tasks()
        require_installed(read_active_releases(database).live, tasks)
        record_tasks(database, tasks)
        off = tasks_off(settings, tasks)
        loaded = LoadedReleases(database, parts.releases, parts.embedder)
        if parts.yields:
            warm_up(database, loaded, membership.config)
        unreadable = UnreadableRecords(
            database, settings, stream_id=stream_id, run_id=run_id, counted=metrics.count_incident
        )

        def truncated(position: OffsetOutOfLog) -> None:
            with AdStream(stream.config) as own:  # a topic that was created again looks like this
                if own.current_log().id != found.id:
                    raise RetryableError(f"{topic} was created again.")
            record_outside(
                database, position, stream_id=stream_id, run_id=run_id, forgets=Forgets.FENCED
            )
            metrics.count_incident(Reason.STREAM_OFFSET_OUT_OF_LOG)

        def committed(batch: Batch, result: CommitResult) -> None:
            after.committed(batch, result)
            deferred.committed(batch, result)

        ports = SessionPorts(
            stream=SessionStream(consumer, membership, unreadable, truncated),
            membership=membership,
            reader=RecordReader(settings.event_limits, _receipt_rule(parts)),
            revisions=lambda events: find_outdated_events(database, events),
            photos=_photo_loader(parts),
            scorer=lambda: AdScorer(loaded.active(), tasks, off),
            dead_letters=DeadLetterTopic(publisher, stream.config.dlq_topic),
            results=ResultWriter(
                database,
                Holder(run_id, stream_id, topic, stream.config.scored_topic),
                parts.tracing,
            ),
            quarantine=SessionDeaths(database, stream_id, topic),
            committed=logged(metrics.following(committed), run_id=run_id),
            tracing=parts.tracing,
            hung=_ignore if watchdog is None else watchdog.end_process,
        )

        def leave_for(other: TopicLog) -> None:
            record_replaced(database, stream, found, other, stream_id=stream_id, run_id=run_id)
            metrics.count_incident(Reason.STREAM_TOPIC_RECREATED)
            replaced.set()

        stack.enter_context(
            TopicWatch(stream, found, extended=membership.extend, replaced=leave_for)
        )
        session = Session(
            ports,
            policy,
            report=report,
            keep_going=lambda: keep_going() and not replaced.is_set(),
        )
        deferred = DeferredTasks(
            database,
            Order(database.conninfo.text(), settings, run_id, stream.config.scored_topic),
            reads=lambda: bool(session.state.admission.owned()),
            has_tasks=lambda: session.state.scorer.has_deferred,
            reported=metrics.deferred,
        )
        stack.enter_context(deferred)
        metrics.watch(session.snapshot, consumer.lags, consumer.stopped)
        if watchdog is not None:
            watchdog.watch(session.heartbeats, session.state.ended.is_set)
        consumer.warm_up()
        stack.enter_context(ReleaseWatch(database, loaded, warm=membership.warm))
        freeze_loaded()
        if ready:
            membership.ready()
        yield LiveSession(session, membership, metrics.url, replaced, deferred)


def _watchdog(parts: SessionParts, membership: SessionMembership) -> Watchdog | None:
    if parts.end_process is None:
        return None
    return Watchdog(
        limit_s=parts.settings.stage_timeout_s,
        release=membership.abandon,
        end=parts.end_process,
    )


def _ignore(_hung: Sequence[str]) -> None:
    """The session's own log line names the stages."""


def _receipt_rule(parts: SessionParts) -> ReceiptRule:
    first_day = parts.first_day
    if first_day is None:
        first_day = read_first_day(parts.database, parts.settings)
    return ReceiptRule(earliest_day=min(EARLIEST_DAY, first_day), first_day=first_day)


def _photo_loader(parts: SessionParts) -> PhotoLoader:
    from ops.models.embed import prepare

    return PhotoLoader(
        database=parts.database,
        store=parts.store,
        fetcher=parts.fetcher,
        prepare=prepare,
        limits=PhotoLimits.from_settings(parts.settings),
    )


def find_outdated_events(database: Database, events: Sequence[AdEvent]) -> set[tuple[AdKey, int]]:
    """Return the events that change nothing: the stored revision is higher, or equal and scored."""
    with database.statement() as cursor:
        cursor.execute(
            "SELECT k.catalog, k.ad_id, k.revision FROM lalafo.ads AS a "
            "JOIN unnest(%s::text[], %s::text[], %s::bigint[]) AS k (catalog, ad_id, revision) "
            "ON a.catalog = k.catalog AND a.ad_id = k.ad_id WHERE a.revision > k.revision "
            "OR (a.revision = k.revision AND a.status <> 'received')",
            (
                [event.key.catalog for event in events],
                [event.key.ad_id for event in events],
                [event.revision for event in events],
            ),
        )
        return {(AdKey(row[0], row[1]), row[2]) for row in cursor.fetchall()}
