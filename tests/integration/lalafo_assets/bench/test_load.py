"""The load generator of the benches on a Kafka with a log-in."""

import os
import uuid
from pathlib import Path

import psutil
import pytest

from lalafo_assets.bench.harness.ads import PlannedAd
from lalafo_assets.bench.harness.load import start_load
from lalafo_assets.stack.environment import external_kafka
from resources.kafka.topics import AdStream
from resources.settings import load_settings
from tests.support.secured_kafka import CLIENT_SECRET, PASSWORD, SecuredKafka, exports

pytestmark = pytest.mark.kafka


@pytest.mark.parametrize("login", ["login", "token_login", "mutual"])
def test_it_logs_in_as_everything_else_does(
    login: str, secured: SecuredKafka, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the same settings; passwords are in no argument list and in no export."""
    for name, value in exports(getattr(secured, login)()).items():
        monkeypatch.setenv(name, value)
    topic = f"bench-{uuid.uuid4().hex[:8]}"
    with AdStream.from_settings(load_settings().model_copy(update={"ads_topic": topic})) as stream:
        stream.ensure_topics(1)
        environment = external_kafka(os.environ)
        assert not {PASSWORD, CLIENT_SECRET} & set(environment.values())
        worker = start_load(
            [PlannedAd(str(n), (), 0.0) for n in range(3)],
            environment=environment,
            topic=topic,
            catalog="kg",
            host="http://127.0.0.1:1",
            log_file=tmp_path / "load.log",
        )
        with worker:
            arguments = " ".join(psutil.Process(worker.pid).cmdline())
            assert not [it for it in (PASSWORD, CLIENT_SECRET) if it in arguments]
            worker.go()
            answer = worker.end()
        assert (answer["published"], answer["refused"]) == (3, []), answer
        assert stream.end_offsets() == {0: 3}
