"""An embedded Kafka broker: librdkafka's test broker in its own process.

For the demo and fast tests only. It keeps nothing on disk, creates topics with 4 partitions on
first use, trims a partition at 5 MiB or 100,000 messages, and starts empty; therefore every start
has a new stream id. Owns the process's lifetime and the file with its address. Does not depend on
what is published.
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

PARTITIONS = 4  # librdkafka's default for a topic created on first use (rd_kafka_mock_defaults)
_START_S = 60.0
_METADATA_S = 5.0


class EmbeddedBroker:
    """Starts and stops the broker's process."""

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
        """Start the broker and wait until it answers; does nothing if it is running.

        Raises:
            RetryableError: it ended or did not answer in time; the message has its last output.
        """
        if self._child.is_running():
            return
        self._address = {}
        self._address_file.unlink(missing_ok=True)
        self._child.start()
        deadline = time.monotonic() + _START_S
        while not self._address_file.exists():
            if not self._child.is_running() or time.monotonic() > deadline:
                output = self._child.log_tail()
                self._child.stop()
                raise RetryableError(
                    f"The embedded broker did not start in {_START_S:.0f} s. Its log ends: {output}"
                )
            time.sleep(0.01)
        self._address = json.loads(self._address_file.read_text(encoding="utf-8"))

    def stop(self) -> None:
        """Stop the broker; its records are lost. A repeated call does nothing."""
        self._child.stop()
        self._address_file.unlink(missing_ok=True)
        self._address = {}

    @property
    def pid(self) -> int | None:
        """The broker's process id; None while it is stopped."""
        return self._child.pid

    def is_running(self) -> bool:
        """Whether the broker's process is alive."""
        return self._child.is_running()

    @property
    def bootstrap(self) -> str:
        """host:port, for LALAFO_KAFKA_BOOTSTRAP."""
        return self._address_value("bootstrap")

    @property
    def stream_id(self) -> str:
        """The id of the log that this start created, for LALAFO_STREAM_ID."""
        return self._address_value("stream_id")

    def exports(self) -> dict[str, str]:
        """The environment that a client of this broker needs."""
        return {
            "LALAFO_KAFKA_BOOTSTRAP": self.bootstrap,
            "LALAFO_KAFKA_API_VERSION": API_VERSION,
            "LALAFO_STREAM_ID": self.stream_id,
            "LALAFO_KAFKA_SECURITY_PROTOCOL": "PLAINTEXT",  # whatever the caller's environment has
            "LALAFO_KAFKA_CONFIG": "",
        }

    def _address_value(self, name: str) -> str:
        if self._address == {}:
            raise RetryableError("The embedded broker is not started: call start() first.")
        return self._address[name]


def serve(address_file: Path) -> None:
    """Run a broker in this process until SIGTERM or SIGINT; write its address once it answers."""
    from confluent_kafka import Producer

    stop_signals = {signal.SIGTERM, signal.SIGINT}
    signal.pthread_sigmask(signal.SIG_BLOCK, stop_signals)
    # The client that owns the broker. It requires `bootstrap.servers` and then replaces it.
    owner = Producer({"bootstrap.servers": "replaced", "test.mock.num.brokers": 1})
    brokers = list(owner.list_topics(timeout=_METADATA_S).brokers.values())
    address = {
        "bootstrap": f"{brokers[0].host}:{brokers[0].port}",
        "stream_id": f"embedded-{uuid.uuid4()}",
    }
    unfinished = address_file.with_suffix(".new")
    unfinished.write_text(json.dumps(address), encoding="utf-8")
    unfinished.replace(address_file)
    signal.sigwait(stop_signals)
    # Exit without a teardown, which can hang while clients are connected.
    os._exit(0)


if __name__ == "__main__":
    serve(Path(sys.argv[1]))
