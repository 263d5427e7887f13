"""Runs the whole product on one machine: PostgreSQL, a broker, Dagster, and the gateway.

Owns which processes run, the order in which they start, and that none is left at the end. How they
are watched is in `processes.py`. In production each part is deployed on its own: any Kafka, any
PostgreSQL with pgvector, and Dagster.
"""

import json
import os
from collections.abc import Mapping
from contextlib import ExitStack, closing
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType

import psutil

from lalafo_assets.stack.environment import external_kafka, gateway_environment, pool_limits
from lalafo_assets.stack.ports import HOST, chosen_port, free_port, wait_for_page, wait_for_port
from lalafo_assets.stack.processes import (
    CODE_SERVER,
    DAEMON,
    GATEWAY,
    ROOT,
    WEBSERVER,
    StackProcesses,
)
from lalafo_assets.stack.runs import DagsterRuns
from lalafo_assets.stack.shutdown import CHECKPOINT_S, start_checkpoint, uninterrupted
from ops.errors import ConfigurationError, LalafoError
from ops.types import ProgressCallback
from resources.embedded.broker import EmbeddedBroker
from resources.embedded.postgres import EmbeddedPostgres
from resources.kafka.topics import AdStream
from resources.postgres.database import Database
from resources.processes.child import end_leftovers, hold_home
from resources.settings import load_settings

DAGSTER_STORAGE = """
storage:
  custom:
    module: resources.dagster.storage
    class: PostgresStorage
    config:
      postgres_url:
        env: LALAFO_DAGSTER_DATABASE_URL
"""
DEFAULT_PORT = 3000
GATEWAY_PORT = 8080
STACK_FILE = "stack.json"
LOCATION = "lalafo_assets"
_POSTGRES_STARTS = 10


@dataclass(frozen=True, slots=True)
class RunningStack:
    """What a running stack publishes to other commands, in its home."""

    pid: int
    ui_url: str  # "" where only the services run
    exports: dict[str, str]
    gateway_url: str = ""  # the page's address too; "" where only the services run


def running_stack(home: Path) -> RunningStack | None:
    """Return the stack that is running on a home, or None."""
    try:
        stack = RunningStack(**json.loads((home.resolve() / STACK_FILE).read_text()))
    except (OSError, ValueError, TypeError):
        return None
    return stack if psutil.pid_exists(stack.pid) else None


class Stack:
    """Everything that `lalafo up` runs; a context manager. One per home at a time.

    Args:
        home: LALAFO_HOME, the folder of all state.
        port: of Dagster's webserver; None takes the first free one from 3000 on.
        services_only: start PostgreSQL and the broker, without Dagster and the gateway.
        environment: added to every child's environment. LALAFO_KAFKA_BOOTSTRAP, here or in this
            process's environment, names a Kafka to use; without it the embedded broker starts.
    """

    def __init__(
        self,
        home: Path,
        *,
        port: int | None = None,
        services_only: bool = False,
        environment: Mapping[str, str] | None = None,
        on_progress: ProgressCallback = lambda _: None,
    ) -> None:
        self.home = home.resolve()
        self.dagster_home = self.home / "dagster"
        self._requested_port = port
        self._services_only = services_only
        self._extra = {} if environment is None else dict(environment)
        self._on_progress = on_progress
        self._exits = ExitStack()
        self._processes: StackProcesses | None = None  # None where only the services run
        self.exports: dict[str, str] = {}
        self._port = self._gateway_port = 0
        self.ui_url = ""
        self.gateway_url = ""
        self._postgres: EmbeddedPostgres | None = None  # None until it has started
        self._failed_starts = 0  # of PostgreSQL, in a row
        self.postgres_pid: int | None = None

    def __enter__(self) -> "Stack":
        try:
            self._start()
        except BaseException:
            self._exits.close()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with uninterrupted():
            self._exits.close()

    def check(self) -> None:
        """Restart processes that have ended or have stopped working; call it once a second.

        Raises:
            RetryableError: a process ended while the stack was starting, or ended too often. The
                message has the end of its log.
            ConfigurationError: PostgreSQL ended and does not start again.
        """
        self._restart_postgres()
        if self._processes is not None:
            self._processes.check()

    def _restart_postgres(self) -> None:
        """Start PostgreSQL again if it has ended, as by the kernel for lack of memory."""
        if self._postgres is None or self._postgres.pid is not None:
            return
        self._on_progress("PostgreSQL has ended: starting it again")
        try:
            self._postgres.start()
        except LalafoError:
            # Its last processes may take seconds to notice, and hold its shared memory meanwhile.
            self._failed_starts += 1
            if self._failed_starts >= _POSTGRES_STARTS:
                raise
        else:
            self._failed_starts = 0
            self.postgres_pid = self._postgres.pid

    @property
    def pids(self) -> list[int]:
        """The process ids of Dagster (code server, webserver, daemon) and of the gateway."""
        return [] if self._processes is None else self._processes.pids

    def _start(self) -> None:
        self._exits.enter_context(hold_home(self.home))
        for command in end_leftovers(self.home):
            self._on_progress(f"stopped a process that an earlier stack left: {command[:80]}")
        self._on_progress("starting PostgreSQL with pgvector")
        postgres = EmbeddedPostgres(self.home)
        self._exits.callback(postgres.stop)
        postgres.start()
        self._postgres, self.postgres_pid = postgres, postgres.pid
        self.exports = {
            "LALAFO_HOME": str(self.home),
            **postgres.exports(),
            **self._broker_exports(),
            **self._addresses(),
            **self._extra,
            "DAGSTER_HOME": str(self._make_dagster_home()),
        }
        os.environ.update(self.exports)
        self._prepare()
        if not self._services_only:
            processes = StackProcesses(self.home, self.exports, self._on_progress)
            self._processes = processes
            self._exits.callback(self._stop_processes, postgres, processes)
            self._start_gateway(processes)
            self._start_dagster(processes)
            wait_for_page(f"{self.gateway_url}/healthz", self.check, what="the gateway")
        stack = RunningStack(os.getpid(), self.ui_url, self.exports, self.gateway_url)
        file = self.home / STACK_FILE
        file.write_text(json.dumps(asdict(stack)))
        self._exits.callback(file.unlink, missing_ok=True)
        if self._processes is not None:
            self._processes.is_up = True
        self._on_progress("the stack is up")

    def _broker_exports(self) -> dict[str, str]:
        """Return the exports of an external Kafka, or start the embedded broker."""
        external = external_kafka({**os.environ, **self._extra})
        if external:
            self._on_progress(f"using Kafka at {external['LALAFO_KAFKA_BOOTSTRAP']}")
            return external
        self._on_progress("starting the embedded broker")
        broker = EmbeddedBroker(self.home)
        self._exits.callback(broker.stop)
        broker.start()
        return broker.exports()

    def _make_dagster_home(self) -> Path:
        config = ROOT / "dagster.yaml"
        if not config.exists():
            raise ConfigurationError(
                f"{config} is missing: run `lalafo` from a checkout of the repository"
            )
        self.dagster_home.mkdir(parents=True, exist_ok=True)
        (self.dagster_home / "dagster.yaml").write_text(config.read_text() + DAGSTER_STORAGE)
        return self.dagster_home

    def _prepare(self) -> None:
        import dagster as dg  # here: commands that only call `running_stack` start 2 s sooner

        self._on_progress("migrating the database")
        settings = load_settings()
        with closing(Database.from_settings(settings)) as database:
            database.migrate()
        with AdStream.from_settings(settings) as stream:
            stream.ensure_topics()
        with dg.DagsterInstance.from_config(str(self.dagster_home)) as instance:
            for pool, limit in pool_limits(settings.sessions).items():
                instance.event_log_storage.set_concurrency_slots(pool, limit)

    def _addresses(self) -> dict[str, str]:
        """Choose the addresses of Dagster's UI and the gateway; restarted processes keep them."""
        if self._services_only:
            return {}
        self._port = chosen_port(self._requested_port, DEFAULT_PORT)
        self._gateway_port = free_port(
            load_settings().gateway_port or GATEWAY_PORT, apart_from=[self._port]
        )
        self.ui_url = f"http://{HOST}:{self._port}"
        self.gateway_url = f"http://{HOST}:{self._gateway_port}"
        return {"LALAFO_DAGSTER_URL": self.ui_url, "LALAFO_GATEWAY_URL": self.gateway_url}

    def _start_gateway(self, processes: StackProcesses) -> None:
        address = ["--host", HOST, "--port", str(self._gateway_port)]
        processes.start(
            GATEWAY,
            ["-m", "gateway", *address],
            environment=gateway_environment({**os.environ, **self.exports}),
        )

    def _start_dagster(self, processes: StackProcesses) -> None:
        self._on_progress("starting the gateway, and Dagster's code server, webserver and daemon")
        code_port = free_port(self._port + 1, apart_from=[self._gateway_port])
        workspace = self.home / "dagster" / "workspace.yaml"
        location = {"host": HOST, "port": code_port, "location_name": LOCATION}
        # JSON is YAML too
        workspace.write_text(json.dumps({"load_from": [{"grpc_server": location}]}))
        common = ["-w", str(workspace)]
        processes.start_code_server(code_port)
        wait_for_port(code_port, self.check, what=CODE_SERVER)
        web = ["-m", "dagster_webserver", *common, "-h", HOST, "-p", str(self._port)]
        processes.start(WEBSERVER, web)
        processes.start(DAEMON, ["-m", "dagster._daemon", "run", *common])
        wait_for_page(f"{self.ui_url}/server_info", self.check, what=WEBSERVER)

    def _stop_processes(self, postgres: EmbeddedPostgres, processes: StackProcesses) -> None:
        """Stop what this class started, and end Dagster's runs that could not end by themselves."""
        checkpoint = start_checkpoint(postgres.url())
        runs = DagsterRuns(self.dagster_home, self._on_progress)
        processes.stop(runs.are_finished)
        end_leftovers(self.home, timeout_s=0.5)
        runs.end_unfinished()
        checkpoint.join(CHECKPOINT_S)
