"""Releases are judged by the masks that people have drawn."""

import hashlib
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
import simplejpeg

from ops.masks.arrays import encode_mask
from ops.tasks import task_by_name
from resources.postgres.database import Database
from resources.storage.photos import PhotoStore
from resources.training.masks.labels import mask_measures, read_mask_labels
from tests.support.mask_networks import bright_network, broken_network
from tests.support.stored_days import FIRST, add_ad

SEGMENTS = task_by_name("segments")
HEIGHT, WIDTH = 96, 64


@pytest.fixture
def store(tmp_path: Path) -> PhotoStore:
    return PhotoStore(str(tmp_path / "store"), fsync=False)


def add(
    database: Database, store: PhotoStore, name: str, truth: np.ndarray, *, light: bool = True
) -> None:
    """A photo that is bright where the goods are, with the mask of a person."""
    pixels = np.full((HEIGHT, WIDTH, 3), 20, np.uint8)
    if light:
        pixels[truth] = 235
    data = simplejpeg.encode_jpeg(pixels, quality=95)
    digest, sha = hashlib.sha256(data).digest(), hashlib.sha256(name.encode()).digest()
    store.put("renditions", digest, data)
    add_ad(database, FIRST, name, sha)
    mask = encode_mask(truth)
    with database.cursor() as cursor:
        cursor.execute(
            "UPDATE lalafo.photos SET rendition_sha256 = %s WHERE sha256 = %s", (digest, sha)
        )
        cursor.execute(
            "INSERT INTO lalafo.mask_labels (sha256, height, width, counts, given_by, given_at) "
            "VALUES (%s, %s, %s, %s, 'anna', %s)",
            (sha, mask.height, mask.width, mask.counts, datetime.now(UTC)),
        )


def box(top: int, bottom: int) -> np.ndarray:
    truth = np.zeros((HEIGHT, WIDTH), bool)
    truth[top:bottom, 12:52] = True
    return truth


def test_right_masks_have_the_best_measures(database: Database, store: PhotoStore) -> None:
    for number in range(3):
        add(database, store, f"a{number}", box(10 + number, 70))
    labels = read_mask_labels(database)
    found = mask_measures(SEGMENTS, bright_network().as_head(), labels, store)
    assert (found["count"], found["of"]) == (3, "photos")
    assert found["f"] > 0.95 and found["iou"] > 0.93 and found["mae"] < 0.05
    assert len(read_mask_labels(database, limit=2)) == 2


def test_goods_that_are_not_found_count(database: Database, store: PhotoStore) -> None:
    """A dark product is not found: its recall is 0, and the mean of both is lower."""
    add(database, store, "found", box(10, 70))
    add(database, store, "missed", box(10, 70), light=False)
    found = mask_measures(SEGMENTS, bright_network().as_head(), read_mask_labels(database), store)
    assert found["count"] == 2
    assert found["iou"] == pytest.approx(0.5, abs=0.05)


def test_a_photo_that_the_network_fails_for_has_no_mask(
    database: Database, store: PhotoStore
) -> None:
    add(database, store, "dark", box(10, 70))
    found = mask_measures(SEGMENTS, broken_network().as_head(), read_mask_labels(database), store)
    assert (found["count"], found["iou"]) == (1, 0)


def test_photos_that_are_lost_are_left_out(database: Database, store: PhotoStore) -> None:
    add(database, store, "lost", box(10, 70))
    with database.cursor() as cursor:
        cursor.execute("UPDATE lalafo.photos SET rendition_sha256 = %s", (b"\1" * 32,))
    found = mask_measures(SEGMENTS, bright_network().as_head(), read_mask_labels(database), store)
    assert found == {"count": 0, "of": "photos"}


def test_a_mask_goes_with_its_photo(database: Database, store: PhotoStore) -> None:
    add(database, store, "a", box(10, 70))
    with database.cursor() as cursor:
        cursor.execute("DELETE FROM lalafo.ad_photos")
        cursor.execute("DELETE FROM lalafo.photos")
    assert read_mask_labels(database) == []
