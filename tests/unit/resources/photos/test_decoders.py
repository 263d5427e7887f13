"""Decoding in threads: large photos share a budget; small ones never wait for them."""

import asyncio
import threading
from collections.abc import Awaitable, Callable

import pytest

from ops.errors import BadInputError, Reason
from resources.photos.decoders import SMALL_BYTES, Budget, Decoders

LARGE = SMALL_BYTES + 1
WITHIN_S = 90.0


def run(scene: Callable[[], Awaitable[None]]) -> None:
    async def limited() -> None:
        async with asyncio.timeout(WITHIN_S):
            await scene()

    asyncio.run(limited())


async def settled() -> None:
    """Let every task run until it waits."""
    for _ in range(20):
        await asyncio.sleep(0)


def test_a_small_photo_does_not_wait_behind_large_ones() -> None:
    """Twelve large photos are stuck in their threads; a small one is done at once."""

    async def scene() -> None:
        decoders, blocked = Decoders(threads=1, memory_bytes=10 * LARGE), threading.Event()
        large = [asyncio.create_task(decoders.large(LARGE, blocked.wait)) for _ in range(12)]
        await settled()
        assert await decoders.small(lambda: "small") == "small"
        assert not any(task.done() for task in large)
        blocked.set()
        assert await asyncio.gather(*large) == [True] * 12
        decoders.close()

    run(scene)


def test_the_large_photos_that_are_decoded_stay_within_the_budget() -> None:
    """However many threads there are; all are decoded in the end."""

    async def scene() -> None:
        decoders, lock = Decoders(threads=24, memory_bytes=100), threading.Lock()
        running, most = 0, 0
        both = threading.Barrier(2)

        def decode(n_bytes: int) -> None:
            nonlocal running, most
            with lock:
                running += n_bytes
                most = max(most, running)
            both.wait(WITHIN_S)  # two of 40 fit: each waits for the other
            with lock:
                running -= n_bytes

        await asyncio.gather(*(decoders.large(40, decode, 40) for _ in range(8)))
        assert most == 80
        decoders.close()

    run(scene)


def test_a_photo_keeps_its_share_until_its_thread_has_finished() -> None:
    """A cancelled call does not free memory that its thread still uses."""

    async def scene() -> None:
        decoders = Decoders(threads=6, memory_bytes=100)
        started, blocked = threading.Event(), threading.Event()

        def decode() -> None:
            started.set()
            blocked.wait(WITHIN_S)

        first = asyncio.create_task(decoders.large(80, decode))
        await asyncio.to_thread(started.wait, WITHIN_S)
        first.cancel()
        second = asyncio.create_task(decoders.large(80, lambda: "second"))
        await settled()
        assert first.cancelled() and not second.done()
        blocked.set()
        assert await second == "second"
        decoders.close()

    run(scene)


def test_an_error_frees_the_share() -> None:
    """The next photo is decoded."""

    async def scene() -> None:
        decoders = Decoders(threads=1, memory_bytes=100)
        for _ in range(3):
            with pytest.raises(ZeroDivisionError):
                await decoders.large(100, lambda: 1 // 0)
        decoders.close()

    run(scene)


def test_a_photo_that_needs_more_than_the_whole_budget_is_refused() -> None:
    """With its reason; one that needs all of it is accepted."""

    async def scene() -> None:
        decoders = Decoders(threads=1, memory_bytes=2 * LARGE)
        assert decoders.is_large(2 * LARGE) and decoders.is_large(LARGE)
        assert not decoders.is_large(SMALL_BYTES)
        with pytest.raises(BadInputError, match="80 MB") as caught:
            decoders.is_large(2 * LARGE + 1)
        assert caught.value.reason is Reason.PHOTO_TOO_LARGE
        decoders.close()

    run(scene)


def test_the_budget_is_given_in_the_order_of_the_calls() -> None:
    """A large amount is not overtaken by small ones; a cancelled wait blocks nobody."""

    async def scene() -> None:
        budget, order = Budget(10), list[str]()

        async def take(name: str, amount: int) -> None:
            await budget.acquire(amount)
            order.append(name)

        await budget.acquire(6)
        waiting = [asyncio.create_task(take(*item)) for item in (("a", 8), ("b", 3), ("c", 99))]
        await settled()
        assert order == []
        waiting[0].cancel()
        await settled()
        assert order == ["b"]
        budget.release(6)
        budget.release(3)
        await settled()
        assert order == ["b", "c"]

    run(scene)


def test_a_share_that_was_granted_to_a_cancelled_call_is_free_again() -> None:
    """Both happen before the call goes on."""

    async def scene() -> None:
        budget = Budget(10)
        await budget.acquire(10)
        waiting = asyncio.create_task(budget.acquire(10))
        await settled()
        budget.release(10)
        waiting.cancel()
        await settled()
        assert waiting.cancelled()
        await budget.acquire(10)

    run(scene)


def test_no_exception_leaves_its_photo_waiting() -> None:
    """asyncio refuses StopIteration in a future, which a library's `next` may raise."""

    def broken() -> None:
        next(iter(()))

    async def scene() -> None:
        decoders = Decoders(threads=1, memory_bytes=LARGE)
        for call in (decoders.small(broken), decoders.large(LARGE, broken)):
            with pytest.raises(RuntimeError, match="StopIteration") as raised:
                await call
            assert isinstance(raised.value.__cause__, StopIteration)
        decoders.close()

    run(scene)
