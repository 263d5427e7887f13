"""Apache Kafka runs in any folder, in any locale."""

from pathlib import Path

import pytest

from lalafo_assets.bench.kafka.server import KafkaServer
from resources.kafka.topics import AdStream
from resources.settings import Settings


@pytest.mark.kafka
def test_any_folder_will_do(
    kafka_available: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With spaces, commas, a letter that is not ASCII, and what URLs and Java's files escape.

    In the C locale the JVM opens only files with names in ASCII.
    """
    monkeypatch.setenv("LC_ALL", "C")
    monkeypatch.chdir(tmp_path)
    server = KafkaServer(Path("m,p Бе 100% #x?'q"))
    try:
        server.start()
        settings = Settings.model_validate(
            {"kafka_bootstrap": server.bootstrap, "kafka_api_version": ""}
        )
        with AdStream.from_settings(settings) as stream:
            stream.ensure_topics(2)
            assert stream.partitions() == [0, 1]
    finally:
        server.stop()
    assert (tmp_path / "m,p Бе 100% #x?'q" / "data" / "ads-0").is_dir()
