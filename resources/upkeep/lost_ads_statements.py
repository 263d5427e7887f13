"""The statements by which `lost_ads.py` finds accepted ads that are not committed.

In each, `w` is a row of `accepted_ads`. Rows are locked without waiting: another process that looks
for lost ads has the others.
"""

# A correlated subquery is a look-up by primary key, whatever the planner's estimates are.
_COMMITTED = (
    "coalesce((SELECT a.revision FROM lalafo.ads AS a "
    "WHERE a.catalog = w.catalog AND a.ad_id = w.ad_id), -1)"
)
_DONE = f"w.revision <= {_COMMITTED}"
_NOT_DONE = f"w.revision > {_COMMITTED}"
_KEY = "convert_to(w.catalog || '/' || w.ad_id, 'UTF8')"
# A dead letter has the record's key, and no ad if it can't be parsed. A person may replay it.
_NOT_REFUSED = (
    "NOT EXISTS (SELECT FROM lalafo.failures AS f WHERE f.kind = 'event' "
    f"AND f.original_key = {_KEY} AND f.failed_at >= w.accepted_at) "
    "AND NOT EXISTS (SELECT FROM lalafo.failures AS f WHERE f.kind = 'event' "
    "AND f.catalog = w.catalog AND f.ad_id = w.ad_id AND f.failed_at >= w.accepted_at)"
)
_QUEUED = f"EXISTS (SELECT FROM lalafo.outbox AS o WHERE o.topic = %(topic)s AND o.key = {_KEY})"
# Ads in the order in which they were accepted: each is looked at once, a minute later.
SCAN = f"""
WITH scanned AS MATERIALIZED (
    SELECT catalog, ad_id, revision, accepted_at FROM lalafo.accepted_ads
    WHERE (accepted_at, catalog, ad_id) > (%(at)s::timestamptz, %(catalog)s, %(ad_id)s)
    AND accepted_at <= clock_timestamp() - make_interval(secs => %(older_than_s)s)
    AND recheck_at IS NULL
    ORDER BY accepted_at, catalog, ad_id LIMIT %(rows)s
), waiting AS MATERIALIZED (
    SELECT * FROM scanned AS w WHERE {_NOT_DONE}
    ORDER BY accepted_at, catalog, ad_id LIMIT %(batch)s
)
SELECT (SELECT count(*) FROM scanned),
    (SELECT ARRAY[accepted_at::text, catalog, ad_id] FROM scanned
        ORDER BY accepted_at DESC, catalog DESC, ad_id DESC LIMIT 1),
    (SELECT ARRAY[accepted_at::text, catalog, ad_id] FROM waiting
        ORDER BY accepted_at DESC, catalog DESC, ad_id DESC LIMIT 1),
    coalesce((SELECT jsonb_agg(jsonb_build_array(w.catalog, w.ad_id, w.revision, {_QUEUED}))
        FROM waiting AS w), '[]')
"""
FORGET = f"""
UPDATE lalafo.accepted_ads AS w SET recheck_at = NULL FROM (
    SELECT catalog, ad_id FROM lalafo.accepted_ads AS w
    WHERE recheck_at <= clock_timestamp() AND {_DONE}
    ORDER BY recheck_at LIMIT %(rows)s FOR UPDATE SKIP LOCKED
) AS k WHERE w.catalog = k.catalog AND w.ad_id = k.ad_id
"""
DUE = f"""
SELECT catalog, ad_id, revision, {_QUEUED} FROM lalafo.accepted_ads AS w
WHERE recheck_at <= clock_timestamp() ORDER BY recheck_at LIMIT %(batch)s
"""
STILL_WAITING = f"""
SELECT w.catalog, w.ad_id, w.event, k.queued OR {_QUEUED} FROM lalafo.accepted_ads AS w
JOIN unnest(%(catalogs)s::text[], %(ad_ids)s::text[], %(revisions)s::bigint[], %(queued)s::bool[])
    AS k (catalog, ad_id, revision, queued)
    ON w.catalog = k.catalog AND w.ad_id = k.ad_id AND w.revision = k.revision
WHERE (w.recheck_at IS NULL OR w.recheck_at <= clock_timestamp()) AND {_NOT_DONE}
AND {_NOT_REFUSED} ORDER BY w.catalog, w.ad_id FOR UPDATE OF w SKIP LOCKED
"""
PUBLISH = """
INSERT INTO lalafo.outbox (topic, key, value)
SELECT %s, k.key, k.value FROM unnest(%s::bytea[], %s::bytea[]) AS k (key, value)
"""
RECHECK = """
UPDATE lalafo.accepted_ads AS w SET republished = w.republished + %(times)s,
    recheck_at = clock_timestamp() + make_interval(secs =>
        %(again_s)s * 2 ^ least(w.republished, %(doublings)s))
FROM unnest(%(catalogs)s::text[], %(ad_ids)s::text[]) AS k (catalog, ad_id)
WHERE w.catalog = k.catalog AND w.ad_id = k.ad_id
"""
# The others of a batch are committed, or refused.
SETTLE = """
UPDATE lalafo.accepted_ads AS w SET recheck_at = NULL FROM (
    SELECT w.catalog, w.ad_id FROM lalafo.accepted_ads AS w
    JOIN unnest(%(catalogs)s::text[], %(ad_ids)s::text[]) AS k (catalog, ad_id)
        ON w.catalog = k.catalog AND w.ad_id = k.ad_id
    WHERE w.recheck_at <= clock_timestamp() FOR UPDATE OF w SKIP LOCKED
) AS k WHERE w.catalog = k.catalog AND w.ad_id = k.ad_id
"""
OFFSETS = """
SELECT partition, next_offset FROM lalafo.stream_offsets WHERE stream_id = %s AND topic = %s
"""
