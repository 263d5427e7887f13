"""The imports and parts of a session's process; the fork server imports this module once."""

import os
from contextlib import closing
from datetime import date

import ops.models.embed  # noqa: F401 - torch, once
from resources.inference.loading import new_embedder
from resources.kafka.topics import AdStream
from resources.photos.fetch import PhotoFetcher
from resources.postgres.database import Database
from resources.sessions.live import SessionParts, open_session, session_policy
from resources.settings import Settings
from resources.storage.photos import PhotoStore
from resources.storage.releases import ReleaseStore


def run_session(settings: Settings, run_id: str) -> None:
    """Run one session until it ends."""
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
            fetcher=lambda: PhotoFetcher.from_settings(settings),
            embedder=lambda of: new_embedder(of, settings),
            first_day=date(2026, 1, 1),
            end_process=os._exit,
        )
        with open_session(
            parts, run_id=run_id, report=lambda _: None, policy=session_policy(settings)
        ) as live:
            live.session.run()
