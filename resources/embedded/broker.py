"""A Kafka broker without Kafka: librdkafka's test broker, in a process of its own.

For the demo and fast tests only. It keeps nothing on disk, makes topics of 4 partitions on first
use, trims a partition at 5 MiB or 100,000 messages, and starts empty: so it names its log anew at
every start. Decides the process's life and where its address is written; refuses to know what
is published.
"""

import json
import os
import signal
import sys
import time
import uuid
from pathlib import Path

from ops.errors import RetryableError
from resources.processes.child import ChildProcess

API_VERSION = "2.0"
"""kafka-python 3 can't negotiate with this broker: it answers ApiVersions v4 wrongly."""

PARTITIONS = 4  # librdkafka's default for a topic made on first use (rd_kafka_mock_defaults)
_START_S = 15.0
_METADATA_S = 5.0


class EmbeddedBroker:
    """The broker's process, seen from the one that starts it."""

    def __init__(self, home: Path) -> None:
        """Args:
        home: LALAFO_HOME; the address is written to `broker/address.json` below it.
        """
        folder = home.absolute() / "broker"
        self._address_file = folder / "address.json"
        self._address: dict[str, str] = {}
        self._child = ChildProcess(
            "embedded broker",
            [sys.executable, "-m", "resources.embedded.broker", str(self._address_file)],
            home=home,
            log_file=folder / "log",
        )

    def start(self) -> None:
        """Start the broker and wait until it answers; nothing happens where it runs.

        Raises:
            RetryableError: it ended or did not answer in time; the message has its last words.
        """
        if self._child.is_running():
            return
        self._address = {}
        self._address_file.unlink(missing_ok=True)
        self._child.start()
        deadline = time.monotonic() + _START_S
        while not self._address_file.exists():
            if not self._child.is_running() or time.monotonic() > deadline:
                said = self._child.log_tail()
                self._child.stop()
                raise RetryableError(
                    f"The embedded broker did not start in {_START_S:.0f} s. It said: {said}"
                )
            time.sleep(0.01)
        self._address = json.loads(self._address_file.read_text(encoding="utf-8"))

    def stop(self) -> None:
        """Stop the broker; all that it held is gone. Repeats do nothing."""
        self._child.stop()
        self._address_file.unlink(missing_ok=True)
        self._address = {}

    @property
    def pid(self) -> int | None:
        """The broker's process id while it is started."""
        return self._child.pid

    def is_running(self) -> bool:
        """Whether the broker's process is alive."""
        return self._child.is_running()

    @property
    def bootstrap(self) -> str:
        """host:port, for LALAFO_KAFKA_BOOTSTRAP."""
        return self._known("bootstrap")

    @property
    def stream_id(self) -> str:
        """Names the log that began with this start, for LALAFO_STREAM_ID."""
        return self._known("stream_id")

    def exports(self) -> dict[str, str]:
        """The environment that a client of this broker needs."""
        return {
            "LALAFO_KAFKA_BOOTSTRAP": self.bootstrap,
            "LALAFO_KAFKA_API_VERSION": API_VERSION,
            "LALAFO_STREAM_ID": self.stream_id,
        }

    def _known(self, name: str) -> str:
        if self._address == {}:
            raise RetryableError("The embedded broker is not started: call start() first.")
        return self._address[name]


def serve(address_file: Path) -> None:
    """Hold a broker in this process until SIGTERM or SIGINT; write its address when it answers."""
    from confluent_kafka import Producer

    stop_signals = {signal.SIGTERM, signal.SIGINT}
    signal.pthread_sigmask(signal.SIG_BLOCK, stop_signals)
    # The client that owns the broker; `bootstrap.servers` is demanded and then replaced by it.
    owner = Producer({"bootstrap.servers": "replaced", "test.mock.num.brokers": 1})
    brokers = list(owner.list_topics(timeout=_METADATA_S).brokers.values())
    address = {
        "bootstrap": f"{brokers[0].host}:{brokers[0].port}",
        "stream_id": f"embedded-{uuid.uuid4()}",
    }
    half_written = address_file.with_suffix(".new")
    half_written.write_text(json.dumps(address), encoding="utf-8")
    half_written.replace(address_file)
    signal.sigwait(stop_signals)
    # Its memory goes with the process: tearing down a broker with clients attached can hang.
    os._exit(0)


if __name__ == "__main__":
    serve(Path(sys.argv[1]))
