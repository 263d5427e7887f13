"""Looking up known photos: an error is raised to those who wait, and the next lookup works."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from resources.photos import known_photos
from resources.photos.known_photos import Lookups
from resources.postgres.database import Database
from tests.support.batches import sha

WITHIN_S = 90.0
READ = known_photos.read_known_photos


def outcomes(database: Database, before_second: Callable[[Lookups], object]) -> list[Any]:
    """Three lookups at once, three after `before_second`, each as its result or its exception.

    Fails if a callback on the loop raises, which ends a session.
    """
    crashed: list[dict[str, Any]] = []

    async def scene() -> list[Any]:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: crashed.append(context))
        lookups, found = Lookups(database), []
        for number in range(2):
            if number == 1:
                before_second(lookups)
            calls = [lookups.known(sha(str(n)), ("b",)) for n in range(3)]
            async with asyncio.timeout(WITHIN_S):
                found += await asyncio.gather(*calls, return_exceptions=True)
        lookups.close()
        return found

    found = asyncio.run(scene())
    assert crashed == []
    return found


@pytest.mark.parametrize(
    ("error", "expected"),
    [(ZeroDivisionError("x"), ZeroDivisionError), (StopIteration("x"), RuntimeError)],
    ids=["any", "StopIteration"],
)
def test_an_error_of_the_query_fails_those_who_wait(
    database: Database,
    monkeypatch: pytest.MonkeyPatch,
    error: Exception,
    expected: type[Exception],
) -> None:
    """Not the session; the lookups after it are answered."""
    errors = [error]

    def read(*args: Any) -> Any:
        if errors:
            raise errors.pop()
        return READ(*args)

    monkeypatch.setattr(known_photos, "read_known_photos", read)
    found = outcomes(database, lambda _: None)
    assert [type(one) for one in found[:3]] == [expected] * 3
    assert found[3:] == [None] * 3


def test_an_error_before_the_query_fails_those_who_wait(database: Database) -> None:
    """As when the thread can't be started."""

    def shut_down(lookups: Lookups) -> None:
        lookups._thread.shutdown()

    found = outcomes(database, shut_down)
    assert found[:3] == [None] * 3
    assert [type(one) for one in found[3:]] == [RuntimeError] * 3


def test_a_cancelled_query_fails_those_who_wait(database: Database) -> None:
    """As when its thread is shut down with lookups in its queue."""

    class Cancelling(ThreadPoolExecutor):
        def submit(self, *args: Any, **kwargs: Any) -> Any:
            future = super().submit(lambda: None)
            future.result()
            other: Any = type(future)()
            other.cancel()
            other.set_running_or_notify_cancel()
            return other

    def cancelling(lookups: Lookups) -> None:
        lookups._thread.shutdown()
        lookups._thread = Cancelling(1)

    assert [type(one) for one in outcomes(database, cancelling)[3:]] == [RuntimeError] * 3
