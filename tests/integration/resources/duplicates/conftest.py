"""Fixtures: a catalogue without ads, and who finds its duplicates."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from resources.duplicates import changes
from resources.duplicates.finder import Finder
from resources.postgres.database import Database
from resources.storage.photos import PhotoStore
from tests.conftest import connect_args
from tests.support.duplicate_ads import Shop, find_all, finder_epoch, shop_of


@pytest.fixture
def connection(database: Database) -> Iterator[psycopg.Connection[Any]]:
    """Leases are alive while it is open."""
    url = connect_args(database.url.render_as_string())
    with psycopg.connect(**url, autocommit=True) as opened:
        yield opened


@pytest.fixture
def shop(database: Database, connection: psycopg.Connection[Any], tmp_path: Path) -> Shop:
    """Commits ads."""
    return shop_of(database, connection, PhotoStore(str(tmp_path), fsync=False))


@pytest.fixture
def epoch(shop: Shop, connection: psycopg.Connection[Any]) -> int:
    """Of a finder's lease; commits queue their ads."""
    epoch = finder_epoch(connection)
    changes.start(shop.database, epoch)
    return epoch


@pytest.fixture
def find(shop: Shop, epoch: int) -> Callable[[], Finder]:
    """Looks at all ads that are queued or missing."""
    return lambda: find_all(shop.database, shop.store, epoch)
