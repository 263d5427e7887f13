"""The operations of a session: commits of new ads and of new revisions, and the lost-ads search."""

import hashlib
from collections.abc import Callable, Iterator
from datetime import UTC, datetime

import numpy as np

from lalafo_assets.bench.gateway.fill import ad_id
from lalafo_assets.bench.gateway.wrk_requests import CATALOG
from lalafo_assets.bench.growth.fill import LIVE
from lalafo_assets.bench.growth.operations import Operation, Place, numbers
from lalafo_assets.bench.rescore.fill import BACKBONE, DIMENSION
from ops.outcomes import AdOutcome, Batch, PhotoEmbedding, PhotoOutcome, Receipt
from ops.types import AdEvent, AdKey, AdStatus, EventKind, PhotoRef, Prediction, Rendition
from resources.sessions.commits.commit import Holder, ResultWriter
from resources.upkeep.lost_ads import LostAds, TopicEnds

ADS_OF_BATCH = 8
PHOTOS_OF_AD = (1, 2, 3, 4)  # in turn
LOOKED_AT = 50  # accepted ads of one search
_STREAM, _TOPIC = "bench", "ads"
_EPOCH = 1
_DETAILS = {"top": [["category 05", 0.61], ["category 07", 0.22], ["category 11", 0.09]]}


def session_operations(place: Place) -> Iterator[Operation]:
    """The operations in the order in which they are timed."""
    place.execute(
        "INSERT INTO lalafo.leases (stream_id, topic, partition, epoch, run_id, backend_pid, "
        "backend_start, expires_at, released) "
        "VALUES (%s, %s, 0, %s, 'bench', 1, now(), now() + interval '1 day', false)",
        (_STREAM, _TOPIC, _EPOCH),
    )
    yield _lost_ads(place)
    yield _commits(place, "commit_new", lambda number: f"new-{number:09d}", revision=1)
    stored = [ad_id(number) for number in numbers(place.ads, 8)]
    yield _commits(place, "commit_revised", lambda number: stored[number], revision=7)


def _commits(place: Place, name: str, id_of: Callable[[int], str], *, revision: int) -> Operation:
    """Commits of ADS_OF_BATCH ads with 2.5 photos each on average, all of them new photos."""
    writer = ResultWriter(place.database, Holder("bench", _STREAM, _TOPIC, f"{_TOPIC}.scored"))
    batches: dict[int, Batch] = {}

    def prepare(number: int) -> None:
        place.execute("DELETE FROM lalafo.outbox")  # as after Kafka's acknowledgement
        first = number * ADS_OF_BATCH
        ids = [id_of(first + n) for n in range(ADS_OF_BATCH)]
        batches[number] = make_batch(ids, revision, offset=revision * 1_000_000 + first)

    def commit(number: int) -> None:
        accepted = writer.commit(batches[number], {0: _EPOCH}).accepted
        assert len(accepted) == ADS_OF_BATCH, f"{len(accepted)} ads of the batch were accepted"

    return Operation(name, commit, prepare)


def make_batch(ad_ids: list[str], revision: int, *, offset: int) -> Batch:
    """A batch as the session's stages make it: every ad scored, every photo new."""
    now = datetime.now(UTC)
    rng = np.random.default_rng(offset)
    ads, renditions, embeddings = [], [], []
    for index, ad in enumerate(ad_ids):
        key = AdKey(CATALOG, ad)
        refs = tuple(
            PhotoRef(url=f"https://photos.example/{ad}-{revision}-{n}.jpg")
            for n in range(PHOTOS_OF_AD[index % len(PHOTOS_OF_AD)])
        )
        event = AdEvent(
            key, EventKind.UPSERTED, f"{ad}-{revision}", revision, now, title=f"Offer {ad}",
            description="Pick-up in the evenings. Price as marked.", category="chair", photos=refs,
        )  # fmt: skip
        photos = [hashlib.sha256(str(ref.url).encode()).digest() for ref in refs]
        renditions += [_rendition(photo) for photo in photos]
        rows = rng.standard_normal((len(photos), DIMENSION), dtype=np.float32)
        rows /= np.linalg.norm(rows, axis=1, keepdims=True)
        embeddings += [
            PhotoEmbedding(photo, BACKBONE, LIVE, row)
            for photo, row in zip(photos, rows.astype(np.float16), strict=True)
        ]
        receipt = Receipt(_TOPIC, 0, offset + index, now.date(), now, now, True)
        outcomes = tuple(PhotoOutcome(r, p, None) for r, p in zip(refs, photos, strict=True))
        prediction = Prediction("category", "category 05", 0.61, _DETAILS)
        ads.append(AdOutcome(event, receipt, AdStatus.SCORED, outcomes, {LIVE: (prediction,)}))
    return Batch(
        releases=(LIVE,),
        ads=tuple(ads),
        renditions=tuple(renditions),
        embeddings=tuple(embeddings),
        partitions=frozenset({0}),
        next_offsets={0: offset + len(ads)},
    )


def _rendition(photo: bytes) -> Rendition:
    sha256 = hashlib.sha256(photo).digest()
    return Rendition(photo, sha256, b"", 400, 533, "jpeg", 400, 533, 45_000)


def _lost_ads(place: Place) -> Operation:
    """A session's search among the ads that were accepted since its last one; none is lost."""
    search = LostAds(_TOPIC)
    ids = [ad_id(number) for number in numbers(place.ads, 9)]

    def prepare(number: int) -> None:
        chosen = ids[number * LOOKED_AT : (number + 1) * LOOKED_AT]
        place.execute(
            "INSERT INTO lalafo.accepted_ads (catalog, ad_id, revision, event, digest, "
            "accepted_by, accepted_at) SELECT %s, ad_id, 1, '{}', sha256(ad_id::bytea), 'bench', "
            "now() - interval '60.5 seconds' FROM unnest(%s::text[]) AS k (ad_id) "
            "ON CONFLICT (catalog, ad_id) DO UPDATE SET accepted_at = excluded.accepted_at",
            (CATALOG, chosen),
        )

    def search_once(_: int) -> None:
        while True:
            published = search.publish(place.database, _no_log)
            assert published == 0, f"{published} ads that are committed were published again"
            if search.finished:
                return

    return Operation("lost_ads", search_once, prepare, times=11)


def _no_log() -> TopicEnds:
    return TopicEnds(_STREAM, {0: 0}, {0: 0})
