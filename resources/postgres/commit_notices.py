"""PostgreSQL notifications (NOTIFY) that name committed ads to the requests waiting for them.

Owns the channel and its payload: tokens of the ads' keys, as many per message as fit. They are
sent after the commit, in a transaction of their own, because a NOTIFY inside the commit would
serialise commits. If a notification is lost, the waiting request misses its answer within
`?wait=`, and nothing else is affected.
"""

from collections.abc import Iterable
from hashlib import blake2b

from ops.types import AdKey

CHANNEL = "lalafo_committed"
_TOKEN_BYTES = 8
_TOKENS_PER_MESSAGE = 400  # PostgreSQL limits the payload to 8,000 bytes


def token(key: AdKey) -> str:
    """Return the token of an ad on the channel: 16 hex digits."""
    return blake2b(str(key).encode(), digest_size=_TOKEN_BYTES).hexdigest()


def tokens_of(payload: str) -> list[str]:
    """Return the tokens in a notification's payload."""
    return payload.split()


def messages(keys: Iterable[AdKey]) -> list[str]:
    """Return the messages on the channel that name these ads."""
    tokens = [token(key) for key in keys]
    return [
        " ".join(tokens[start : start + _TOKENS_PER_MESSAGE])
        for start in range(0, len(tokens), _TOKENS_PER_MESSAGE)
    ]
