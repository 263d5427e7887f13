"""Ads of the demo that are posted again by another seller, with their photos altered.

Owns how the photos are altered. They show what a finder of duplicates finds.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from PIL import Image, ImageOps

from lalafo_assets.demo.ads import DemoMessage

SELLER = "reposter"
FEWEST_ADS = 20
"""A smaller demo has none."""

CROPPED = 0.12  # of width and height
SMALLER, QUALITY = 0.8, 60


def _mirrored(photo: Image.Image) -> Image.Image:
    return ImageOps.mirror(photo)


def _cropped(photo: Image.Image) -> Image.Image:
    across, down = (round(side * CROPPED) for side in photo.size)
    return photo.crop((across, down // 2, photo.width, photo.height - down // 2))


def _smaller(photo: Image.Image) -> Image.Image:
    return photo.resize((round(photo.width * SMALLER), round(photo.height * SMALLER)))


ALTERATIONS: tuple[Callable[[Image.Image], Image.Image], ...] = (_cropped, _mirrored, _smaller)
"""Of the first ad that is posted again, the second, and the third."""


def make_reposts(
    messages: Sequence[DemoMessage],
    *,
    paths: Mapping[str, Path],
    folder: Path,
    url_of: Callable[[str], str],
) -> list[DemoMessage]:
    """Return an ad for each alteration, with new ids after those of `messages`.

    Args:
        paths: the file of each photo, by its URL; an ad with another photo is not posted again.
        folder: where the altered photos are written.
        url_of: the URL of a file in `folder`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    known: list[dict[str, Any]] = [json.loads(message.value) for message in messages]
    whole = [ad for ad in known if all(photo["url"] in paths for photo in ad["photos"])]
    found = []
    for number, (alter, ad) in enumerate(
        zip(ALTERATIONS, whole[:: len(whole) // len(ALTERATIONS) or 1], strict=False)
    ):
        ad_id = f"{len(messages) + number:06d}"
        urls = []
        for position, photo in enumerate(ad["photos"]):
            name = f"{ad_id}-{position}.jpg"
            with Image.open(paths[photo["url"]]) as opened:
                upright = ImageOps.exif_transpose(opened).convert("RGB")
                alter(upright).save(folder / name, "JPEG", quality=QUALITY)
            urls.append(url_of(name))
        ad |= {"ad_id": ad_id, "event_id": f"{ad['catalog']}-{ad_id}-1", "seller": SELLER}
        ad |= {"photos": [{"url": url} for url in urls]}
        key = f"{ad['catalog']}/{ad_id}".encode()
        found.append(DemoMessage(key, json.dumps(ad).encode(), len(urls)))
    return found
