"""A session put together from its real parts: Kafka, PostgreSQL, the photo store, a model.

Decides the order of a session's life: load the releases first, then take the leases, since one
that loads while it holds them keeps its ads waiting. The loop itself is `ops/session.py`; who
starts it and who is told is the caller's.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import date

from ops.events import EventLimits
from ops.ready_release import PhotoEmbedder, ReadyRelease
from ops.release import FrozenBackbone
from ops.scoring import BatchScorer, ReceiptRule
from ops.session import Session, SessionPolicy
from ops.tally import Tally
from ops.tasks import all_tasks
from ops.types import AdKey, StreamRecord
from resources.ad_stream import AdStream, StreamConsumer
from resources.database import Database
from resources.dead_letters import DeadLetterTopic
from resources.leases import PartitionLeases
from resources.photo_fetch import PhotoFetcher
from resources.photo_loading import PhotoLoader
from resources.photo_store import PhotoStore
from resources.ready_releases import load_in_force
from resources.release_store import ReleaseStore
from resources.results import Holder, ResultWriter
from resources.settings import Settings
from resources.stream_positions import starting_offsets


@dataclass(frozen=True, slots=True)
class SessionParts:
    """The outside world of one session; whoever opened a part closes it."""

    settings: Settings
    database: Database
    stream: AdStream
    store: PhotoStore
    releases: ReleaseStore
    fetcher: Callable[[], PhotoFetcher]
    embedder: Callable[[FrozenBackbone], PhotoEmbedder]
    first_day: date


@dataclass(frozen=True, slots=True)
class LiveSession:
    """An open session: run it once."""

    session: Session
    epochs: Mapping[int, int]  # by partition; empty where others hold them all


@contextmanager
def open_session(
    parts: SessionParts,
    *,
    run_id: str,
    report: Callable[[Tally], None],
    policy: SessionPolicy,
    keep_going: Callable[[], bool] = lambda: True,
) -> Iterator[LiveSession]:
    """Load, take the leases that are free, and hand out the session; everything ends with it.

    Raises:
        ConfigurationError: no release is live, a topic is missing, a setting is wrong.
        RetryableError: PostgreSQL or Kafka is away.
    """
    settings, database, stream = parts.settings, parts.database, parts.stream
    with ExitStack() as stack:
        from ops.embed import prepare

        loader = stack.enter_context(
            PhotoLoader(
                database=database,
                store=parts.store,
                fetcher=parts.fetcher,
                prepare=prepare,
                max_pixels=settings.max_photo_pixels,
                threads=settings.photo_threads,
            )
        )
        first = [load_in_force(database, parts.releases, parts.embedder)]
        leases = stack.enter_context(
            PartitionLeases(
                database,
                stream_id=stream.stream_id(),
                topic=stream.config.ads_topic,
                partitions=stream.partitions(),
                run_id=run_id,
                ttl_s=settings.lease_ttl_s,
            )
        )
        consumer = stack.enter_context(stream.consumer())
        consumer.assign(starting_offsets(database, stream, leases.epochs, run_id=run_id))
        publisher = stack.enter_context(stream.publisher())
        holder = Holder(run_id, leases.stream_id, leases.topic, leases.epochs)

        def scorer() -> BatchScorer:
            # The set loaded before the leases serves first; a changed one is loaded anew.
            ready = first.pop() if first else None
            if ready is None:
                ready = load_in_force(database, parts.releases, parts.embedder)
            return _scorer(parts, ready, loader)

        def go_on() -> bool:
            leases.check()
            return keep_going()

        session = Session(
            stream=_OwnedPartitions(consumer, stream),
            dead_letters=DeadLetterTopic(publisher, stream.config.dlq_topic),
            results=ResultWriter(database, holder),
            scorer=scorer,
            keep_going=go_on,
            report=report,
            policy=policy,
        )
        yield LiveSession(session, leases.epochs)


def _scorer(
    parts: SessionParts, ready: tuple[ReadyRelease, ...], loader: PhotoLoader
) -> BatchScorer:
    settings = parts.settings
    return BatchScorer(
        releases=ready,
        tasks=all_tasks(),
        photos=loader,
        revisions=lambda keys: read_revisions(parts.database, keys),
        limits=EventLimits(
            max_photos=settings.max_photos_per_ad,
            max_title_chars=settings.max_title_chars,
            max_description_chars=settings.max_description_chars,
        ),
        receipts=ReceiptRule(parts.first_day),
    )


def read_revisions(database: Database, keys: list[AdKey]) -> dict[AdKey, int]:
    """The revision held of each of these ads, of those that are held."""
    with database.cursor() as cursor:
        cursor.execute(
            "SELECT a.catalog, a.ad_id, a.revision FROM lalafo.ads AS a "
            "JOIN unnest(%s::text[], %s::text[]) AS k (catalog, ad_id) USING (catalog, ad_id)",
            ([key.catalog for key in keys], [key.ad_id for key in keys]),
        )
        return {AdKey(row[0], row[1]): row[2] for row in cursor.fetchall()}


@dataclass(slots=True)
class _OwnedPartitions:
    """The session's partitions, and the group offsets that lag tools read."""

    consumer: StreamConsumer
    stream: AdStream

    def poll(self, *, max_records: int, timeout_s: float) -> list[StreamRecord]:
        return self.consumer.poll(max_records=max_records, timeout_s=timeout_s)

    def commit_group_offsets(self, next_offsets: Mapping[int, int]) -> None:
        self.stream.commit_group_offsets(next_offsets)
