"""Runs Apache Kafka for benches and tests: one node in KRaft mode.

Owns the download of the jars (Maven, once, into `target/` beside this file), the server's settings,
and its start and stop. Does not depend on pytest, so that benches can use it.
"""

import fcntl
import hashlib
import os
import pwd
import re
import shutil
import signal
import socket
import subprocess
import time
import uuid
from base64 import urlsafe_b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from resources.processes.child import ChildProcess

_HERE = Path(__file__).parent
_POM = _HERE / "pom.xml"
_JARS = _HERE / "target" / "jars"
_JAVA_MAJOR = 17
_MAVEN_S = 600
_START_S = 60
_STOP_S = 30
_NODE_ID = 1

# For a share of one core: no tiered compilation beyond C1, the serial collector, a small heap.
_UTF8 = {"LC_ALL": "C.UTF-8"}  # else the JVM can't open files with names that are not ASCII
_JVM = ["-Xms128m", "-Xmx384m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xshare:auto"]


class KafkaUnavailableError(Exception):
    """Java, Maven or the jars are missing, or the server did not start."""


@dataclass(frozen=True, slots=True, eq=False)
class Listener:
    """One more address of the server, with its own encryption and log-in.

    Args:
        name: capitals, unique.
        protocol: SSL, SASL_PLAINTEXT or SASL_SSL.
        settings: server properties without the prefix `listener.name.<name>.`.
    """

    name: str
    protocol: str
    settings: Mapping[str, str] = field(default_factory=dict)

    def properties(self) -> dict[str, str]:
        """The server properties of this listener."""
        return {f"listener.name.{self.name.lower()}.{k}": v for k, v in self.settings.items()}


def version() -> str:
    """The version that `pom.xml` names."""
    match = re.search(
        r"<artifactId>kafka_[\d.]+</artifactId>\s*<version>([^<]+)<", _POM.read_text()
    )
    assert match is not None, f"{_POM} has no dependency on Kafka"
    return match.group(1)


def why_unavailable() -> str | None:
    """Why Apache Kafka can't run here, in one line; None if it can.

    Downloads the jars if they are not there yet.
    """
    if shutil.which("java") is None:
        return f"Apache Kafka needs Java {_JAVA_MAJOR} or later: `java` is not on the PATH"
    major = _java_major()
    if major < _JAVA_MAJOR:
        return f"Apache Kafka needs Java {_JAVA_MAJOR} or later: `java` is version {major}"
    try:
        fetch_jars()
    except KafkaUnavailableError as error:
        return str(error)
    return None


def fetch_jars(pom: Path = _POM) -> Path:
    """Return the folder of the jars that a pom names; Maven fills it if the pom has changed.

    Raises:
        KafkaUnavailableError: Maven is not on the PATH or failed.
    """
    digest = hashlib.sha256(pom.read_bytes()).hexdigest()
    target = pom.parent / "target"
    jars = target / "jars"
    stamp = jars / ".pom-sha256"
    target.mkdir(exist_ok=True)
    with (target / "fetch.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # concurrent test processes download once
        if stamp.exists() and stamp.read_text() == digest:
            return jars
        if shutil.which("mvn") is None:
            raise KafkaUnavailableError(f"{pom} needs Maven: `mvn` is not on the PATH")
        shutil.rmtree(jars, ignore_errors=True)
        goal = ["dependency:copy-dependencies", "-DincludeScope=runtime"]
        completed = subprocess.run(
            ["mvn", "-B", "-q", "-f", str(pom), *goal, f"-DoutputDirectory={jars}"],
            env={**os.environ, **_UTF8, **_maven_home(target)},
            capture_output=True,
            text=True,
            timeout=_MAVEN_S,
            check=False,
        )
        if completed.returncode != 0:
            said = [*completed.stdout.splitlines(), *completed.stderr.splitlines()]
            errors = [line for line in said if "ERROR" in line or "Exception" in line]
            raise KafkaUnavailableError(f"Maven could not download {pom}: {errors[:1]}")
        stamp.write_text(digest)
    return jars


def _maven_home(otherwise: Path) -> dict[str, str]:
    """Name a home for Maven's cache, if the account's can't be written, or there is no account.

    Java does not look at HOME: without an account, Maven makes a folder named `?` here.
    """
    try:
        accounts = pwd.getpwuid(os.geteuid()).pw_dir
    except KeyError:
        accounts = ""
    homes = (accounts, os.environ.get("HOME", ""), str(otherwise))
    home = next(it for it in homes if it == str(otherwise) or os.access(it, os.W_OK | os.X_OK))
    if home == accounts:
        return {}
    # Not MAVEN_OPTS, whose words mvn splits at spaces.
    options = os.environ.get("JDK_JAVA_OPTIONS", "")
    return {"JDK_JAVA_OPTIONS": f'{options} "-Duser.home={home}"'}


class KafkaServer:
    """One broker and controller on ports of 127.0.0.1, which stay the same at a restart."""

    def __init__(
        self,
        folder: Path,
        *,
        partitions: int = 4,
        settings: dict[str, str] | None = None,
        listeners: Sequence[Listener] = (),
        java_options: Sequence[str] = (),
    ) -> None:
        """Args:
        folder: gets its data, settings and log; they stay there after a stop.
        partitions: of a topic that is created without a number of partitions.
        settings: server properties that are added to the defaults or replace them.
        listeners: beside the one for plaintext without a log-in.
        java_options: added to the JVM's command line.
        """
        folder = folder.absolute()
        self.log_file = folder / "server.log"
        self._data = folder / "data"
        self._properties_file = folder / "server.properties"
        self._port, self._controller_port, *ports = _free_ports(2 + len(listeners))
        self._listeners = dict(zip(listeners, ports, strict=True))
        self._java_options = list(java_options)
        self._partitions = partitions
        self._settings = dict(settings) if settings is not None else {}
        command = self._java("kafka.Kafka", str(self._properties_file))
        self._child = ChildProcess(
            "Apache Kafka",
            command,
            home=folder,
            log_file=self.log_file,
            env=_UTF8,
            cwd=folder,
        )

    @property
    def bootstrap(self) -> str:
        """host:port, for LALAFO_KAFKA_BOOTSTRAP."""
        return f"127.0.0.1:{self._port}"

    @property
    def pid(self) -> int | None:
        """The JVM's process id; None before a start."""
        return self._child.pid

    def address(self, listener: str) -> str:
        """host:port of an additional listener."""
        (port,) = (port for it, port in self._listeners.items() if it.name == listener)
        return f"127.0.0.1:{port}"

    def exports(self) -> dict[str, str]:
        """The environment variables that a client of this server needs."""
        return {
            "LALAFO_KAFKA_BOOTSTRAP": self.bootstrap,
            "LALAFO_KAFKA_SECURITY_PROTOCOL": "PLAINTEXT",  # whatever the caller's environment has
            "LALAFO_KAFKA_CONFIG": "",
        }

    def start(self) -> None:
        """Start it and wait until it accepts connections; does nothing if it runs.

        Raises:
            KafkaUnavailableError: it ended, or was not up within a minute.
        """
        if self._child.is_running():
            return
        fetch_jars()
        self._properties_file.parent.mkdir(parents=True, exist_ok=True)
        self._properties_file.write_text(self._properties())
        if not (self._data / "meta.properties").exists():
            self._format()
        written_before = self.log_file.stat().st_size if self.log_file.exists() else 0
        self._child.start()
        self._wait_until_up(written_before)

    def stop(self) -> None:
        """Shut it down gracefully. Idempotent."""
        self.resume()  # a paused server could not end
        self._child.stop(_STOP_S)

    def kill(self) -> None:
        """SIGKILL it, as in a crash of the broker."""
        self._child.kill()

    def restart(self) -> None:
        """Stop it, and start it on the same ports and data."""
        self.stop()
        self.start()

    def pause(self) -> None:
        """SIGSTOP it: it accepts connections and does not answer."""
        self._send(signal.SIGSTOP)

    def resume(self) -> None:
        """SIGCONT it after `pause`."""
        self._send(signal.SIGCONT)

    def _send(self, number: signal.Signals) -> None:
        if self._child.pid is not None and self._child.is_running():
            os.kill(self._child.pid, number)

    def _format(self) -> None:
        command = ["format", "--cluster-id", _cluster_id(), "--config", str(self._properties_file)]
        formatted = subprocess.run(
            self._java("kafka.tools.StorageTool", *command),
            cwd=self._data.parent,
            env={**os.environ, **_UTF8},
            capture_output=True,
            text=True,
            timeout=_START_S,
            check=False,
        )
        if formatted.returncode != 0:
            raise KafkaUnavailableError(
                f"Kafka could not format its storage: {formatted.stdout}{formatted.stderr}"
            )

    def _wait_until_up(self, log_position: int) -> None:
        deadline = time.monotonic() + _START_S
        while time.monotonic() < deadline and self._child.is_running():
            if b"Kafka Server started" in self.log_file.read_bytes()[log_position:]:
                return
            time.sleep(0.05)
        log = self._child.log_tail(20)
        self.kill()
        raise KafkaUnavailableError(f"Kafka did not start within {_START_S} s: {log}")

    def _java(self, main_class: str, *args: str) -> list[str]:
        logging = f"-Dlog4j2.configurationFile={(_HERE / 'log4j2.properties').as_uri()}"
        options = [*_JVM, *self._java_options, logging]
        return ["java", *options, "-cp", f"{_JARS}{os.sep}*", main_class, *args]

    def _properties(self) -> str:
        node = f"{_NODE_ID}@127.0.0.1:{self._controller_port}"
        addresses = {"PLAINTEXT": self._port, "CONTROLLER": self._controller_port}
        addresses |= {it.name: port for it, port in self._listeners.items()}
        protocols = {"PLAINTEXT": "PLAINTEXT", "CONTROLLER": "PLAINTEXT"}
        protocols |= {it.name: it.protocol for it in self._listeners}
        settings = {
            "process.roles": "broker,controller",
            "node.id": str(_NODE_ID),
            "controller.quorum.voters": node,
            "controller.listener.names": "CONTROLLER",
            "listeners": ",".join(f"{it}://127.0.0.1:{port}" for it, port in addresses.items()),
            "listener.security.protocol.map": ",".join(f"{k}:{v}" for k, v in protocols.items()),
            # From the working folder: a list, in Latin-1, can't hold every path.
            "log.dirs": self._data.name,
            "num.partitions": str(self._partitions),
            "offsets.topic.num.partitions": "1",
            "offsets.topic.replication.factor": "1",
            "transaction.state.log.replication.factor": "1",
            "transaction.state.log.num.partitions": "1",
            "transaction.state.log.min.isr": "1",
            "share.coordinator.state.topic.replication.factor": "1",
            "share.coordinator.state.topic.num.partitions": "1",
            "share.coordinator.state.topic.min.isr": "1",
            "group.initial.rebalance.delay.ms": "0",
            "log.segment.bytes": str(16 * 2**20),
            "log.index.size.max.bytes": str(2**20),
            "log.retention.check.interval.ms": "1000",
            "auto.create.topics.enable": "false",  # as in production: the code creates its topics
            "num.network.threads": "2",
            "num.io.threads": "4",
            "controller.quorum.election.timeout.ms": "100",
            "controller.quorum.fetch.timeout.ms": "500",
            "broker.heartbeat.interval.ms": "500",
            "broker.session.timeout.ms": "3000",
        }
        for listener in self._listeners:
            settings |= listener.properties()
        return "".join(
            f"{name}={value}\n" for name, value in {**settings, **self._settings}.items()
        )


def _cluster_id() -> str:
    """A random id in Kafka's format; one that begins with a dash would be parsed as an option."""
    cluster_id = urlsafe_b64encode(uuid.uuid4().bytes).rstrip(b"=").decode()
    return cluster_id if not cluster_id.startswith("-") else _cluster_id()


def _java_major() -> int:
    version = subprocess.run(["java", "-version"], capture_output=True, text=True, check=False)
    quoted = version.stderr.split('"')
    return int(quoted[1].split(".")[0]) if len(quoted) > 1 else 0


def _free_ports(count: int) -> list[int]:
    """Different ports that are free now: all stay open until the last is found."""
    servers = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [int(server.getsockname()[1]) for server in servers]
    for server in servers:
        server.close()
    return ports
