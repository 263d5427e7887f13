"""A gateway without keys on an embedded broker and a fresh database; no session runs."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from resources.embedded.broker import EmbeddedBroker
from resources.kafka.topics import AdStream
from resources.postgres.database import Database
from resources.settings import Settings
from tests.conftest import BrokerUnderTest
from tests.support.gateway_live import LiveGateway, live_gateway


@contextmanager
def open_gateway(
    database: Database, broker: EmbeddedBroker, home: Path, **changes: object
) -> Iterator[tuple[LiveGateway, Settings]]:
    """Serve the application; `changes` are settings."""
    settings = BrokerUnderTest("embedded", broker.exports()).settings(
        home=home,
        database_url=database.url.render_as_string(),
        gateway_auth="off",
        max_wait_s=0.01,
        **changes,
    )
    with AdStream.from_settings(settings) as stream:
        stream.ensure_topics(partitions=1)
    with live_gateway(settings) as gateway:
        yield gateway, settings
