"""The text of an API key, `lv_<id>_<secret>`, and the hash that is stored.

The id is public. The secret is 256 random bits, so a plain SHA-256 of it can't be reversed by
guessing; a slow hash protects weak secrets, and would slow down every request. Does not depend on
the database.
"""

import re
import secrets
import string
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Literal, get_args

Scope = Literal["ingest", "read", "feedback", "admin"]
SCOPES: tuple[Scope, ...] = get_args(Scope)

ID_CHARS = 12
SECRET_BYTES = 32
SECRET_CHARS = 43  # base64 of 32 bytes without padding
_ALPHABET = string.ascii_letters + string.digits
_SHAPE = re.compile(rf"lv_([0-9A-Za-z]{{{ID_CHARS}}})_([0-9A-Za-z_-]{{{SECRET_CHARS}}})")


@dataclass(frozen=True, slots=True)
class KeyText:
    """A key with its secret. Only `text` contains the secret; `repr` and `str` do not."""

    id: str
    secret: str = field(repr=False)

    @property
    def text(self) -> str:
        """The text that a request sends."""
        return f"lv_{self.id}_{self.secret}"

    @property
    def hash(self) -> bytes:
        """The stored hash: SHA-256 of the secret, 32 bytes."""
        return sha256(self.secret.encode()).digest()


def new_key() -> KeyText:
    """Create a random key."""
    key_id = "".join(secrets.choice(_ALPHABET) for _ in range(ID_CHARS))
    return KeyText(key_id, secrets.token_urlsafe(SECRET_BYTES))


def read_key(text: str) -> KeyText | None:
    """Parse a key; None if the text does not have the format of a key."""
    matched = _SHAPE.fullmatch(text)
    return None if matched is None else KeyText(*matched.groups())
