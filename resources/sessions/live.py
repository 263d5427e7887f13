"""Assemble a session from its parts: Kafka, PostgreSQL, the photo store, and the models.

Owns the order of a session's start: join the group, so that other sessions see it warming up; load
the releases; then become ready for partitions, because the ads of a partition would wait while the
model loads. The stages are in `ops/session/pipeline.py`; the caller starts the session and reports.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import date

from ops.models.release import FrozenBackbone
from ops.scoring.ads import AdScorer, ReceiptRule, RecordReader
from ops.scoring.ready_release import PhotoEmbedder
from ops.session.pipeline import Session
from ops.session.ports import SessionPolicy, SessionPorts
from ops.session.tally import Tally
from ops.tasks import all_tasks
from ops.types import AdEvent, AdKey, StreamRecord
from resources.inference.cache import LoadedReleases, ReleaseWatch
from resources.kafka.dead_letters import DeadLetterTopic
from resources.kafka.topics import AdStream, StreamConsumer
from resources.photos.fetch import PhotoFetcher
from resources.photos.loading import PhotoLoader
from resources.postgres.database import Database
from resources.sessions.ad_log import logged
from resources.sessions.after_commit import AfterCommit
from resources.sessions.code_version import code_version
from resources.sessions.commit import Holder, ResultWriter
from resources.sessions.leases import SessionDeaths
from resources.sessions.membership import MembershipConfig, SessionMembership
from resources.sessions.metrics import SessionMetrics
from resources.sessions.starting_offsets import starting_offsets
from resources.sessions.watchdog import Watchdog
from resources.settings import Settings
from resources.storage.photos import PhotoStore
from resources.storage.releases import ReleaseStore


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
    first_day: date
    end_process: Callable[[int], object] | None = None
    """Ends the process if a stage hangs; None: the process has other work, and nothing watches."""


@dataclass(frozen=True, slots=True)
class LiveSession:
    """An open session with loaded models; it can be run once."""

    session: Session
    membership: SessionMembership
    metrics_url: str

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


@contextmanager
def open_session(
    parts: SessionParts,
    *,
    run_id: str,
    report: Callable[[Tally], None],
    policy: SessionPolicy,
    keep_going: Callable[[], bool] = lambda: True,
) -> Iterator[LiveSession]:
    """Join the group, load the models, and yield the session; leaving the block closes everything.

    Raises:
        ConfigurationError: no release is live, a topic is missing, or a setting is invalid.
        RetryableError: PostgreSQL or Kafka is unavailable.
    """
    settings, database, stream = parts.settings, parts.database, parts.stream
    with ExitStack() as stack:
        stream_id, topic = stream.stream_id(), stream.config.ads_topic
        metrics = stack.enter_context(SessionMetrics(settings))
        membership = SessionMembership(
            database,
            MembershipConfig(
                run_id=run_id,
                stream_id=stream_id,
                topic=topic,
                partitions=tuple(stream.partitions()),
                sessions=settings.sessions,
                session_s=settings.session_minutes * 60,
                ttl_s=settings.lease_ttl_s,
                code_version=code_version(settings),
                metrics_url=metrics.url,
            ),
            position=lambda p: starting_offsets(database, stream, [p], run_id=run_id)[p],
        )
        watchdog = _watchdog(parts, membership)
        if watchdog is not None:
            stack.enter_context(watchdog)
        # The membership is closed last: its leases are released once everything else has stopped.
        stack.enter_context(membership)
        consumer = stack.enter_context(stream.consumer())
        publisher = stack.enter_context(stream.publisher())
        after = stack.enter_context(AfterCommit(database, stream, publisher, run_id=run_id))
        loaded = LoadedReleases(database, parts.releases, parts.embedder)
        ports = SessionPorts(
            stream=_OwnedPartitions(consumer),
            membership=membership,
            reader=RecordReader(settings.event_limits, ReceiptRule(parts.first_day)),
            revisions=lambda events: find_outdated_events(database, events),
            photos=_photo_loader(parts),
            scorer=lambda: AdScorer(loaded.active(), tuple(all_tasks())),
            dead_letters=DeadLetterTopic(publisher, stream.config.dlq_topic),
            results=ResultWriter(
                database,
                Holder(
                    *(run_id, stream_id, topic, stream.config.scored_topic),
                    freeze_s=settings.lease_ttl_s,
                ),
            ),
            quarantine=SessionDeaths(database, stream_id, topic),
            committed=logged(metrics.following(after.committed), run_id=run_id),
            hung=_ignore if watchdog is None else watchdog.end_process,
        )
        session = Session(ports, policy, report=report, keep_going=keep_going)
        metrics.watch(session.snapshot, consumer.lags)
        if watchdog is not None:
            watchdog.watch(session.heartbeats, session.state.ended.is_set)
        consumer.warm_up()
        stack.enter_context(ReleaseWatch(database, loaded, warm=membership.warm))
        membership.ready()
        yield LiveSession(session, membership, metrics.url)


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


def _photo_loader(parts: SessionParts) -> PhotoLoader:
    from ops.models.embed import prepare

    return PhotoLoader(
        database=parts.database,
        store=parts.store,
        fetcher=parts.fetcher,
        prepare=prepare,
        max_bytes=parts.settings.max_photo_bytes,
        max_pixels=parts.settings.max_photo_pixels,
        threads=parts.settings.photo_threads,
    )


def find_outdated_events(database: Database, events: Sequence[AdEvent]) -> set[tuple[AdKey, int]]:
    """Return the events that change nothing: the stored revision is higher, or equal and scored."""
    with database.cursor() as cursor:
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


@dataclass(slots=True)
class _OwnedPartitions:
    """The session's partitions, as the input stage of the pipeline reads them."""

    consumer: StreamConsumer

    def assign(self, offsets: Mapping[int, int]) -> None:
        self.consumer.assign(offsets)

    def poll(self, *, max_records: int, timeout_s: float) -> list[StreamRecord]:
        return self.consumer.poll(max_records=max_records, timeout_s=timeout_s)
