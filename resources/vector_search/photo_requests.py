"""The statements of the table `photo_searches`: photos that searches name and that no ad has.

The gateway asks and reads the answer; a worker (`resources/photo_searches.py`) takes requests and
answers them. Needs no driver.
"""

CHANNEL = "lalafo_photo_searches"
"""NOTIFY wakes the worker."""

AT_ONCE = 64
"""Requests that one worker answers at once; most wait for hosts."""

GIVEN_UP_S = 30
"""Nobody waits for a request that is older."""

KEPT_S = 3_600
"""A vector is used again for so long."""

BLANK = "it has one colour: it is like no other photo"
"""Why a photo with the note `photo_blank` is not searched by."""

KNOWN = (
    "SELECT s.vector::text, s.backbone, s.sha256 FROM lalafo.photo_searches AS s "
    "WHERE s.sha256 = %s AND s.vector IS NOT NULL AND s.backbone = (SELECT r.backbone "
    "FROM lalafo.active_releases AS f JOIN lalafo.releases AS r ON r.name = f.live) LIMIT 1"
)
ASK = "INSERT INTO lalafo.photo_searches (url, sha256) VALUES (%s, %s) RETURNING id"
ANSWERED = (
    "SELECT vector::text, backbone, sha256, reason, detail FROM lalafo.photo_searches "
    "WHERE id = %s AND (vector IS NOT NULL OR reason IS NOT NULL)"
)
TAKE = f"""
    UPDATE lalafo.photo_searches SET taken_at = now() WHERE id = ANY(ARRAY(
        SELECT id FROM lalafo.photo_searches WHERE taken_at IS NULL
        AND asked_at > now() - interval '{GIVEN_UP_S} s'
        ORDER BY asked_at LIMIT %s FOR UPDATE SKIP LOCKED))
    RETURNING id, url, sha256"""
ANSWER = (
    "UPDATE lalafo.photo_searches SET sha256 = coalesce(%s, sha256), backbone = %s, "
    "vector = %s, reason = %s, detail = %s WHERE id = %s"
)
TAKE_AGAIN = "UPDATE lalafo.photo_searches SET taken_at = NULL WHERE id = ANY(%s)"
FORGET = (
    "DELETE FROM lalafo.photo_searches WHERE id = ANY(ARRAY(SELECT id FROM lalafo.photo_searches "
    f"WHERE asked_at < now() - interval '{KEPT_S} s' LIMIT 1000))"
)
