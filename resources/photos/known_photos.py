"""Looks up photos that PostgreSQL knows: their renditions and embeddings, many per query."""

import asyncio
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from ops.scoring.ads import AnsweredBy
from ops.types import PhotoNote, Prediction
from resources.photos.threads import in_thread
from resources.postgres.database import Database
from resources.releases.photo_answers import read_photo_answers

LOOKUPS_AT_ONCE = 256


@dataclass(frozen=True, slots=True)
class KnownPhoto:
    """What PostgreSQL has stored about a photo."""

    rendition_sha256: bytes
    vectors: Mapping[str, NDArray[np.float16]]  # by backbone
    source: tuple[int, int] = (0, 0)  # width and height of the seller's file
    answers: Mapping[AnsweredBy, Prediction] = field(default_factory=dict)
    note: PhotoNote | None = None


def read_known_photos(
    database: Database,
    sha256s: Sequence[bytes],
    backbones: Sequence[str],
    answered_by: Sequence[AnsweredBy] = (),
) -> dict[bytes, KnownPhoto]:
    """Those of the photos that are stored, with their embeddings under these backbones.

    Args:
        answered_by: whose answers for the photos are read too.
    """
    answers = read_photo_answers(database, sha256s, answered_by)
    with database.statement() as cursor:
        cursor.execute(
            "SELECT p.sha256, p.rendition_sha256, p.source_width, p.source_height, p.note, "
            "e.backbone, e.embedding "
            "FROM lalafo.photos AS p LEFT JOIN lalafo.embeddings AS e "
            "ON e.sha256 = p.sha256 AND e.backbone = ANY(%s) WHERE p.sha256 = ANY(%s)",
            (list(backbones), list(sha256s)),
            binary=True,
        )
        stored: dict[bytes, KnownPhoto] = {}
        vectors: dict[bytes, dict[str, NDArray[np.float16]]] = {}
        for sha256, rendition, width, height, note, backbone, vector in cursor.fetchall():
            of = vectors.setdefault(sha256, {})
            if sha256 not in stored:
                stored[sha256] = KnownPhoto(
                    *(rendition, of, (width, height), answers.get(sha256, _NO_ANSWERS)),
                    _NOTES.get(note),  # None: of a later version, too
                )
            if backbone is not None:
                of[backbone] = vector
    return stored


_NOTES: Mapping[str | None, PhotoNote] = {str(note): note for note in PhotoNote}
_NO_ANSWERS: Mapping[AnsweredBy, Prediction] = MappingProxyType({})

_Lookup: TypeAlias = (
    "tuple[bytes, tuple[str, ...], tuple[AnsweredBy, ...], asyncio.Future[KnownPhoto | None]]"
)


class Lookups:
    """Looks up known photos in PostgreSQL, many per query.

    One query runs at a time; lookups that arrive meanwhile are collected for the next one.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._loop = asyncio.get_running_loop()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="photo-lookup")
        self._waiting: list[_Lookup] = []
        self._running = False

    async def known(
        self,
        sha256: bytes,
        backbones: tuple[str, ...],
        answered_by: tuple[AnsweredBy, ...] = (),
    ) -> KnownPhoto | None:
        """What is stored about a photo; None if it is unknown.

        Raises:
            RetryableError: PostgreSQL is unavailable.
        """
        result: asyncio.Future[KnownPhoto | None] = self._loop.create_future()
        self._waiting.append((sha256, backbones, answered_by, result))
        if not self._running:
            self._running = True
            self._loop.call_soon(self._query)
        return await result

    def close(self) -> None:
        self._thread.shutdown()

    def _query(self) -> None:
        batch, self._waiting = self._waiting[:LOOKUPS_AT_ONCE], self._waiting[LOOKUPS_AT_ONCE:]
        try:
            # Almost always all lookups are for the same backbones; reading more is harmless.
            backbones = sorted({name for _, names, _, _ in batch for name in names})
            answered_by = sorted({pair for _, _, pairs, _ in batch for pair in pairs})
            shas = list({sha256 for sha256, _, _, _ in batch})
            found = self._loop.run_in_executor(
                self._thread,
                in_thread(read_known_photos),
                *(self._database, shas, backbones, answered_by),
            )
        except Exception as error:  # noqa: BLE001 - those who wait raise it
            self._resolve(batch, error)
        else:
            found.add_done_callback(lambda done: self._resolve(batch, _result_of(done)))

    def _resolve(
        self, batch: Sequence[_Lookup], found: Mapping[bytes, KnownPhoto] | BaseException
    ) -> None:
        """End every lookup of a batch; a callback that raised would leave some waiting."""
        for sha256, _, _, result in batch:
            if result.done():
                continue  # its ad was cancelled meanwhile
            if isinstance(found, BaseException):
                result.set_exception(found)
            else:
                result.set_result(found.get(sha256))
        self._running = bool(self._waiting)
        if self._running:
            self._loop.call_soon(self._query)


def _result_of(
    done: "asyncio.Future[dict[bytes, KnownPhoto]]",
) -> Mapping[bytes, KnownPhoto] | BaseException:
    if done.cancelled():
        return RuntimeError("the lookup of known photos was cancelled")
    error = done.exception()
    return done.result() if error is None else error
