"""Scores an ad, with servers of its own: `python -m tests.support.place_process HOME`.

Prints what PostgreSQL has about the ad, or the project's error in one line. For tests of unusual
users, folders and environments.
"""

import os
import sys
from contextlib import ExitStack, closing
from pathlib import Path

from lalafo_assets.demo.photo_host import PhotoHost
from ops.errors import LalafoError
from resources.embedded.broker import EmbeddedBroker
from resources.embedded.postgres import EmbeddedPostgres
from resources.kafka.topics import AdStream
from resources.postgres.database import Database
from resources.processes.environment import cache_folders
from resources.settings import load_settings
from tests.support.live_session import ad, live_parts
from tests.support.odd_photos import jpeg, noisy
from tests.support.random_release import random_release


def score_an_ad(home: Path) -> list[tuple]:
    """Start both servers, score one ad by a session, and return its rows."""
    with ExitStack() as stack:
        postgres = EmbeddedPostgres(home, overrides={"fsync": "off", "shared_buffers": "64MB"})
        stack.callback(postgres.stop)
        postgres.start()
        broker = EmbeddedBroker(home)
        stack.callback(broker.stop)
        broker.start()
        os.environ.update({**postgres.exports(), **broker.exports()})
        settings = load_settings()
        database = stack.enter_context(closing(Database(settings.require("database_url"))))
        database.migrate()
        (home / "photos").mkdir()
        host = stack.enter_context(PhotoHost(home / "photos"))
        stream = stack.enter_context(AdStream.from_settings(settings))
        live = live_parts(database, settings, stream, host, random_release())
        live.publish(ad("1", [live.photo("1.jpg", jpeg(noisy(80, 60, 1)))]))
        live.drain()
        return live.rows("SELECT catalog, ad_id, status FROM lalafo.ads")


def main() -> None:
    """Run it with LALAFO_HOME below the folder of the first argument."""
    home = Path(sys.argv[1])
    os.environ.update({"LALAFO_HOME": str(home), "LALAFO_FETCH_ALLOW_PRIVATE": "1"})
    os.environ.update({"LALAFO_MODEL_MODE": "eager", **cache_folders(home, os.environ)})
    try:
        print(score_an_ad(home))
    except LalafoError as error:
        sys.exit(f"lalafo: {error}")


if __name__ == "__main__":
    main()
