"""Cursors of searches: where a page begins, and the backbone that its similarities are of."""

import json
import math
from base64 import urlsafe_b64decode, urlsafe_b64encode

from gateway.problems import Problem
from resources.vector_search.queries import MAX_DEPTH, Position

_KIND = "similar"


def cursor_at(position: Position, backbone: str) -> str:
    """Encode where a page begins."""
    fields = [
        *(_KIND, backbone, position.similarity),
        *(position.catalog, position.ad_id, position.seen),
    ]
    text = json.dumps(fields, ensure_ascii=False, separators=(",", ":"))
    return urlsafe_b64encode(text.encode()).rstrip(b"=").decode()


def position_at(cursor: str | None, backbone: str) -> Position:
    """Decode it.

    Raises:
        Problem: 422, it is no cursor of a search; 409, another backbone is live by now.
    """
    if cursor is None:
        return Position()
    try:
        fields = json.loads(urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
        kind, of, similarity, catalog, ad_id, seen = fields
        "".join((of, catalog, ad_id)).encode()  # texts, without lone surrogates
        valid = (
            kind == _KIND
            and type(similarity) is float
            and math.isfinite(similarity)
            and type(seen) is int
            and 0 < seen < MAX_DEPTH
            and "\x00" not in catalog + ad_id
        )
    except (ValueError, TypeError, RecursionError):
        valid = False
    if not valid:
        raise Problem(
            422,
            "bad_cursor",
            "this is no cursor of a search; send `next` of the previous page unchanged, or omit it",
        )
    if of != backbone:
        raise Problem(
            409,
            "other_backbone",
            "another release is live since the previous page, and its similarities are others; "
            "begin again without a cursor",
        )
    return Position(similarity, catalog, ad_id, seen)
