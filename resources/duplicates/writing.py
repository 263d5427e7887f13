"""Writes what a comparison has found, in one transaction: pairs, groups, common photos, the event.

Owns that a finder which has lost its lease writes nothing, and that a repeated write changes
nothing.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import psycopg

from ops.duplicates.ads.ad_pairs import SAME_AD
from ops.duplicates.ads.titles import title_key
from ops.events.duplicate import duplicate_event
from resources.duplicates import changes
from resources.duplicates.changes import LEASE, Change
from resources.duplicates.common_photos import recount
from resources.duplicates.comparison import AdMatch, Comparison
from resources.duplicates.groups import regroup
from resources.duplicates.photo_matches import VERSION, PhotoMatch
from resources.duplicates.stored_ads import StoredAd
from resources.kafka.outbox import put

Cursor = psycopg.Cursor[Any]

# A photo can't be deleted until the transaction ends; pairs of one that was are left out.
_PUT_PHOTO_PAIRS = """
    WITH kept AS MATERIALIZED (SELECT sha256 FROM lalafo.photos
        WHERE sha256 = ANY(%(one)s::bytea[] || %(other)s::bytea[]) ORDER BY sha256 FOR KEY SHARE)
    INSERT INTO lalafo.photo_pairs (sha256, other_sha256, verdict, probability, changes, region,
        other_region, version)
    SELECT new.one, new.other, new.verdict, new.probability,
        ARRAY(SELECT jsonb_array_elements_text(new.changes)), new.region, new.other_region,
        %(version)s
    FROM unnest(%(one)s::bytea[], %(other)s::bytea[], %(verdict)s::text[],
        %(probability)s::real[], %(changes)s::jsonb[], %(region)s::jsonb[],
        %(other_region)s::jsonb[])
        AS new (one, other, verdict, probability, changes, region, other_region)
    WHERE new.one IN (SELECT sha256 FROM kept) AND new.other IN (SELECT sha256 FROM kept)
    ON CONFLICT (sha256, other_sha256) DO UPDATE SET verdict = EXCLUDED.verdict,
        probability = EXCLUDED.probability, changes = EXCLUDED.changes,
        region = EXCLUDED.region, other_region = EXCLUDED.other_region,
        version = EXCLUDED.version, compared_at = clock_timestamp()"""
_OTHERS = """
    SELECT other_id, raised_at FROM lalafo.ad_pairs WHERE catalog = %(catalog)s
        AND ad_id = %(ad_id)s
    UNION ALL SELECT ad_id, raised_at FROM lalafo.ad_pairs WHERE catalog = %(catalog)s
        AND other_id = %(ad_id)s"""
_LABELS = """
    SELECT other_id, same FROM lalafo.duplicate_labels WHERE catalog = %(catalog)s
        AND ad_id = %(ad_id)s AND other_id = ANY(%(others)s)
    UNION ALL SELECT ad_id, same FROM lalafo.duplicate_labels WHERE catalog = %(catalog)s
        AND other_id = %(ad_id)s AND ad_id = ANY(%(others)s)"""
_DROP_PAIRS = """
    DELETE FROM lalafo.ad_pairs WHERE catalog = %(catalog)s AND (
        ad_id = %(ad_id)s AND other_id = ANY(%(others)s)
        OR other_id = %(ad_id)s AND ad_id = ANY(%(others)s))"""
_PUT_PAIR = """
    INSERT INTO lalafo.ad_pairs AS held (catalog, ad_id, other_id, revision, other_revision,
        verdict, probability, reasons, raised_at)
    VALUES (%(catalog)s, %(ad_id)s, %(other_id)s, %(revision)s, %(other_revision)s, %(verdict)s,
        %(probability)s, %(reasons)s, CASE WHEN %(raised)s THEN now() END)
    ON CONFLICT (catalog, ad_id, other_id) DO UPDATE SET revision = EXCLUDED.revision,
        other_revision = EXCLUDED.other_revision, verdict = EXCLUDED.verdict,
        probability = EXCLUDED.probability, reasons = EXCLUDED.reasons,
        raised_at = CASE WHEN %(copies)s THEN coalesce(held.raised_at, EXCLUDED.raised_at) END,
        compared_at = EXCLUDED.compared_at"""
_COMPARED = """
    INSERT INTO lalafo.compared_ads (catalog, ad_id, revision, seller, received_at, title_key,
        photos, common, version)
    VALUES (%s, %s, %s, %s, %s, %s, %s::bytea[], %s::bytea[], %s)
    ON CONFLICT (catalog, ad_id) DO UPDATE SET revision = EXCLUDED.revision,
        seller = EXCLUDED.seller, received_at = EXCLUDED.received_at,
        title_key = EXCLUDED.title_key, photos = EXCLUDED.photos, common = EXCLUDED.common,
        version = EXCLUDED.version, compared_at = EXCLUDED.compared_at"""


@dataclass(frozen=True, slots=True)
class Written:
    """`events`: `duplicate_found`. `waited_s`: since the commit of each change."""

    events: int
    waited_s: tuple[float, ...]


def write(
    cursor: Cursor, epoch: int, change: Change, done: Comparison, *, topic: str, run_id: str
) -> Written:
    """Make the ad's pairs what the comparison has found, in the caller's transaction.

    Args:
        topic: of `ads.scored`.

    Returns:
        How many events `duplicate_found` it has written, and how long its changes had waited.

    Raises:
        LeaseLostError: another finder has the lease; the caller rolls back.
    """
    LEASE.check(cursor, epoch)
    key = {"catalog": done.key.catalog, "ad_id": done.key.ad_id}
    before: dict[str, Any] = dict(cursor.execute(_OTHERS, key).fetchall())
    others = [match.other.key.ad_id for match in done.ads]
    labels = dict(cursor.execute(_LABELS, {**key, "others": others}).fetchall())
    _put_photo_pairs(cursor, done.found)
    events = 0
    kept: set[str] = set()
    for match in done.ads:
        other = match.other.key.ad_id
        label = labels.get(other)
        if not (match.probability >= SAME_AD or match.copies or label):
            continue
        assert done.ad is not None  # only an ad that is there has matches
        kept.add(other)
        raised = _is_raised(done.ad, match) and label is not False and before.get(other) is None
        _put_pair(cursor, done.ad, match, raised=raised)
        if raised:
            put(cursor, topic, str(done.key).encode(), _event(done.ad, match, run_id))
            events += 1
    gone = sorted(before.keys() - kept)
    if gone:
        cursor.execute(_DROP_PAIRS, {**key, "others": gone})
    _put_compared(cursor, done)
    now = frozenset() if done.ad is None else frozenset(done.ad.photos)
    copies = {it.other_sha256 for it in done.found if it.is_copy}
    if recount(cursor, done.key.catalog, done.key.ad_id, done.before | now | copies) and now:
        changes.queue(cursor, done.key.catalog, [done.key.ad_id])
    regroup(cursor, done.key.catalog, {done.key.ad_id, *before, *kept})
    return Written(events, tuple(changes.remove(cursor, change.rows)))


def _is_raised(ad: StoredAd, match: AdMatch) -> bool:
    """Whether two sellers have one photo."""
    sellers = (ad.seller, match.other.seller)
    return match.copies and None not in sellers and sellers[0] != sellers[1]


def _event(ad: StoredAd, match: AdMatch, run_id: str) -> bytes:
    other = match.other
    return duplicate_event(
        ad.key,
        ad.revision,
        ad.seller or "",
        other=(other.key.ad_id, other.revision, other.seller or ""),
        probability=match.probability,
        photos=[
            (it.sha256, it.other_sha256, it.verdict.value, it.probability, it.changes)
            for it in match.matches
            if it.is_copy
        ],
        run_id=run_id,
    )


def _put_pair(cursor: Cursor, ad: StoredAd, match: AdMatch, *, raised: bool) -> None:
    first, second = sorted((ad, match.other), key=lambda one: one.key.ad_id)
    cursor.execute(
        _PUT_PAIR,
        {
            **{"catalog": ad.key.catalog, "ad_id": first.key.ad_id, "other_id": second.key.ad_id},
            **{"revision": first.revision, "other_revision": second.revision},
            "verdict": None if match.verdict is None else match.verdict.value,
            "probability": match.probability,
            "reasons": json.dumps(match.reasons),
            # It stays raised while both sellers have one photo.
            "copies": _is_raised(ad, match),
            "raised": raised,
        },
    )


def _put_photo_pairs(cursor: Cursor, found: Sequence[PhotoMatch]) -> None:
    """Store pairs of photos, the smaller SHA-256 first."""
    if not found:
        return
    rows = sorted(_in_order(match) for match in found)
    names = ("one", "other", "verdict", "probability", "changes", "region", "other_region")
    columns = dict(zip(names, map(list, zip(*rows, strict=True)), strict=True))
    cursor.execute(_PUT_PHOTO_PAIRS, {**columns, "version": VERSION})


def _in_order(match: PhotoMatch) -> tuple[bytes, bytes, str, float, str, str | None, str | None]:
    one, other = match.sha256, match.other_sha256
    regions = [None if it is None else json.dumps(it) for it in (match.region, match.other_region)]
    if one > other:
        one, other = other, one
        regions.reverse()
    changes_ = json.dumps(list(match.changes))
    return one, other, match.verdict.value, match.probability, changes_, regions[0], regions[1]


def _put_compared(cursor: Cursor, done: Comparison) -> None:
    if done.ad is None:
        cursor.execute(
            "DELETE FROM lalafo.compared_ads WHERE catalog = %s AND ad_id = %s",
            (done.key.catalog, done.key.ad_id),
        )
        return
    ad = done.ad
    cursor.execute(
        _COMPARED,
        (
            *(ad.key.catalog, ad.key.ad_id, ad.revision, ad.seller, ad.received_at),
            *(title_key(ad.title), sorted(ad.photos), sorted(done.common), VERSION),
        ),
    )
