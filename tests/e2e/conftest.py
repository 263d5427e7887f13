"""The page's stand: one for all the tests of a file."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from lalafo_assets.synthetic.photos import render
from resources.embedded.broker import EmbeddedBroker
from resources.embedded.postgres import EmbeddedPostgres
from tests.support.page_stand import Stand, open_stand
from tests.support.random_release import random_release


@pytest.fixture(scope="module")
def standing(
    postgres: EmbeddedPostgres,
    make_database: Callable[..., str],
    embedded_broker: EmbeddedBroker,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Stand]:
    """One gateway, one session and one browser for all tests of a file."""
    folder = tmp_path_factory.mktemp("page")
    url = postgres.url(make_database())
    with open_stand(url, embedded_broker, folder, release=random_release()) as stand:
        yield stand


@pytest.fixture
def stand(standing: Stand) -> Iterator[Stand]:
    """The stand; a test fails if the browser's console has errors or warnings."""
    standing.console_errors.clear()
    yield standing
    assert standing.console_errors == []


@pytest.fixture(scope="module")
def photo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("photos") / "chair.jpg"
    path.write_bytes(render("chair", 3).data)
    return path
