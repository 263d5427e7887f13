"""Many clients that search at once while ads are replaced: `lalafo bench search --clients`.

The clients share a pool of connections, as those of a gateway do, and each sends its next search
when it has an answer. Does not depend on how an index was built.
"""

import threading
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import Any

import numpy as np
from psycopg_pool import ConnectionPool

from resources.postgres.database import Database

POOL = 10
"""Connections, as many as one gateway has by default."""


def search_together(
    database: Database,
    searches: Sequence[Callable[[Any], object]],
    replace: Callable[[], object],
    *,
    clients: int,
    replaced_per_s: float,
    seconds: float,
) -> dict[str, Any]:
    """Run the clients for some seconds.

    Args:
        searches: each executes one search on the connection that it is given; taken in turn.
        replace: gives one ad another revision with another vector, and commits.

    Returns:
        Searches a second, their latencies with the wait for a connection, replaced ads a second,
        and the latencies of those commits; milliseconds.
    """
    ended = threading.Event()
    times: list[list[float]] = [[] for _ in range(clients)]
    commits: list[float] = []
    errors: list[BaseException] = []

    def client(number: int, pool: ConnectionPool) -> None:
        at = number
        while not ended.is_set():
            began = time.perf_counter()
            with pool.connection() as connection:
                searches[at % len(searches)](connection)
            times[number].append((time.perf_counter() - began) * 1e3)
            at += clients

    def seller() -> None:
        first, count = time.perf_counter(), 0
        while not ended.wait(max(0.0, first + count / replaced_per_s - time.perf_counter())):
            began = time.perf_counter()
            replace()
            commits.append((time.perf_counter() - began) * 1e3)
            count += 1

    def recorded(work: Callable[..., None], *args: object) -> Callable[[], None]:
        def run() -> None:
            try:
                work(*args)
            except BaseException as error:  # noqa: BLE001 - raised in the caller's thread
                errors.append(error)
                ended.set()

        return run

    with ExitStack() as stack:
        pool = stack.enter_context(
            ConnectionPool(
                database.conninfo.text("lalafo-bench"),
                kwargs={"autocommit": True},
                min_size=POOL,
                max_size=POOL,
                timeout=120,
                open=False,
            )
        )
        pool.wait(60)
        threads = [threading.Thread(target=recorded(client, n, pool)) for n in range(clients)]
        if replaced_per_s > 0:
            threads.append(threading.Thread(target=recorded(seller)))
        began = time.perf_counter()
        for thread in threads:
            thread.start()
        ended.wait(seconds)
        took_s = time.perf_counter() - began
        ended.set()
        for thread in threads:
            thread.join()
    if errors:
        raise errors[0]
    all_times = np.concatenate([np.array(one) for one in times])
    return {
        "clients": clients,
        "searches_per_s": round(len(all_times) / took_s, 1),
        **_latencies(all_times, "search"),
        "replaced_per_s": round(len(commits) / took_s, 1),
        **(_latencies(np.array(commits), "replace") if commits else {}),
    }


def _latencies(times: Any, what: str) -> dict[str, float]:
    return {
        f"{what}_{name}_ms": round(float(np.percentile(times, percent)), 1)
        for name, percent in (("p50", 50), ("p99", 99))
    }
