"""Homes for sale from a folder, as ads: their numbers as attributes, their photos as embeddings."""

import csv
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from pathlib import Path

import numpy as np

from ops.errors import ConfigurationError
from ops.tasks import Ad, AdFields

PRICE = "price_"
_DAY = datetime(2026, 1, 1, tzinfo=UTC)


def read_houses(folder: Path, on_progress: Callable[[str], object]) -> tuple[list[Ad], str]:
    """The ads of a folder in the order of its houses.csv, and the backbone that embedded them.

    Raises:
        ConfigurationError: the folder has no such file, or a row or a photo can't be read.
    """
    from lalafo_assets.starter import starter_state
    from ops.models.embed import Embedder, prepare
    from ops.models.release import FrozenBackbone
    from resources.training.weights import starting_weights

    try:
        with (folder / "houses.csv").open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
    except OSError as error:
        raise ConfigurationError(f"{folder}/houses.csv can't be read: {error.strerror}.") from error
    column = next((name for name in rows[0] if name.startswith(PRICE)), None) if rows else None
    if column is None:
        raise ConfigurationError(
            f"{folder}/houses.csv: expected rows, and a column {PRICE}usd or another currency"
        )
    weights = starting_weights("auto", "auto", starter=starter_state)
    frozen = FrozenBackbone(weights.backbone, weights.state, weights.preprocessing)
    embedder = Embedder(frozen, device="cpu", threads=1)
    ads = []
    for number, row in enumerate(rows, start=1):
        if number % 25 == 0:
            on_progress(f"embedding photos of {number} of {len(rows)} homes")
        ad_id = row.pop("ad_id")
        files = sorted((folder / "photos").glob(f"{ad_id}_*.jpg"))
        if not files:
            raise ConfigurationError(f"{folder}/photos has no photo {ad_id}_*.jpg")
        images = [prepare(file.read_bytes(), frozen.preprocessing) for file in files]
        ads.append(Ad(embeddings=embedder.embed(images), fields=_fields(ad_id, row, column)))
    return ads, weights.backbone


def _fields(ad_id: str, row: dict[str, str], column: str) -> AdFields:
    try:
        return AdFields(
            catalog="houses",
            ad_id=ad_id,
            title="",
            description="",
            category=None,
            price=Decimal(row[column]),
            currency=column.removeprefix(PRICE).upper(),
            occurred_at=_DAY,
            received_at=_DAY,
            attributes={name: float(text) for name, text in row.items() if name != column},
        )
    except (ValueError, InvalidOperation) as error:
        raise ConfigurationError(f"houses.csv, ad {ad_id}: expected numbers: {error}") from error


def without(ads: list[Ad], what: str) -> list[Ad]:
    """The same ads without their `photos` (vectors of zeros) or their `fields` (no attributes)."""
    from dataclasses import replace

    def cut(ad: Ad) -> Ad:
        assert ad.embeddings is not None
        assert ad.fields is not None
        if what == "photos":
            return Ad(embeddings=np.zeros_like(ad.embeddings), fields=ad.fields)
        return Ad(embeddings=ad.embeddings, fields=replace(ad.fields, attributes={}))

    return [cut(ad) for ad in ads]
