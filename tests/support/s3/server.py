"""S3Proxy, a server of S3's protocol with its objects in a folder, in a process of its own."""

import os
import shutil
import socket
import time
import urllib.error
import urllib.request
from pathlib import Path

from lalafo_assets.bench.kafka.server import KafkaUnavailableError, fetch_jars
from resources.processes.child import ChildProcess

KEY, SECRET = "test-key", "test-secret"
_HERE = Path(__file__).parent
_START_S = 60
_JVM = ["-Xms64m", "-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xshare:auto"]


def why_unavailable() -> str | None:
    """Why the server can't run here, in one line; None if it can. Downloads the jars."""
    if shutil.which("java") is None:
        return "S3Proxy needs Java: `java` is not on the PATH"
    try:
        fetch_jars(_HERE / "pom.xml")
    except KafkaUnavailableError as error:
        return str(error)
    return None


class S3Server:
    """A server with one pair of keys; buckets are folders below its data."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = int(free.getsockname()[1])
        self.data = folder / "data"
        jars = fetch_jars(_HERE / "pom.xml")
        logging = f"-Dlogback.configurationFile={_HERE / 'logback.xml'}"
        main = ["org.gaul.s3proxy.Main", "--properties", str(folder / "s3proxy.conf")]
        self._child = ChildProcess(
            "S3Proxy",
            ["java", *_JVM, logging, "-cp", f"{jars}{os.sep}*", *main],
            home=folder,
            log_file=folder / "log",
            env={"LC_ALL": "C.UTF-8"},  # else the JVM opens only files with names in ASCII
        )

    def start(self) -> None:
        """Start it and wait until it answers."""
        self.data.mkdir(parents=True)
        settings = {
            "s3proxy.endpoint": f"http://127.0.0.1:{self.port}",
            "s3proxy.authorization": "aws-v2-or-v4",
            "s3proxy.identity": KEY,
            "s3proxy.credential": SECRET,
            "jclouds.provider": "filesystem-nio2",
            "jclouds.filesystem.basedir": str(self.data),
        }
        text = "".join(f"{name}={value}\n" for name, value in settings.items())
        (self._folder / "s3proxy.conf").write_text(text)
        self._child.start()
        deadline = time.monotonic() + _START_S
        while not self._answers():
            assert self._child.is_running() and time.monotonic() < deadline, self._child.log_tail()
            time.sleep(0.05)

    def stop(self) -> None:
        """End it; its objects stay."""
        self._child.stop()

    def make_bucket(self, name: str) -> Path:
        """Create a bucket and return the folder of its objects."""
        (self.data / name).mkdir()
        return self.data / name

    def _answers(self) -> bool:
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{self.port}/", timeout=5)
        except urllib.error.HTTPError:
            return True  # access denied: it is up
        except OSError:
            return False
        return True
