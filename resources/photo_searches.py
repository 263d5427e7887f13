"""Embeds the photos that searches name and that no ad has, with the live release's backbone.

Requests are rows of `photo_searches`, written by the gateway, which knows no model; a notification
wakes the thread here, which writes the vector, or why there is none. Nothing of a photo is kept but
its row, for an hour. Does not depend on leases: of several processes each takes other rows.
"""

import asyncio
import threading
import time
from collections.abc import Callable
from contextlib import closing, suppress
from dataclasses import dataclass
from typing import Any, LiteralString, NamedTuple, Self

import numpy as np
import psycopg
import structlog
from numpy.typing import NDArray

from ops.errors import LalafoError, Reason
from ops.scoring.ready_release import ReadyRelease
from ops.types import Failure, PhotoNote, PhotoRef
from resources.inference.cache import LoadedReleases
from resources.photos.loading import PhotoLoader
from resources.postgres.connections import through_pooler
from resources.postgres.database import Database
from resources.releases.active import read_active_releases
from resources.vector_search import photo_requests
from resources.vector_search.photo_requests import BLANK

POLL_S = 1.0
"""How long a look waits for a notification; a lost one costs so much."""

POOLED_POLL_S = 0.1
"""Through a pooler there are no notifications."""

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class PhotoModels:
    """What a photo is loaded and embedded with."""

    loader: PhotoLoader  # entered on the event loop that uses it
    releases: LoadedReleases


class _Request(NamedTuple):
    id: int
    ref: PhotoRef


class _Answer(NamedTuple):
    sha256: bytes | None
    vector: NDArray[np.float16] | None
    reason: str | None = None
    detail: str | None = None


class PhotoSearches:
    """Answers requests in a thread of its own, each by itself: a slow host delays no other search.
    A context manager.

    Args:
        open_models: called for the first request, so that a process that never embeds a photo
            needs no memory for a model.
        on_answer: called with each answer, `vector` or the reason why there is none, and the
            seconds that it took.
    """

    def __init__(
        self,
        database: Database,
        open_models: Callable[[], PhotoModels],
        *,
        on_answer: Callable[[str, float], object] = lambda *_: None,
    ) -> None:
        self._database = database
        self._open_models = open_models
        self._on_answer = on_answer
        self._models: PhotoModels | None = None
        self._opening, self._embedding = asyncio.Lock(), asyncio.Lock()
        self._under_way: set[asyncio.Task[None]] = set()
        self._ended = threading.Event()
        self._thread = threading.Thread(
            target=lambda: asyncio.run(self._run()), name="photo-searches", daemon=True
        )

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join(POLL_S * 5)

    async def _run(self) -> None:
        while not self._ended.is_set():
            try:
                await self._listen()
            except (LalafoError, psycopg.Error) as error:
                log.warning("photo_searches.waiting", error=str(error))
                await asyncio.sleep(POLL_S)
            except Exception:
                log.exception("photo_searches.failed")
                await asyncio.sleep(POLL_S)
        for task in self._under_way:
            task.cancel()
        await asyncio.gather(*self._under_way, return_exceptions=True)
        if self._models is not None:
            await self._models.loader.__aexit__(None, None, None)

    async def _listen(self) -> None:
        """Take requests and answer them, until the end or an outage."""
        with self._database.errors():
            connection = await asyncio.to_thread(
                self._database.connect_directly, "lalafo-photo-searches"
            )
            with closing(connection):
                pooled = through_pooler(connection)
                if not pooled:
                    await asyncio.to_thread(connection.execute, f"LISTEN {photo_requests.CHANNEL}")
                while not self._ended.is_set():
                    free = photo_requests.AT_ONCE - len(self._under_way)
                    for request in await asyncio.to_thread(_taken, connection, free):
                        task = asyncio.create_task(self._answer(request))
                        self._under_way.add(task)
                        task.add_done_callback(self._under_way.discard)
                    await asyncio.to_thread(_wait, connection, POOLED_POLL_S if pooled else POLL_S)

    async def _answer(self, request: _Request) -> None:
        """Embed the photo and write the answer; after an outage the request is taken again."""
        began = time.monotonic()
        try:
            backbone, answer = await self._embedded(request.ref)
            sha256, vector, *why = answer
            values = (sha256, backbone, vector, *why, request.id)
            await asyncio.to_thread(self._execute, photo_requests.ANSWER, values)
            self._on_answer(answer.reason or "vector", time.monotonic() - began)
        except (LalafoError, psycopg.Error) as error:
            log.warning("photo_searches.not_answered", error=str(error))
            with suppress(LalafoError, psycopg.Error):
                again = photo_requests.TAKE_AGAIN, ([request.id],)
                await asyncio.to_thread(self._execute, *again)
        except Exception as error:
            log.exception("photo_searches.failed")
            reason = str(Reason.INTERNAL_ERROR), type(error).__name__
            with suppress(LalafoError, psycopg.Error):
                failed = (None, None, None, *reason, request.id)
                await asyncio.to_thread(self._execute, photo_requests.ANSWER, failed)

    async def _embedded(self, ref: PhotoRef) -> tuple[str, _Answer]:
        """The backbone, and the answer."""
        async with self._opening:
            if self._models is None:
                models = await asyncio.to_thread(self._open_models)
                await models.loader.__aenter__()
                self._models = models
            loader, live = self._models.loader, await asyncio.to_thread(self._live, self._models)
        loaded = await loader.load([ref], {live.backbone: live.preprocessing})
        photo = loaded.by_ref[ref]
        if isinstance(photo, Failure):
            return live.backbone, _Answer(None, None, str(photo.reason), photo.detail)
        if photo.note is PhotoNote.PHOTO_BLANK:
            return live.backbone, _Answer(photo.sha256, None, str(photo.note), BLANK)
        known = photo.vectors.get(live.backbone)
        if known is not None:
            return live.backbone, _Answer(photo.sha256, known)
        image = photo.images[live.backbone]
        async with self._embedding:
            (vector,) = await asyncio.to_thread(live.embedder.embed, [image])
        return live.backbone, _Answer(photo.sha256, vector)

    def _live(self, models: PhotoModels) -> ReadyRelease:
        known = read_active_releases(self._database).live
        live = models.releases.load(known)
        models.releases.keep([known])
        return live

    def _execute(self, statement: LiteralString, values: tuple[object, ...]) -> None:
        with self._database.statement() as cursor:
            cursor.execute(statement, values)


def _taken(connection: psycopg.Connection[Any], most: int) -> list[_Request]:
    if most <= 0:
        return []
    rows = connection.execute(photo_requests.TAKE, (most,)).fetchall()
    return [
        _Request(id, PhotoRef(url, None if url is not None else sha256)) for id, url, sha256 in rows
    ]


def _wait(connection: psycopg.Connection[Any], seconds: float) -> None:
    """Wait for a notification; if none comes, delete what is old."""
    for _ in connection.notifies(timeout=seconds, stop_after=1):
        return
    connection.execute(photo_requests.FORGET)
