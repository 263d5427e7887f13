"""Masks over HTTP: that of a photo, its cut-out, and masks that people have drawn."""

import asyncio
import hashlib
import io
import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import simplejpeg
from PIL import Image
from typer.testing import CliRunner

from gateway.client import AsyncLalafoClient, LalafoClient
from gateway.client.errors import NotFound, Refused
from gateway.edge.keys import make
from gateway.masks.cutouts import CutOuts
from gateway.schemas.segments import MaskOut, SegmentsOut
from lalafo_assets.cli import app
from ops.masks.arrays import decode_mask, encode_mask
from ops.masks.rle import EncodedMask
from resources.postgres.database import Database
from resources.storage.photos import PhotoStore
from tests.support.batches import RELEASE, event, outcome
from tests.support.read_catalogue import Catalogue, of, problem, read_catalogue
from tests.support.stored_masks import write_mask

HEIGHT, WIDTH = 120, 90
MASK = np.zeros((HEIGHT, WIDTH), bool)
MASK[20:100, 30:70] = True


@pytest.fixture
def catalogue(database: Database, tmp_path: Path) -> Iterator[Catalogue]:
    with read_catalogue(database, tmp_path) as catalogue:
        yield catalogue


@pytest.fixture
def sha256(catalogue: Catalogue) -> str:
    """A photo of the ad kg/1 in the store."""
    catalogue.commit(outcome(event("1", photos=1)))
    photo = catalogue.ad("1")["photos"][0]["sha256"]
    pixels = np.random.default_rng(1).integers(0, 255, (HEIGHT, WIDTH, 3), np.uint8)
    data = simplejpeg.encode_jpeg(pixels, quality=90)
    digest = hashlib.sha256(data).digest()
    PhotoStore(catalogue.settings.resolved_store_url).put("renditions", digest, data)
    catalogue.execute(
        "UPDATE lalafo.photos SET rendition_sha256 = %s, height = %s, width = %s",
        digest,
        HEIGHT,
        WIDTH,
    )
    return photo


def answer(
    catalogue: Catalogue, sha256: str, mask: np.ndarray = MASK, release: str = RELEASE
) -> None:
    """What a session writes."""
    with catalogue.database.cursor() as cursor:
        write_mask(cursor.connection, bytes.fromhex(sha256), mask, release=release)


def png(mask: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(mask.astype(np.uint8) * 255).save(file, "PNG")
    return file.getvalue()


def put(catalogue: Catalogue, sha256: str, data: bytes, key: str, **params: str) -> httpx.Response:
    return httpx.put(
        f"{catalogue.gateway.url}/v1/photos/{sha256}/mask",
        content=data,
        params=params,
        headers={"X-API-Key": key, "Content-Type": "image/png"},
    )


def test_the_mask_of_a_photo_is_that_of_the_live_release(catalogue: Catalogue, sha256: str) -> None:
    path = f"/v1/photos/{sha256}/segments"
    assert problem(catalogue.get(path)) == (404, "no_segments")
    answer(catalogue, sha256)
    found = catalogue.get(path)
    assert found.status_code == 200, found.text
    body = SegmentsOut.model_validate_json(found.content)
    assert (body.sha256, body.release, body.label) == (sha256, RELEASE, "goods")
    np.testing.assert_array_equal(decode_mask(EncodedMask(*body.size, body.counts)), MASK)
    assert body.things[0].box == [30, 20, 40, 80]
    etag = found.headers["etag"]
    assert catalogue.get(path, headers={"If-None-Match": etag}).status_code == 304
    answer(catalogue, sha256, ~MASK)
    assert catalogue.get(path, headers={"If-None-Match": etag}).status_code == 200


@pytest.mark.parametrize("image_format", ["webp", "png"])
def test_a_cut_out_is_transparent_outside_the_mask(
    catalogue: Catalogue, sha256: str, image_format: str
) -> None:
    path = f"/v1/photos/{sha256}/cutout?format={image_format}"
    assert problem(catalogue.get(path)) == (404, "no_segments")
    answer(catalogue, sha256)
    found = catalogue.get(path)
    assert found.headers["content-type"] == f"image/{image_format}"
    assert "private" in found.headers["cache-control"]
    with Image.open(io.BytesIO(found.content)) as image:
        alpha = np.asarray(image)[..., 3]
    assert alpha.shape == (HEIGHT, WIDTH)
    assert (alpha[24:96, 34:66] == 255).all()
    assert (alpha[~MASK] == 0).all()
    etag = found.headers["etag"]
    assert catalogue.get(path, headers={"If-None-Match": etag}).status_code == 304
    trimmed = catalogue.get(f"{path}&trimmed=1")
    with Image.open(io.BytesIO(trimmed.content)) as image:
        assert image.size < (WIDTH, HEIGHT)
    assert trimmed.headers["etag"] != etag
    assert catalogue.get(f"/v1/photos/{sha256}/cutout?format=gif").status_code == 422


def test_fifty_cut_outs_at_once_are_all_answered(catalogue: Catalogue, sha256: str) -> None:
    answer(catalogue, sha256)
    paths = [
        f"/v1/photos/{sha256}/cutout?format={kind}{trim}"
        for kind in ("webp", "png")
        for trim in ("", "&trimmed=1")
    ]
    with ThreadPoolExecutor(16) as pool:
        found = list(pool.map(catalogue.get, paths * 13))
    assert {it.status_code for it in found} == {200}
    assert len({it.content for it in found}) == 4


def test_an_empty_mask_has_no_cut_out(catalogue: Catalogue, sha256: str) -> None:
    answer(catalogue, sha256, np.zeros_like(MASK))
    assert catalogue.get(f"/v1/photos/{sha256}/segments").json()["label"] == "nothing"
    assert problem(catalogue.get(f"/v1/photos/{sha256}/cutout")) == (404, "no_goods")


def test_a_lost_photo_has_no_cut_out(catalogue: Catalogue, sha256: str) -> None:
    answer(catalogue, sha256)
    catalogue.execute("UPDATE lalafo.photos SET rendition_sha256 = %s", b"\1" * 32)
    assert problem(catalogue.get(f"/v1/photos/{sha256}/cutout")) == (404, "photo_lost")


def test_a_key_of_another_catalog_sees_and_gives_no_mask(catalogue: Catalogue, sha256: str) -> None:
    answer(catalogue, sha256)
    other = make(catalogue.database, "uz", scopes=["read", "feedback"], catalogs=["uz"]).text
    for what in ("segments", "cutout"):
        found = catalogue.get(f"/v1/photos/{sha256}/{what}", key=other)
        assert problem(found) == (404, "no_such_photo")
    assert problem(put(catalogue, sha256, png(MASK), other)) == (404, "no_such_photo")
    catalogue.commit(outcome(of("uz", "1")))  # it has the same photo
    assert catalogue.get(f"/v1/photos/{sha256}/segments", key=other).status_code == 200
    assert put(catalogue, sha256, png(MASK), catalogue.key).status_code == 403  # reads only


def test_a_mask_by_a_person_is_stored_and_replaced(catalogue: Catalogue, sha256: str) -> None:
    key = make(catalogue.database, "anna's key", scopes=["feedback"]).text
    found = put(catalogue, sha256, png(MASK), key)
    assert found.status_code == 200, found.text
    first = MaskOut.model_validate_json(found.content)
    assert first.given_by == "anna's key"
    assert first.area == pytest.approx(MASK.mean(), abs=1e-6)
    again = MaskOut.model_validate_json(put(catalogue, sha256, png(MASK), key).content)
    assert again == first  # the time too
    other = MaskOut.model_validate_json(
        put(catalogue, sha256, png(~MASK), key, given_by="moderator-7").content
    )
    assert (other.given_by, other.counts) == ("moderator-7", encode_mask(~MASK).counts)
    with catalogue.database.statement() as cursor:
        cursor.execute("SELECT height, width, counts, given_by FROM lalafo.mask_labels")
        assert cursor.fetchall() == [(HEIGHT, WIDTH, other.counts, "moderator-7")]


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (png(MASK.T), "mask_size"),
        (png(MASK)[:70], "mask_broken"),
        (b"GIF89a", "not_a_png"),
        (b"", "not_a_png"),
    ],
)
def test_a_picture_that_is_no_mask_is_refused(
    catalogue: Catalogue, sha256: str, data: bytes, reason: str
) -> None:
    key = make(catalogue.database, "k", scopes=["feedback"]).text
    found = put(catalogue, sha256, data, key)
    assert problem(found) == (422, "not_a_mask")
    assert found.json()["reason"] == reason
    assert problem(put(catalogue, sha256, bytes(9 * 2**20), key)) == (413, "photo_too_large")
    with catalogue.database.statement() as cursor:
        cursor.execute("SELECT count(*) FROM lalafo.mask_labels")
        assert cursor.fetchall() == [(0,)]


def test_the_clients_read_masks_and_give_them(catalogue: Catalogue, sha256: str) -> None:
    key = make(catalogue.database, "client", scopes=["read", "feedback"]).text
    with LalafoClient(catalogue.gateway.url, key=key) as client:
        with pytest.raises(NotFound):
            client.segments(sha256)
        answer(catalogue, sha256)
        assert client.segments(sha256).things[0].area == MASK.sum()
        assert client.cutout(sha256)[:4] == b"RIFF"
        assert client.cutout(sha256, image_format="png", trimmed=True)[:4] == b"\x89PNG"
        assert client.give_mask(sha256, png(MASK), given_by="anna").given_by == "anna"
        with pytest.raises(Refused):
            client.give_mask(sha256, b"no picture")

    async def read() -> Any:
        async with AsyncLalafoClient(catalogue.gateway.url, key=key) as client:
            given = await client.give_mask(sha256, png(MASK))
            return await client.segments(sha256), await client.cutout(sha256), given

    found, cut, given = asyncio.run(read())
    assert found.label == "goods"
    assert cut[:4] == b"RIFF"
    assert given.given_by == "client"


def test_cut_outs_are_made_once_and_the_oldest_make_room() -> None:
    made: list[str] = []

    def make_one(name: str) -> bytes:
        made.append(name)
        return name.encode() * 10

    async def use() -> None:
        kept = CutOuts(max_bytes=25)
        await asyncio.gather(*(kept.get("a", lambda: make_one("a")) for _ in range(8)))
        assert made == ["a"]
        await kept.get("b", lambda: make_one("b"))
        await kept.get("a", lambda: make_one("a"))  # used: b is the oldest now
        assert await kept.get("c", lambda: make_one("c")) == b"c" * 10
        await kept.get("a", lambda: make_one("a"))
        await kept.get("b", lambda: make_one("b"))

    asyncio.run(use())
    assert made == ["a", "b", "c", "b"]


def test_the_command_lists_masks_and_stores_cut_outs(
    catalogue: Catalogue, sha256: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An ad's photos with a mask; a photo without one is left out."""
    monkeypatch.setenv("LALAFO_GATEWAY_KEY", catalogue.key)
    arguments = ["segments", "kg/1", "--gateway", catalogue.gateway.url]
    before = CliRunner().invoke(app, [*arguments, "--json"])
    assert (before.exit_code, json.loads(before.output)) == (0, [])
    answer(catalogue, sha256)
    folder = tmp_path / "cutouts"
    done = CliRunner().invoke(app, [*arguments, "--json", "--cutouts", str(folder), "--trimmed"])
    assert done.exit_code == 0, done.output
    (photo,) = json.loads(done.output)
    assert (photo["position"], photo["sha256"], photo["label"]) == (0, sha256, "goods")
    assert [path.name for path in folder.iterdir()] == ["0.webp"]
    table = CliRunner().invoke(app, arguments)
    assert "40 x 80" in table.output
