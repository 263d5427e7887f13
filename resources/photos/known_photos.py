"""Looks up photos that PostgreSQL knows: their renditions and embeddings, many per query."""

import asyncio
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from resources.photos.threads import in_thread
from resources.postgres.database import Database

LOOKUPS_AT_ONCE = 256


@dataclass(frozen=True, slots=True)
class KnownPhoto:
    """What PostgreSQL has stored about a photo."""

    rendition_sha256: bytes
    vectors: Mapping[str, NDArray[np.float16]]  # by backbone


def read_known_photos(
    database: Database, sha256s: Sequence[bytes], backbones: Sequence[str]
) -> dict[bytes, KnownPhoto]:
    """Those of the photos that are stored, with their embeddings under these backbones."""
    with database.statement() as cursor:
        cursor.execute(
            "SELECT p.sha256, p.rendition_sha256, e.backbone, e.embedding "
            "FROM lalafo.photos AS p LEFT JOIN lalafo.embeddings AS e "
            "ON e.sha256 = p.sha256 AND e.backbone = ANY(%s) WHERE p.sha256 = ANY(%s)",
            (list(backbones), list(sha256s)),
            binary=True,
        )
        stored: dict[bytes, tuple[bytes, dict[str, NDArray[np.float16]]]] = {}
        for sha256, rendition, backbone, vector in cursor.fetchall():
            _, vectors = stored.setdefault(sha256, (rendition, {}))
            if backbone is not None:
                vectors[backbone] = vector
    return {sha256: KnownPhoto(*parts) for sha256, parts in stored.items()}


_Lookup: TypeAlias = "tuple[bytes, tuple[str, ...], asyncio.Future[KnownPhoto | None]]"


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

    async def known(self, sha256: bytes, backbones: tuple[str, ...]) -> KnownPhoto | None:
        """What is stored about a photo; None if it is unknown.

        Raises:
            RetryableError: PostgreSQL is unavailable.
        """
        result: asyncio.Future[KnownPhoto | None] = self._loop.create_future()
        self._waiting.append((sha256, backbones, result))
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
            backbones = sorted({name for _, names, _ in batch for name in names})
            shas = list({sha256 for sha256, _, _ in batch})
            found = self._loop.run_in_executor(
                self._thread, in_thread(read_known_photos), self._database, shas, backbones
            )
        except Exception as error:  # noqa: BLE001 - those who wait raise it
            self._resolve(batch, error)
        else:
            found.add_done_callback(lambda done: self._resolve(batch, _result_of(done)))

    def _resolve(
        self, batch: Sequence[_Lookup], found: Mapping[bytes, KnownPhoto] | BaseException
    ) -> None:
        """End every lookup of a batch; a callback that raised would leave some waiting."""
        for sha256, _, result in batch:
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
