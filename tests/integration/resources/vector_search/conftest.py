"""Fixtures: a catalogue with a live release, and an index of it."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import psycopg
import pytest

from resources.postgres.database import Database
from resources.vector_search import indexes
from resources.vector_search.ad_vectors import read_indexes
from resources.vector_search.queries import SearchIndex
from tests.conftest import connect_args
from tests.support.vector_ads import Seller, indexer_epoch, renew_all, seller_of


@pytest.fixture
def connection(database: Database) -> Iterator[psycopg.Connection[Any]]:
    """Leases are alive while it is open."""
    url = connect_args(database.url.render_as_string())
    with psycopg.connect(**url, autocommit=True) as opened:
        yield opened


@pytest.fixture
def seller(database: Database, connection: psycopg.Connection[Any]) -> Seller:
    """A catalogue without ads."""
    return seller_of(database, connection)


@dataclass
class Followed:
    """An index, and who renews it."""

    database: Database
    epoch: int

    def build(self) -> SearchIndex:
        """Build what is missing; return the only index."""
        for index in indexes.start_missing(self.database, self.epoch):
            indexes.build(self.database, index, self.epoch)
        (index,) = self.indexes()
        return index

    def follow(self) -> None:
        """Renew until the queue is empty."""
        renew_all(self.database, self.epoch)

    def indexes(self) -> list[SearchIndex]:
        """All indexes."""
        with self.database.cursor() as cursor:
            return read_indexes(cursor)


@pytest.fixture
def followed(seller: Seller, connection: psycopg.Connection[Any]) -> Followed:
    """The indexer of the catalogue."""
    return Followed(seller.database, indexer_epoch(connection))
