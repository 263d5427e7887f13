"""Vectors are the stored ones, each at its photo's place, wherever their rows lie in the table."""

import numpy as np
import pytest

from lalafo_assets.bench.rescore.fill import BACKBONE, DIMENSION, fill
from ops.errors import ConfigurationError
from resources.catalogue.stored_vectors import _pages, read_vectors
from resources.postgres.database import Database


@pytest.fixture
def cursor(database: Database):
    fill(database, rows=1_000, photos_per_ad=1.0, on_progress=lambda _: None)
    with database.cursor() as cursor:
        cursor.execute("SET LOCAL enable_seqscan = off")
        yield cursor


def photos_in_order(cursor) -> list[bytes]:
    cursor.execute("SELECT sha256 FROM lalafo.embeddings ORDER BY ctid")
    return [sha256 for (sha256,) in cursor.fetchall()]


def expected(cursor, photos: list[bytes]) -> np.ndarray:
    """The vectors as PostgreSQL prints them."""
    cursor.execute("SELECT sha256, embedding::text FROM lalafo.embeddings")
    texts = dict(cursor.fetchall())
    return np.array([eval(texts[photo]) for photo in photos], np.float16)


PICKS = {
    "all": lambda photos: photos,
    "neighbours": lambda photos: photos[400:500],
    "neighbours in another order": lambda photos: sorted(photos[400:500]),
    "scattered": lambda photos: photos[::97],
    "neighbours and a few others": lambda photos: [*photos[:3], *photos[500:900], *photos[-3:]],
    "repeated": lambda photos: photos[10:30] * 2,
    "one": lambda photos: photos[7:8],
    "none": lambda photos: [],
}


@pytest.mark.parametrize("pick", PICKS.values(), ids=PICKS)
def test_vectors_are_the_stored_ones(cursor, pick):
    """Each vector, to the last bit."""
    photos = pick(photos_in_order(cursor))
    vectors, stored = read_vectors(cursor, BACKBONE, DIMENSION, photos)
    assert stored.tolist() == [True] * len(photos)
    assert vectors.tobytes() == expected(cursor, photos).tobytes()


@pytest.mark.parametrize("step", [1, 97])
def test_long_vectors_are_the_stored_ones(database: Database, monkeypatch, step):
    """Those that PostgreSQL stores outside of their rows, as of EfficientNet-Lite0."""
    monkeypatch.setattr("lalafo_assets.bench.rescore.fill.DIMENSION", 1280)
    fill(database, rows=1_000, photos_per_ad=1.0, on_progress=lambda _: None)
    with database.cursor() as cursor:
        photos = photos_in_order(cursor)[::step]
        vectors, stored = read_vectors(cursor, BACKBONE, 1280, photos)
        assert stored.all()
        assert np.array_equal(vectors, expected(cursor, photos))


def test_pages_with_many_other_rows_are_not_read(database: Database, monkeypatch):
    """Of photos that are every fourth of the table, also where a row is a pointer to its vector."""
    monkeypatch.setattr("lalafo_assets.bench.rescore.fill.DIMENSION", 1280)
    fill(database, rows=4_000, photos_per_ad=1.0, on_progress=lambda _: None)
    with database.cursor() as cursor:
        photos = photos_in_order(cursor)
        assert _pages(cursor, BACKBONE, 1280, photos[1_000:2_000]) is not None
        assert _pages(cursor, BACKBONE, 1280, photos[::4]) is None


@pytest.mark.parametrize("step", [1, 97])
def test_a_photo_without_a_vector_is_known(cursor, step):
    """Photos that are not stored, or under another backbone only, don't change the others."""
    photos = photos_in_order(cursor)[::step]
    cursor.execute(
        "UPDATE lalafo.embeddings SET backbone = 'other' WHERE sha256 = %s", (photos[5],)
    )
    asked = [photos[3], photos[5], b"\0" * 32, photos[6]]
    vectors, stored = read_vectors(cursor, BACKBONE, DIMENSION, asked)
    assert stored.tolist() == [True, False, False, True]
    assert vectors[[0, 3]].tobytes() == expected(cursor, [photos[3], photos[6]]).tobytes()


@pytest.mark.parametrize("step", [1, 97])
def test_another_length_is_an_error(cursor, step):
    """A vector that the release can't read is named, not scored."""
    photos = photos_in_order(cursor)[::step]
    cursor.execute(
        "UPDATE lalafo.embeddings SET embedding = '[1,0,0]' WHERE sha256 = %s", (photos[4],)
    )
    with pytest.raises(ConfigurationError, match="576 dimensions"):
        read_vectors(cursor, BACKBONE, DIMENSION, photos)
