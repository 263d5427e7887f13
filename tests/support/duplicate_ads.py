"""Ads with chosen photos, committed as sessions do, and what a finder has made of them."""

import hashlib
import io
import itertools
import json
import random
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, cast

import numpy as np
from PIL import Image

from ops.duplicates.ads.groups import AdGroups
from ops.duplicates.photos.photo_print import PhotoPrint, photo_print
from ops.duplicates.photos.photo_scores import Verdict, compare_photos
from ops.outcomes import PhotoEmbedding, PhotoOutcome
from ops.photos.pixels import Pixels
from ops.types import AdKey, EventKind, PhotoRef, Rendition
from resources.changes.worker import Group
from resources.duplicates.changes import LEASE
from resources.duplicates.finder import Finder
from resources.postgres.database import Database
from resources.sessions.commits.commit import Holder, ResultWriter
from resources.sessions.group.leases import Leases
from resources.storage.photos import PhotoStore
from tests.support.batches import BACKBONE, RELEASE, batch, event, outcome, put_test_release
from tests.support.detailed_photos import detailed_photo
from tests.support.vector_ads import worker_epoch

SCORED = "ads.scored"


def jpeg(pixels: Pixels, quality: int = 90) -> bytes:
    """The pixels as a JPEG."""
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "JPEG", quality=quality)
    return out.getvalue()


def photo_of(seed: int) -> Pixels:
    """A photo with detail, small enough for many comparisons."""
    return detailed_photo(seed, width=240, height=180)


@dataclass
class Shop:
    """Commits ads whose photos are `photos`, by name; `made` has those of each seed.

    `likes`: photos that
    another one's embedding is near, by name; `sent`: the present revision of each ad.
    """

    database: Database
    results: ResultWriter
    epochs: dict[int, int]
    store: PhotoStore
    photos: dict[str, bytes] = field(default_factory=dict)
    likes: dict[str, bytes] = field(default_factory=dict)
    sent: dict[tuple[str, str], int] = field(default_factory=dict)
    offset: int = 0

    def add(self, name: str, pixels: Pixels, quality: int = 90) -> bytes:
        """Name a photo; return the SHA-256 of its bytes."""
        self.photos[name] = jpeg(pixels, quality)
        return hashlib.sha256(self.photos[name]).digest()

    def sha256(self, name: str) -> bytes:
        """Of a photo; one without pixels is made of its name, the digits behind the last letter."""
        if name not in self.photos:
            self.add(name, photo_of(int(name.lstrip("abcdefghijklmnopqrstuvwxyz") or "0")))
        return hashlib.sha256(self.photos[name]).digest()

    def put(self, ad_id: str, *names: str, catalog: str = "kg", **changes: object) -> int:
        """Commit a new revision of an ad with these photos; return the revision."""
        photos = [self.sha256(name) for name in names]
        revision = self._next(catalog, ad_id)
        refs = tuple(PhotoRef(sha256=sha256) for sha256 in photos)
        sent = event(ad_id, revision, **{"title": f"thing number {ad_id}", **changes})
        sent = replace(sent, key=AdKey(catalog, ad_id), photos=refs)
        of = outcome(sent, offset=self.offset)
        of = replace(of, photos=tuple(PhotoOutcome(ref, ref.sha256, None) for ref in refs))
        done = batch(of)
        renditions = []
        for name, sha256 in zip(names, photos, strict=True):
            data = self.photos[name]
            self.store.put("renditions", sha256, data)
            renditions.append(_rendition(sha256, data))
        vectors = tuple(
            embedding_of(sha256, like=self.likes.get(name))
            for name, sha256 in zip(names, photos, strict=True)
        )
        self._commit(replace(done, renditions=tuple(renditions), embeddings=vectors))
        return revision

    def delete(self, ad_id: str, catalog: str = "kg") -> None:
        """Commit a delete."""
        sent = event(ad_id, self._next(catalog, ad_id), photos=0)
        sent = replace(sent, key=AdKey(catalog, ad_id), kind=EventKind.DELETED)
        self._commit(batch(outcome(sent, offset=self.offset)))
        del self.sent[catalog, ad_id]

    def label(self, one: str, other: str, *, same: bool, catalog: str = "kg") -> None:
        """Say what the gateway stores of a person's word."""
        first, second = sorted((one, other))
        with self.database.cursor() as cursor:
            cursor.execute(
                "INSERT INTO lalafo.duplicate_labels (catalog, ad_id, other_id, same, given_by) "
                "VALUES (%s, %s, %s, %s, 'a person') ON CONFLICT (catalog, ad_id, other_id) "
                "DO UPDATE SET same = EXCLUDED.same",
                (catalog, first, second, same),
            )
            cursor.execute(
                "INSERT INTO lalafo.duplicate_changes (catalog, ad_id) VALUES (%s, %s)",
                (catalog, first),
            )

    def _next(self, catalog: str, ad_id: str) -> int:
        # A deleted ad's revision grows on: that of a tombstone is the highest so far.
        self.sent[catalog, ad_id] = self.offset + 1
        return self.offset + 1

    def _commit(self, done: Any) -> None:
        self.offset += 1
        self.results.commit(done, self.epochs)


def embedding_of(sha256: bytes, *, like: bytes | None = None) -> PhotoEmbedding:
    """In so many dimensions that those of different photos are not alike.

    Args:
        like: the SHA-256 of a photo whose embedding is near; None: none.
    """
    row = np.random.default_rng(list(sha256[:4])).normal(size=64)
    if like is not None:
        row = np.random.default_rng(list(like[:4])).normal(size=64) + 0.3 * row
    vector = (row / np.linalg.norm(row)).astype(np.float16)
    return PhotoEmbedding(sha256, BACKBONE, RELEASE, vector)


def _rendition(sha256: bytes, data: bytes) -> Rendition:
    with Image.open(io.BytesIO(data)) as opened:
        width, height = opened.size
    return Rendition(
        photo_sha256=sha256,
        sha256=sha256,
        data=data,
        width=width,
        height=height,
        source_format="jpeg",
        source_width=width,
        source_height=height,
        source_bytes=len(data),
    )


def shop_of(database: Database, connection: Any, store: PhotoStore) -> Shop:
    """A shop with a live release.

    Args:
        connection: holds the lease while it is open.
    """
    put_test_release(database)
    epochs = Leases("stream-1", "ads", "run-1", 600).acquire(connection, [0])
    writer = ResultWriter(database, Holder("run-1", "stream-1", "ads", SCORED))
    return Shop(database, writer, epochs, store)


def finder_epoch(connection: Any, run: str = "finder-1") -> int:
    """The epoch of a finder's lease, newly acquired."""
    return worker_epoch(connection, LEASE, run, 600)


def find_all(database: Database, store: PhotoStore, epoch: int) -> Finder:
    """Look at all ads that are queued or missing."""
    finder = Finder(database, cast(Group, None), store, topic=SCORED, run_id="finder-1")
    while finder.work(epoch):
        pass
    return finder


Pair = tuple[str, str, str]


def pairs_of(database: Database) -> dict[Pair, tuple[Any, ...]]:
    """What is stored of pairs of ads, without times: verdict, rounded probability, reasons."""
    with database.cursor() as cursor:
        cursor.execute(
            "SELECT catalog, ad_id, other_id, revision, other_revision, verdict, "
            "round(probability::numeric, 4), reasons FROM lalafo.ad_pairs"
        )
        return {row[:3]: row[3:] for row in cursor.fetchall()}


def groups_of(database: Database) -> dict[tuple[str, str], frozenset[str]]:
    """The members of each group, by its catalog and its smallest ad."""
    found: dict[tuple[str, str], set[str]] = {}
    with database.cursor() as cursor:
        cursor.execute("SELECT catalog, group_id, ad_id FROM lalafo.ad_groups")
        for catalog, group_id, ad_id in cursor.fetchall():
            found.setdefault((catalog, group_id), set()).add(ad_id)
    return {key: frozenset(members) for key, members in found.items()}


def stored(database: Database) -> Mapping[str, Any]:
    """All that a finder makes, without times."""
    with database.cursor() as cursor:
        cursor.execute(
            "SELECT sha256, other_sha256, verdict, changes, region, other_region "
            "FROM lalafo.photo_pairs ORDER BY 1, 2"
        )
        photo_pairs = cursor.fetchall()
        cursor.execute(
            "SELECT catalog, ad_id, revision, seller, photos, common FROM lalafo.compared_ads "
            "ORDER BY 1, 2"
        )
        compared = cursor.fetchall()
        cursor.execute("SELECT catalog, sha256 FROM lalafo.common_photos ORDER BY 1, 2")
        common = cursor.fetchall()
        cursor.execute(
            "SELECT sha256, pdq::text, words, details FROM lalafo.photo_hashes ORDER BY 1"
        )
        hashes = cursor.fetchall()
    return {
        **{"pairs": pairs_of(database), "groups": groups_of(database)},
        **{"photo_pairs": photo_pairs, "ads": compared, "common": common, "hashes": hashes},
    }


def forget(database: Database) -> None:
    """Delete all that a finder made, and no label."""
    with database.cursor() as cursor:
        cursor.execute(
            "TRUNCATE lalafo.ad_pairs, lalafo.ad_groups, lalafo.photo_pairs, lalafo.common_photos, "
            "lalafo.compared_ads, lalafo.photo_hashes, lalafo.duplicate_changes"
        )


def events_of(database: Database) -> list[dict[str, Any]]:
    """The events duplicate_found in the outbox."""
    with database.cursor() as cursor:
        cursor.execute("SELECT value FROM lalafo.outbox ORDER BY id")
        found = [json.loads(bytes(value)) for (value,) in cursor.fetchall()]
    return [it for it in found if it["kind"] == "duplicate_found"]


def mirrored(pixels: Pixels) -> Pixels:
    """The mirror image."""
    return np.ascontiguousarray(pixels[:, ::-1])


def cropped(pixels: Pixels, share: float = 0.1) -> Pixels:
    """Without this share of each side's ends."""
    height, width = pixels.shape[:2]
    top, left = round(height * share / 2), round(width * share / 2)
    return np.ascontiguousarray(pixels[top : height - top, left : width - left])


def unlike_photos(shop: Shop, count: int) -> list[str]:
    """Names of photos of which no two are called the same, or the same thing."""
    chosen: dict[str, PhotoPrint] = {}
    for number in itertools.count(1):
        if len(chosen) == count:
            return list(chosen)
        name = f"p{number}"
        sha256 = shop.sha256(name)
        with Image.open(io.BytesIO(shop.photos[name])) as opened:
            vector = embedding_of(sha256).vector
            made = photo_print(sha256, np.asarray(opened.convert("RGB")), embedding=vector)
        if all(compare_photos(made, it).verdict is Verdict.DIFFERENT for it in chosen.values()):
            chosen[name] = made
    raise AssertionError


@dataclass
class RandomAds:
    """Changes of a few ads at random, and the groups that they must have, by `AdGroups`.

    All titles are equal, so that ads with a photo in common are the same, and others are not.
    """

    shop: Shop
    rng: random.Random
    pool: list[str]
    ads: dict[str, frozenset[str]] = field(default_factory=dict)
    labels: dict[tuple[str, str], bool] = field(default_factory=dict)

    def change(self) -> None:
        """Commit one change; most ads have the first photo."""
        rng, ad_id = self.rng, f"{self.rng.randrange(45):03d}"
        what = rng.random()
        if what < 0.15 and ad_id in self.ads:
            self.shop.delete(ad_id)
            del self.ads[ad_id]
        elif what < 0.25 and len(self.ads) > 2:
            one, other = sorted(rng.sample(sorted(self.ads), 2))
            self.labels[one, other] = rng.random() < 0.5
            self.shop.label(one, other, same=self.labels[one, other])
        else:
            photos = set(rng.sample(self.pool[1:], rng.choice((1, 1, 2))))
            photos |= {self.pool[0]} if rng.random() < 0.65 else set()
            self.shop.put(ad_id, *sorted(photos), title="one title for all")
            self.ads[ad_id] = frozenset(photos)

    def groups(self) -> dict[tuple[str, str], frozenset[str]]:
        """As `groups_of` must return them."""
        found: AdGroups[str] = AdGroups()
        for ad_id, photos in self.ads.items():
            found.put(ad_id, photos)
        for one, other in itertools.combinations(sorted(self.ads), 2):
            label = self.labels.get((one, other))
            both = self.ads[one] & self.ads[other]
            if label or (label is None and both):
                found.accept(one, other, photos=None if label else both)
        return {("kg", first): members for first, members in found.groups().items()}
