"""How those who wait for an ad learn that it was committed: a notification in PostgreSQL.

Decides the channel and what is said on it: tokens of the ads' keys, as many a message as fit. Sent
after the commit, in a transaction of its own: a NOTIFY within would have commits wait for each
other. One that is lost costs its waiter the answer within `?wait=`, and nothing else.
"""

from collections.abc import Iterable
from hashlib import blake2b
from typing import Any

import psycopg

from ops.types import AdKey

CHANNEL = "lalafo_committed"
_TOKEN_BYTES = 8
_TOKENS_A_MESSAGE = 400  # PostgreSQL's limit is 8,000 bytes


def token(key: AdKey) -> str:
    """What stands for an ad on the channel: 16 hex digits."""
    return blake2b(str(key).encode(), digest_size=_TOKEN_BYTES).hexdigest()


def tokens_of(payload: str) -> list[str]:
    """The tokens in a message."""
    return payload.split()


def notify_committed(cursor: psycopg.Cursor[Any], keys: Iterable[AdKey]) -> None:
    """Notify whoever waits for these ads, when the cursor's transaction commits."""
    tokens = [token(key) for key in keys]
    for start in range(0, len(tokens), _TOKENS_A_MESSAGE):
        message = " ".join(tokens[start : start + _TOKENS_A_MESSAGE])
        cursor.execute("SELECT pg_notify(%s, %s)", (CHANNEL, message))
