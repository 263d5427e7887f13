"""A gateway with its environment: broker, PostgreSQL, photo host and a running session."""

import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gateway.edge import keys
from lalafo_assets.demo.photo_host import PhotoHost
from ops.models.release import Release
from resources.embedded.postgres import EmbeddedPostgres
from resources.kafka.topics import AdStream
from resources.postgres.database import Database
from tests.conftest import BrokerUnderTest
from tests.support.gateway_live import live_gateway
from tests.support.live_session import Live, live_parts
from tests.support.working_sessions import Working


@dataclass(frozen=True)
class Place:
    """A gateway, and a session that scores the ads posted to it."""

    live: Live
    broker: BrokerUnderTest
    url: str
    key: str

    def new_key(self, name: str, **more: Any) -> str:
        return keys.make(self.live.database, name, **more).text

    @property
    def environment(self) -> dict[str, str]:
        """The environment of a gateway in a separate process."""
        settings = self.live.settings
        return {
            **{k: v for k, v in os.environ.items() if not k.startswith("LALAFO_")},
            "LALAFO_HOME": str(settings.home),
            "LALAFO_DATABASE_URL": settings.database_url,
            **self.broker.environment,
            "LALAFO_ADS_TOPIC": settings.ads_topic,
        }


@contextmanager
def open_place(
    broker: BrokerUnderTest, postgres: EmbeddedPostgres, database: str, home: Path, release: Release
) -> Iterator[Place]:
    (home / "photos").mkdir()
    with ExitStack() as opened:
        data = opened.enter_context(closing(Database(postgres.url(database))))
        settings = broker.settings(
            home=home,
            database_url=data.url.render_as_string(),
            fetch_allow_private=True,
            fetch_timeout_s=3,
            model_mode="eager",
            torch_threads=1,
        )
        host = opened.enter_context(PhotoHost(home / "photos"))
        stream = opened.enter_context(AdStream.from_settings(settings))
        live = live_parts(data, settings, stream, host, release)
        opened.enter_context(Working(live))
        served = opened.enter_context(live_gateway(settings))
        yield Place(live, broker, served.url, keys.make(data, "tests").text)


NewPlace = Callable[[BrokerUnderTest], AbstractContextManager[Place]]
