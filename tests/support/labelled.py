"""A catalogue of labelled ads with synthetic photos, committed as by a session, without Kafka.

The backbone is the starter's at a small image size: its features separate goods, in milliseconds.
"""

import hashlib
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache

import numpy as np
import psycopg
from PIL import Image

from lalafo_assets.starter import load_starter
from lalafo_assets.synthetic.photos import render
from ops.models.embed import Embedder, prepare
from ops.models.release import Head, Preprocessing, Release
from ops.models.release_files import assemble
from ops.outcomes import AdOutcome, Batch, PhotoEmbedding, PhotoOutcome
from ops.photos.rendition import make_rendition
from ops.types import AdStatus, PhotoRef, Rendition
from resources.inference.loading import install
from resources.postgres.database import Database
from resources.releases.promotion import make_live
from resources.sessions.commits.commit import Holder, ResultWriter
from resources.sessions.group.leases import Leases
from resources.settings import Settings
from resources.storage.photos import PhotoStore
from resources.storage.stores import Stores
from tests.conftest import connect_args
from tests.support.batches import event, receipt

GOODS = ("chair", "lamp", "shoes")
SIZE = 96
STREAM = "stream-1"


@dataclass(frozen=True)
class Ad:
    """An ad to commit: the seller's category and the photos' bytes."""

    ad_id: str
    category: str | None
    photos: tuple[bytes, ...]
    status: AdStatus = AdStatus.SCORED
    more: Mapping[str, object] = field(default_factory=dict)  # of the event


@dataclass
class Labelled:
    """A catalogue, with methods to fill it."""

    database: Database
    settings: Settings
    live: str = ""
    offset: int = 0
    stores: Stores = field(init=False)

    def __post_init__(self) -> None:
        url = self.settings.resolved_store_url
        self.stores = Stores.of(url)
        self.photos = PhotoStore(url, fsync=False)

    def rows(self, query: str, *values: object) -> list[tuple]:
        with self.database.cursor() as cursor:
            cursor.execute(query, values)
            return cursor.fetchall()

    def install(self, release: Release) -> str:
        return install(self.database, self.stores.releases, release).name

    def make_live(self, release: Release) -> str:
        self.live = self.install(release)
        make_live(self.database, self.live)
        return self.live

    def commit(self, ads: Sequence[Ad]) -> None:
        """Commit as a session does, under a lease: renditions, live embeddings, rows."""
        ((backbone,),) = self.rows(
            "SELECT backbone FROM lalafo.releases WHERE name = %s", self.live
        )
        renditions: dict[bytes, Rendition] = {}
        outcomes: list[AdOutcome] = []
        for number, one in enumerate(ads):
            outcomes.append(self._outcome(one, self.offset + number, renditions))
        for rendition in renditions.values():
            self.photos.put("renditions", rendition.sha256, rendition.data)
        vectors = embedded(tuple(renditions.values()))
        url = connect_args(self.database.url.render_as_string())
        with psycopg.connect(**url, autocommit=True) as connection:
            epochs = Leases(STREAM, "ads", "run-1", 60).acquire(connection, [0])
            ResultWriter(self.database, Holder("run-1", STREAM, "ads", "ads.scored")).commit(
                Batch(
                    releases=(self.live,),
                    ads=tuple(outcomes),
                    renditions=tuple(renditions.values()),
                    embeddings=tuple(
                        PhotoEmbedding(sha, backbone, self.live, vector)
                        for sha, vector in zip(renditions, vectors, strict=True)
                    ),
                    partitions=frozenset({0}),
                    next_offsets={0: self.offset + len(ads)},
                ),
                epochs,
            )
        self.offset += len(ads)

    def _outcome(self, one: Ad, offset: int, renditions: dict[bytes, Rendition]) -> AdOutcome:
        photos = []
        for number, data in enumerate(one.photos):
            rendition = make_rendition(data, max_pixels=50_000_000)
            renditions[rendition.photo_sha256] = rendition
            ref = PhotoRef(url=f"https://p.example/{one.ad_id}/{number}.jpg")
            photos.append(PhotoOutcome(ref, rendition.photo_sha256, None))
        of = event(one.ad_id, photos=len(photos), category=one.category, **one.more)
        return AdOutcome(of, receipt(offset), one.status, tuple(photos))

    def correct(self, ad_id: str, label: str, task: str = "category") -> None:
        """Insert a person's label for an ad."""
        with self.database.cursor() as cursor:
            cursor.execute(
                "INSERT INTO lalafo.labels (catalog, ad_id, task, label, given_by) "
                "VALUES ('kg', %s, %s, %s, 'somebody')",
                (ad_id, task, label),
            )


@cache
def drawn(category: str, seed: int) -> bytes:
    """A synthetic photo's bytes."""
    return render(category, seed).data


def saved_again(data: bytes) -> bytes:
    """Slightly cropped, smaller, and compressed again: other bytes of the same picture."""
    with Image.open(io.BytesIO(data)) as photo:
        width, height = photo.size
        box = (width // 100, height // 100, width - width // 100, height - height // 100)
        smaller = photo.convert("RGB").crop(box).resize((width * 3 // 4, height * 3 // 4))
    out = io.BytesIO()
    smaller.save(out, "JPEG", quality=70)
    return out.getvalue()


def goods(count: int, photos: int = 2) -> list[Ad]:
    """`count` ads of each category, each with its own synthetic photos."""
    return [
        Ad(
            f"{category}-{number:02}",
            category,
            tuple(drawn(category, 1_000 * (p + 1) + number) for p in range(photos)),
        )
        for category in GOODS
        for number in range(count)
    ]


def guessing_release(seed: int = 0, labels: Sequence[str] = GOODS) -> Release:
    """The starter's backbone at a small image size, with a random head."""
    starter = load_starter()
    rng = np.random.default_rng(seed)
    weight = rng.normal(size=(len(labels), starter.manifest.dimension)).astype(np.float32)
    head = Head("category", tuple(labels), weight, np.zeros(len(labels), np.float32))
    return assemble(
        backbone=starter.manifest.backbone,
        weights_source="starter",
        preprocessing=Preprocessing(size=SIZE),
        backbone_state=starter.backbone_state,
        heads={"category": head},
        metrics={},
    )


_vectors: dict[bytes, np.ndarray] = {}


def embedded(renditions: Sequence[Rendition]) -> list[np.ndarray]:
    """Vectors of `guessing_release`'s backbone; each rendition is embedded once per pytest run."""
    missing = [one for one in renditions if one.sha256 not in _vectors]
    if missing:
        release = guessing_release()
        embedder = Embedder(release.backbone, device="cpu", threads=1, mode="eager")
        images = [prepare(one.data, release.manifest.preprocessing) for one in missing]
        for one, row in zip(missing, embedder.embed(images), strict=True):
            _vectors[one.sha256] = row
    return [_vectors[one.sha256] for one in renditions]


def sabotaged(release: Release) -> Release:
    """The same release with its head's rows shifted by one: high scores, wrong labels."""
    head = release.heads["category"]
    shuffled = Head(head.task, head.labels, np.roll(head.weight, 1, axis=0), np.roll(head.bias, 1))
    manifest = release.manifest
    return assemble(
        backbone=manifest.backbone,
        weights_source=manifest.weights_source,
        preprocessing=manifest.preprocessing,
        backbone_state=release.backbone_state,
        heads={"category": shuffled},
        metrics={"training_set": manifest.metrics["training_set"]},
    )


def sha256(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()
