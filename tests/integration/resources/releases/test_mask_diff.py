"""The masks of two releases, photo by photo."""

import hashlib
from pathlib import Path

import numpy as np
import pytest
from psycopg.types.json import Jsonb

from ops.masks.arrays import encode_mask
from ops.models.release import Release
from ops.tasks import task_by_name
from resources.catalogue.pictures import mask_examples, mask_pictures
from resources.postgres.database import Database
from resources.releases.diff import compare
from resources.releases.mask_diff import compare_masks
from resources.releases.promotion import make_live, propose
from resources.storage.photos import PhotoStore
from tests.support.odd_photos import jpeg, noisy
from tests.support.random_release import random_release
from tests.support.stored_days import FIRST, add_ads, judged, known

SEGMENTS = task_by_name("segments")
SIZE = (40, 30)


@pytest.fixture
def two(database: Database, release: Release, tmp_path: Path) -> tuple[str, str]:
    """The live release and a candidate, and three ads with a photo each."""
    live = known(database, tmp_path, release)
    make_live(database, live.name)
    add_ads(database, live, {FIRST: 3})
    candidate = judged(database, tmp_path, random_release(seed=1))
    propose(database, candidate.name)
    return live.name, candidate.name


def left(columns: int, size: tuple[int, int] = SIZE) -> np.ndarray:
    mask = np.zeros(size, bool)
    mask[:, :columns] = True
    return mask


def sha_of(number: int) -> bytes:
    return hashlib.sha256(f"0301-{number:03}".encode()).digest()


def put(database: Database, release: str, number: int, mask: np.ndarray) -> None:
    encoded = encode_mask(mask)
    box = encoded.box
    things = (
        []
        if box is None
        else [{"label": "goods", "score": 0.9, "box": list(box), "area": encoded.area}]
    )
    details = {"area": float(mask.mean()), **encoded.as_coco(), "things": things}
    with database.cursor() as cursor:
        cursor.execute(
            "INSERT INTO lalafo.photo_predictions (release, sha256, task, label, score, details, "
            "run_id) VALUES (%s, %s, 'segments', %s, 0.9, %s, 'r')",
            (release, sha_of(number), "goods" if things else "nothing", Jsonb(details)),
        )


def test_masks_are_compared_where_both_releases_have_them(
    database: Database, two: tuple[str, str]
) -> None:
    """Equal, half as wide, and of another size; a photo of one release is left out."""
    live, candidate = two
    put(database, live, 0, left(10))
    put(database, candidate, 0, left(10))
    put(database, live, 1, left(20))
    put(database, candidate, 1, left(10))
    put(database, live, 2, left(20))
    found = compare_masks(database, live=live, candidate=candidate, task=SEGMENTS)
    assert [pair.iou for pair in found.pairs] == [0.5, 1.0]
    assert found.mean_iou == 0.75
    assert found.p10_iou == pytest.approx(0.55)
    put(database, candidate, 2, left(5, (20, 15)))
    least = compare_masks(database, live=live, candidate=candidate, task=SEGMENTS).pairs[0]
    assert (least.iou, least.live.width, least.candidate.width) == (0.0, 30, 15)
    one = compare_masks(database, live=live, candidate=candidate, task=SEGMENTS, photos=1)
    assert len(one.pairs) == 1


def test_the_diff_of_releases_has_the_masks_of_tasks_that_answer_them(
    database: Database, two: tuple[str, str]
) -> None:
    live, candidate = two
    for release, columns in ((live, 20), (candidate, 10)):
        put(database, release, 0, left(columns))
    tasks = [SEGMENTS, task_by_name("category")]
    segments, category = compare(database, live=live, candidate=candidate, tasks=tasks).tasks
    assert segments.masks is not None and segments.masks.mean_iou == 0.5
    assert category.masks is None


def test_without_masks_there_is_no_mean(database: Database, two: tuple[str, str]) -> None:
    found = compare_masks(database, live=two[0], candidate=two[1], task=SEGMENTS)
    assert (found.pairs, found.mean_iou, found.p10_iou) == ((), None, None)


def test_contact_sheets_show_the_masks(
    database: Database, two: tuple[str, str], tmp_path: Path
) -> None:
    """Photos that the store lost are left out."""
    live, candidate = two
    store = PhotoStore(str(tmp_path / "store"), fsync=False)
    data = jpeg(noisy(30, 40))
    digest = hashlib.sha256(data).digest()
    store.put("renditions", digest, data)
    with database.cursor() as cursor:
        cursor.execute(
            "UPDATE lalafo.photos SET rendition_sha256 = %s WHERE sha256 = %s", (digest, sha_of(0))
        )
    for number in (0, 1):
        put(database, live, number, left(10))
        put(database, candidate, number, left(20))
    sheet = mask_pictures(database, store, [FIRST], release=live, task=SEGMENTS)["contact_sheet"]
    assert sheet.startswith(b"\xff\xd8")
    assert (
        mask_pictures(database, store, [FIRST], release=live, task=task_by_name("category")) == {}
    )
    pairs = compare_masks(database, live=live, candidate=candidate, task=SEGMENTS).pairs
    assert mask_examples(store, pairs, live, candidate).startswith(b"\xff\xd8")
