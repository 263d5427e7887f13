"""Dagster's code server: a program that forks its runs, and whether it still starts any.

Dagster 1.13 starts every run with multiprocessing's method `spawn`: a new interpreter, which
imports Dagster, torch and the rest again. This program uses `forkserver`: a process without threads
imports the libraries (`run_libraries.py`) and forks for each run. The project's own modules are
imported by the run, from the files as they are then.

A code server that got SIGTERM stays until its last run has ended, and meanwhile refuses every new
one; a session may run for an hour. Its process lives and it answers pings, so it is asked.
"""

import multiprocessing
import multiprocessing.forkserver
import time
from collections.abc import Callable
from typing import Any

HOST = "127.0.0.1"
PROGRAM, LIBRARIES = "lalafo_assets.stack.code_server", "lalafo_assets.stack.run_libraries"
ASK_TIMEOUT_S = 2
SILENT_S = 30.0
"""A server that has answered, and then does not for so many seconds, is frozen."""


def code_server_command(port: int) -> list[str]:
    """Return the arguments of Python for the code server."""
    module = ["--module-name", "lalafo_assets.definitions"]
    return ["-m", PROGRAM, *module, "--host", HOST, "--port", str(port)]


def refuses_runs(port: int) -> bool:
    """Ask the code server to start a run that does not exist, and return whether it refuses any.

    Dagster 1.13 has no other way to ask: a server that is shutting down answers pings and health
    checks as before. A working server can't read the request, and starts nothing.

    Raises:
        DagsterUserCodeUnreachableError: it does not answer.
    """
    from dagster._grpc.__generated__ import dagster_api_pb2
    from dagster._grpc.client import DagsterGrpcClient
    from dagster._grpc.types import StartRunResult
    from dagster._serdes import deserialize_value

    client = DagsterGrpcClient(port=port, host=HOST)
    reply = client._query(  # `start_run` needs a run
        "StartRun",
        dagster_api_pb2.StartRunRequest,
        timeout=ASK_TIMEOUT_S,
        serialized_execute_run_args="",
    )
    result = deserialize_value(reply.serialized_start_run_result, StartRunResult)
    return not result.success and result.serializable_error_info is None


class CodeServerWatch:
    """Finds out whether a running code server has to be replaced.

    Args:
        ask: returns whether it refuses runs; raises if it does not answer.
        clock: seconds, monotonic.
    """

    def __init__(
        self, ask: Callable[[], bool], *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._ask = ask
        self._clock = clock
        self._answered_at: float | None = None

    def started(self) -> None:
        """Note that a new server was started: it needs a while until it answers."""
        self._answered_at = None

    def why_replace(self) -> str | None:
        """Ask the server, and return why it has to be replaced; None if it need not be."""
        try:
            refuses = self._ask()
        except Exception:  # noqa: BLE001 - whatever gRPC raises: it has not answered
            silent_s = 0.0 if self._answered_at is None else self._clock() - self._answered_at
            return f"has not answered for {silent_s:.0f} s" if silent_s > SILENT_S else None
        self._answered_at = self._clock()
        return "is shutting down, and starts no runs any more" if refuses else None


def main() -> None:
    """Run the code server until it is asked to shut down; takes `dagster api grpc`'s arguments."""
    forks = multiprocessing.get_context("forkserver")
    forks.set_forkserver_preload([LIBRARIES])
    # Now, not with the first run: it imports while this process imports Dagster.
    multiprocessing.forkserver.ensure_running()
    from dagster._cli.api import grpc_command
    from dagster._grpc import server

    class ForkingServer(server.DagsterApiServer):
        """Starts runs by the method `forkserver`."""

        def __init__(self, *arguments: Any, **named: Any) -> None:
            super().__init__(*arguments, **named)
            self._mp_ctx = forks  # type: ignore[assignment]  # another method's context

    # `grpc_command` imports the class by this name when it runs; there is no option for it.
    server.DagsterApiServer = ForkingServer  # type: ignore[misc]
    grpc_command()


if __name__ == "__main__":
    main()
