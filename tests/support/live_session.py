"""A live session for tests, with a real broker, PostgreSQL, photo host, store and model."""

import json
import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path

from lalafo_assets.demo.photo_host import PhotoHost
from ops.models.release import Release
from ops.session.ports import SessionPolicy
from ops.session.tally import Tally
from resources.inference.loading import install, new_embedder
from resources.kafka.topics import AdStream
from resources.photos.fetch import PhotoFetcher
from resources.postgres.database import Database
from resources.releases.promotion import make_live
from resources.sessions.live import LiveSession, SessionParts, open_session
from resources.settings import Settings
from resources.storage.photos import PhotoStore
from resources.storage.releases import ReleaseStore

FIRST_DAY = date(2026, 1, 1)
IDLE_S = 0.6
PATIENT_S = 5.0


@dataclass
class Live:
    """The parts of a session, with methods to publish events and to query the results."""

    settings: Settings
    database: Database
    stream: AdStream
    host: PhotoHost
    parts: SessionParts
    reports: list[Tally] = field(default_factory=list)
    runs: int = 0

    def photo(self, name: str, data: bytes) -> str:
        """Serve a photo from the host, and return its URL."""
        folder = Path(self.settings.home) / "photos"
        (folder / name).write_bytes(data)
        return self.host.url(name)

    def publish(self, *values: bytes | dict, key: bytes | None = b"") -> None:
        """Publish records; a dict is an event, with its correct key unless a key is given."""
        with self.stream.publisher() as publisher:
            for value in values:
                body = value if isinstance(value, bytes) else json.dumps(value).encode()
                record_key = key
                if record_key == b"" and isinstance(value, dict):
                    record_key = f"{value.get('catalog')}/{value.get('ad_id')}".encode()
                publisher.publish(self.settings.ads_topic, key=record_key or None, value=body)
            publisher.flush(10)

    def drain(self, *, run_id: str = "") -> tuple[Tally, LiveSession]:
        """Run one session until it has committed every event and `IDLE_S` seconds have passed.

        A session that can't commit them all ends after `PATIENT_S` seconds without an event.
        """
        self.runs += 1
        run_id = run_id or f"run-{self.runs}"
        policy = SessionPolicy(idle_s=PATIENT_S, report_every_s=0.2)
        done_since: float | None = None

        def keep_going() -> bool:
            nonlocal done_since
            if not live.session.snapshot().partitions or self._is_behind():
                done_since = None
                return True
            done_since = time.monotonic() if done_since is None else done_since
            return time.monotonic() - done_since < IDLE_S

        with open_session(
            self.parts,
            run_id=run_id,
            report=self.reports.append,
            policy=policy,
            keep_going=keep_going,
        ) as live:
            tally = live.session.run()
        return tally, live

    def _is_behind(self) -> bool:
        """Whether the topic has events whose offsets are not committed."""
        (committed,) = self.rows(
            "SELECT coalesce(sum(next_offset), 0) FROM lalafo.stream_offsets WHERE topic = %s",
            self.settings.ads_topic,
        )
        return sum(self.stream.end_offsets().values()) > committed[0]

    def rows(self, query: str, *values: object) -> list[tuple]:
        with self.database.cursor() as cursor:
            cursor.execute(query, values)
            return cursor.fetchall()

    def make_live(self, release: Release) -> str:
        """Install a release, make it live, and return its name."""
        store = ReleaseStore(self.settings.resolved_store_url)
        name = install(self.database, store, release).name
        make_live(self.database, name)
        return name


def live_parts(
    database: Database, settings: Settings, stream: AdStream, host: PhotoHost, release: Release
) -> Live:
    """Create the parts and the topics, and activate the release."""
    stream.ensure_topics(partitions=2)
    parts = SessionParts(
        settings=settings,
        database=database,
        stream=stream,
        store=PhotoStore(settings.resolved_store_url, fsync=False),
        releases=ReleaseStore(settings.resolved_store_url),
        fetcher=lambda: PhotoFetcher.from_settings(settings),
        embedder=lambda of: new_embedder(of, settings),
        first_day=FIRST_DAY,
    )
    live = Live(settings, database, stream, host, parts)
    live.make_live(release)
    return live


def ad(ad_id: str, urls: Sequence[str], revision: int = 1, **changes: object) -> dict:
    """An event of schema 1."""
    return {
        "schema": 1,
        "event_id": uuid.uuid4().hex,
        "kind": "upserted",
        "catalog": "kg",
        "ad_id": ad_id,
        "revision": revision,
        "occurred_at": "2026-05-01T12:00:00+00:00",
        "title": f"ad {ad_id}",
        "category": "chair",
        "price": 100,
        "currency": "KGS",
        "photos": [{"url": url} for url in urls],
        **changes,
    }
