"""Dagster's code server: its command, and whether it still starts runs.

A code server that got SIGTERM stays until its last run has ended, and meanwhile refuses every new
one; a session may run for an hour. Its process lives and it answers pings, so it is asked.
"""

import time
from collections.abc import Callable

HOST = "127.0.0.1"
ASK_TIMEOUT_S = 2
SILENT_S = 30.0
"""A server that has answered, and then does not for so many seconds, is frozen."""


def code_server_command(port: int) -> list[str]:
    """Return the arguments of Python for the code server."""
    module = ["--module-name", "lalafo_assets.definitions"]
    return ["-m", "dagster", "api", "grpc", *module, "--host", HOST, "--port", str(port)]


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
