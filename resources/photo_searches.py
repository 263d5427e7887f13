"""Embeds the photos that searches name and that no ad has, with the live release's backbone.

Requests are rows of `photo_searches`, written by the gateway, which knows no model; a notification
wakes the thread here, which writes the vector, or why there is none. Nothing of a photo is kept but
its row, for an hour. Does not depend on leases: of several processes each takes other rows.
"""

import asyncio
import threading
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from types import TracebackType
from typing import Any, NamedTuple, Self

import numpy as np
import psycopg
import structlog
from numpy.typing import NDArray

from ops.errors import LalafoError
from ops.scoring.ads import LoadedPhoto
from ops.scoring.ready_release import ReadyRelease
from ops.types import Failure, PhotoRef
from resources.inference.cache import LoadedReleases
from resources.photos.loading import PhotoLoader
from resources.postgres.connections import through_pooler
from resources.postgres.database import Database
from resources.releases.active import read_active_releases
from resources.vector_search import photo_requests

POLL_S = 1.0
"""How long a look waits for a notification; a lost one costs so much."""

POOLED_POLL_S = 0.1
"""Through a pooler there are no notifications."""

BLANK = "photo_blank"
LEAST_DEVIATION = 2.0
"""Of a photo's pixels, in grey levels of 255: one with less shows nothing, in any colour."""

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
    """Answers requests in a thread of its own; a context manager.

    Args:
        open_models: called for the first request, so that a process that never embeds a photo
            needs no memory for a model.
    """

    def __init__(self, database: Database, open_models: Callable[[], PhotoModels]) -> None:
        self._database = database
        self._open_models = open_models
        self._models: PhotoModels | None = None
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="photo-searches", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._ended.set()
        self._thread.join(POLL_S * 5)

    def _run(self) -> None:
        with asyncio.Runner() as loop:
            while not self._ended.is_set():
                try:
                    self._listen(loop)
                except (LalafoError, psycopg.Error) as error:
                    log.warning("photo_searches.waiting", error=str(error))
                    self._ended.wait(POLL_S)
                except Exception:
                    log.exception("photo_searches.failed")
                    self._ended.wait(POLL_S)
            if self._models is not None:
                loop.run(self._models.loader.__aexit__(None, None, None))

    def _listen(self, loop: asyncio.Runner) -> None:
        with (
            self._database.errors(),
            closing(self._database.connect_directly("lalafo-photo-searches")) as connection,
        ):
            pooled = through_pooler(connection)
            if not pooled:
                connection.execute(f"LISTEN {photo_requests.CHANNEL}")
            while not self._ended.is_set():
                if self._answer_some(connection, loop) == 0:
                    connection.execute(photo_requests.FORGET)
                    if pooled:
                        self._ended.wait(POOLED_POLL_S)
                        continue
                    for _ in connection.notifies(timeout=POLL_S, stop_after=1):
                        pass

    def _answer_some(self, connection: psycopg.Connection[Any], loop: asyncio.Runner) -> int:
        asked = [
            _Request(id, PhotoRef(url, None if url is not None else sha256))
            for id, url, sha256 in connection.execute(photo_requests.TAKE).fetchall()
        ]
        if asked:
            try:
                backbone, answers = loop.run(self._embedded([it.ref for it in asked]))
            except LalafoError:
                connection.execute(photo_requests.TAKE_AGAIN, ([it.id for it in asked],))
                raise
            for one, answer in zip(asked, answers, strict=True):
                vector = None if answer.vector is None else _text(answer.vector)
                values = (answer.sha256, backbone, vector, answer.reason, answer.detail, one.id)
                connection.execute(photo_requests.ANSWER, values)
        return len(asked)

    async def _embedded(self, refs: Sequence[PhotoRef]) -> tuple[str, list[_Answer]]:
        """The backbone, and an answer for each photo."""
        if self._models is None:
            models = self._open_models()
            await models.loader.__aenter__()
            self._models = models
        known = read_active_releases(self._database).live
        live = self._models.releases.load(known)
        self._models.releases.keep([known])
        views = {live.backbone: live.preprocessing}
        loaded = await self._models.loader.load(refs, views)
        return live.backbone, [_answer(loaded.by_ref[ref], live) for ref in refs]


def _answer(photo: LoadedPhoto | Failure, live: ReadyRelease) -> _Answer:
    if isinstance(photo, Failure):
        return _Answer(None, None, str(photo.reason), photo.detail)
    known = photo.vectors.get(live.backbone)
    if known is not None:
        return _Answer(photo.sha256, known)
    image = photo.images[live.backbone]
    if image.std(axis=(0, 1)).max() < LEAST_DEVIATION:
        return _Answer(photo.sha256, None, BLANK, "it has one colour: it is like no other photo")
    return _Answer(photo.sha256, live.embedder.embed([image])[0])


def _text(vector: NDArray[np.float16]) -> str:
    """The vector as pgvector's text."""
    return "[" + ",".join(map(str, vector.tolist())) + "]"
