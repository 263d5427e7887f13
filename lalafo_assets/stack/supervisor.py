"""Runs the whole product on one machine: PostgreSQL, a broker, Dagster, and the gateway.

Owns which processes run, the order in which they start, and that none is left at the end. How they
are watched is in `processes.py`. In production each part is deployed on its own: any Kafka, any
PostgreSQL with pgvector, and Dagster.
"""

import json
import os
from collections.abc import Callable, Mapping, MutableMapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType

import psutil

from lalafo_assets.stack.environment import (
    gateway_environment,
    make_dagster_home,
    pictures_environment,
    pool_limits,
)
from lalafo_assets.stack.first_sessions import LOCATION, start_first_sessions
from lalafo_assets.stack.leftovers import end_clients, end_marked
from lalafo_assets.stack.ports import HOST, PortClaims, StackPorts, wait_for_page, wait_for_port
from lalafo_assets.stack.processes import (
    CODE_SERVER,
    DAEMON,
    GATEWAY,
    ROOT,
    WEBSERVER,
    StackProcesses,
)
from lalafo_assets.stack.runs import DagsterRuns
from lalafo_assets.stack.servers import Servers
from lalafo_assets.stack.shutdown import CHECKPOINT_S, uninterrupted
from ops.types import ProgressCallback
from resources.kafka.topics import AdStream
from resources.postgres.database import Database
from resources.processes.child import end_leftovers, hold_home
from resources.sessions.group.members import MemberState, read_sessions
from resources.settings import load_settings

STACK_FILE = "stack.json"


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
        gateway_port: None takes LALAFO_GATEWAY_PORT, else the first free one from 8080 on.
        services_only: start PostgreSQL and the broker, without Dagster and the gateway.
        environment: added to every child's environment. LALAFO_KAFKA_BOOTSTRAP and
            LALAFO_DATABASE_URL, here or in this process's environment, name servers to use; without
            them the embedded ones start.
        prepare: called with the migrated database before a session can start.
    """

    def __init__(
        self,
        home: Path,
        *,
        port: int | None = None,
        gateway_port: int | None = None,
        services_only: bool = False,
        environment: Mapping[str, str] | None = None,
        prepare: Callable[[Database], None] = lambda _: None,
        on_progress: ProgressCallback = lambda _: None,
    ) -> None:
        self.home = home.resolve()
        self.dagster_home = self.home / "dagster"
        self._requested_ports = port, gateway_port
        self._services_only = services_only
        self._prepare_more = prepare
        self._extra = {} if environment is None else dict(environment)
        self._on_progress = on_progress
        self._exits = ExitStack()
        self._processes: StackProcesses | None = None  # None where only the services run
        self.exports: dict[str, str] = {}
        self._ports = StackPorts(0, 0, 0)
        self.ui_url = ""
        self.gateway_url = ""
        environment_now = {**os.environ, **self._extra}
        self._servers = Servers(self.home, environment_now, self._exits, on_progress)

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
            RetryableError: the embedded broker ended; or a process ended while the stack was
                starting, or too often. The message has the end of its log.
            ConfigurationError: PostgreSQL ended and does not start again.
        """
        self._servers.check()
        if self._processes is not None:
            self._processes.check()

    @property
    def postgres_pid(self) -> int | None:
        """The process id of the embedded PostgreSQL; None where an external one is used."""
        return self._servers.postgres_pid

    @property
    def pids(self) -> list[int]:
        """The process ids of Dagster (code server, webserver, daemon) and of the gateway."""
        return [] if self._processes is None else self._processes.pids

    def _start(self) -> None:
        self._exits.enter_context(hold_home(self.home))
        self._say(end_marked(self.home))
        addresses = self._addresses()  # before anything starts that they would be found out after
        self._exits.callback(_restored(os.environ))
        databases = self._servers.start_postgres()
        self._say(end_clients(self.home))
        self.exports = {
            "LALAFO_HOME": str(self.home),
            **self._extra,
            **databases,
            **self._servers.start_broker(),
            **addresses,
            "DAGSTER_HOME": str(make_dagster_home(self.dagster_home, ROOT)),
        }
        os.environ.update(self.exports)
        self._migrate()
        if self._services_only:
            self._prepare()
        else:
            processes = StackProcesses(self.home, self.exports, self._on_progress)
            self._processes = processes
            self._exits.callback(self._stop_processes, processes)
            self._start_dagster(processes)
            wait_for_page(f"{self.gateway_url}/healthz", self.check, what="the gateway")
        stack = RunningStack(os.getpid(), self.ui_url, self.exports, self.gateway_url)
        file = self.home / STACK_FILE
        file.write_text(json.dumps(asdict(stack)))
        self._exits.callback(file.unlink, missing_ok=True)
        if self._processes is not None:
            self._processes.is_up = True
        self._on_progress("the stack is up")

    def _say(self, lines: Sequence[str]) -> None:
        for line in lines:
            self._on_progress(line)

    def _migrate(self) -> None:
        self._on_progress("migrating the database")
        with closing(Database.from_settings(load_settings())) as database:
            database.migrate()
            self._prepare_more(database)

    def _prepare(self) -> None:
        import dagster as dg  # here: commands that only call `running_stack` start 2 s sooner

        settings = load_settings()
        with AdStream.from_settings(settings) as stream:
            stream.ensure_topics()
        with dg.DagsterInstance.from_config(str(self.dagster_home)) as instance:
            for pool, limit in pool_limits(settings.sessions).items():
                instance.event_log_storage.set_concurrency_slots(pool, limit)

    def _addresses(self) -> dict[str, str]:
        """Choose the addresses of Dagster's UI and the gateway; restarted processes keep them."""
        if self._services_only:
            return {}
        port, gateway_port = self._requested_ports
        self._ports = StackPorts.choose(
            port,
            gateway_port,
            settings=load_settings(),
            claims=self._exits.enter_context(PortClaims()),
            on_progress=self._on_progress,
        )
        self.ui_url = f"http://{HOST}:{self._ports.ui}"
        self.gateway_url = f"http://{HOST}:{self._ports.gateway}"
        return {
            "LALAFO_DAGSTER_URL": self.ui_url,
            "LALAFO_GATEWAY_URL": self.gateway_url,
            **pictures_environment({**os.environ, **self._extra}, self.gateway_url),
        }

    def _start_gateway(self, processes: StackProcesses) -> None:
        address = ["--host", HOST, "--port", str(self._ports.gateway)]
        processes.start(
            GATEWAY,
            ["-m", "gateway", *address],
            environment=gateway_environment({**os.environ, **self.exports}),
        )

    def _start_dagster(self, processes: StackProcesses) -> None:
        self._on_progress("starting the gateway, and Dagster's code server, webserver and daemon")
        code_port = self._ports.code_server
        workspace = self.home / "dagster" / "workspace.yaml"
        location = {"host": HOST, "port": code_port, "location_name": LOCATION}
        # JSON is YAML too
        workspace.write_text(json.dumps({"load_from": [{"grpc_server": location}]}))
        common = ["-w", str(workspace)]
        processes.start_code_server(code_port)
        self._start_gateway(processes)
        self._prepare()  # meanwhile
        wait_for_port(code_port, self.check, what=CODE_SERVER)
        self._start_first_sessions()
        web = ["-m", "dagster_webserver", *common, "-h", HOST, "-p", str(self._ports.ui)]
        # Two seconds of imports each, beside a session that loads its model for the first ad.
        with processes.yielding():
            processes.start(WEBSERVER, web)
            processes.start(DAEMON, ["-m", "dagster._daemon", "run", *common])
            wait_for_page(f"{self.ui_url}/server_info", self.check, what=WEBSERVER)

    def _start_first_sessions(self) -> None:
        try:
            start_first_sessions(self.dagster_home, self._ports.code_server)
        except Exception as error:  # noqa: BLE001 - whatever Dagster raises: the sensor starts them
            self._on_progress(f"the daemon starts the first session: {error}")

    def _stop_processes(self, processes: StackProcesses) -> None:
        """Stop what this class started, and end Dagster's runs that could not end by themselves."""
        wait_for_checkpoint = self._servers.checkpoint()
        runs = DagsterRuns(self.dagster_home, self._on_progress, _read_sessions)
        runs.cancel_what_has_not_begun()
        processes.stop(runs.are_finished)
        end_leftovers(self.home, timeout_s=0.5)
        runs.end_unfinished()
        wait_for_checkpoint(CHECKPOINT_S)


def _read_sessions() -> Mapping[str, MemberState]:
    settings = load_settings()
    with closing(Database.from_settings(settings)) as database:
        return read_sessions(database, settings.ads_topic)


def _restored(environment: MutableMapping[str, str]) -> Callable[[], None]:
    """Return what gives the environment its present variables back."""
    before = dict(environment)

    def restore() -> None:
        environment.clear()
        environment.update(before)

    return restore
