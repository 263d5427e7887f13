"""The imports and parts of a session's process; the fork server imports this module once.

A photo's URL with KILLS in it kills the process that fetches it, as a crash in a native library
does. While the file `hangs(settings, run_id)` exists, that session's poll does not return. The file
`loads_at(settings, run_id)` gets the scheduling policy with which a session loads its model.
"""

import os
import signal
from contextlib import closing
from datetime import date
from pathlib import Path
from typing import Any

from ops.models.embed import Embedder  # torch, once
from ops.models.release import FrozenBackbone
from ops.types import StreamRecord
from resources.inference.loading import new_embedder
from resources.kafka.consumer import StreamConsumer
from resources.kafka.topics import AdStream
from resources.photos.fetch import PhotoFetcher
from resources.postgres.database import Database
from resources.sessions.live import SessionParts, open_session, session_policy
from resources.settings import Settings
from resources.storage.photos import PhotoStore
from resources.storage.releases import ReleaseStore

KILLS = "kill-this-process"


def hangs(settings: Settings, run_id: str) -> Path:
    """The file that makes a session's poll spin; the poll writes to it that it does."""
    return settings.home / f"{run_id}.hangs"


def loads_at(settings: Settings, run_id: str) -> Path:
    """The file that gets the policy of the thread that loads the model."""
    return settings.home / f"loads-at-{run_id}"


class KillingFetcher(PhotoFetcher):
    """Fetches photos, and dies of some."""

    async def fetch(self, url: str) -> bytes:
        if KILLS in url:
            os.kill(os.getpid(), signal.SIGKILL)
        return await super().fetch(url)


def hang_at_polls(file: Path) -> None:
    """Let the consumer of this process spin while the file exists."""
    poll = StreamConsumer.poll

    def spin(self: StreamConsumer, **how: Any) -> list[StreamRecord]:
        while file.exists():
            file.write_text("hangs")
        return poll(self, **how)

    StreamConsumer.poll = spin  # type: ignore[method-assign,assignment]


def run_session(settings: Settings, run_id: str) -> None:
    """Run one session until it ends."""
    hang_at_polls(hangs(settings, run_id))

    def embedder(backbone: FrozenBackbone) -> Embedder:
        loads_at(settings, run_id).write_text(str(os.sched_getscheduler(0)))
        return new_embedder(backbone, settings)

    with (
        closing(Database(settings.database_url)) as database,
        AdStream.from_settings(settings) as stream,
    ):
        parts = SessionParts(
            settings=settings,
            database=database,
            stream=stream,
            store=PhotoStore(settings.resolved_store_url, fsync=False),
            releases=ReleaseStore(settings.resolved_store_url),
            fetcher=lambda: KillingFetcher.from_settings(settings),
            embedder=embedder,
            first_day=date(2026, 1, 1),
            end_process=os._exit,
            yields=settings.background_priority == "idle",
        )
        with open_session(
            parts, run_id=run_id, report=lambda _: None, policy=session_policy(settings)
        ) as live:
            live.session.run()
