"""An API key as text, `lv_<id>_<secret>`, and what is stored of it.

Decides that the secret is 256 random bits, so that a plain SHA-256 of it can't be guessed back (a
slow hash protects weak secrets, and would cost every request its time), and that the id is public.
Light: the gateway imports it. Knows no table.
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
    """A key as its owner has it. Shown by `text` alone: neither `repr` nor `str` tells it."""

    id: str
    secret: str = field(repr=False)

    @property
    def text(self) -> str:
        """What is sent with a request."""
        return f"lv_{self.id}_{self.secret}"

    @property
    def hash(self) -> bytes:
        """What is stored: SHA-256 of the secret, 32 bytes."""
        return sha256(self.secret.encode()).digest()


def new_key() -> KeyText:
    """A key that nobody has."""
    key_id = "".join(secrets.choice(_ALPHABET) for _ in range(ID_CHARS))
    return KeyText(key_id, secrets.token_urlsafe(SECRET_BYTES))


def read_key(text: str) -> KeyText | None:
    """The key in a text; None where its shape is no key's."""
    matched = _SHAPE.fullmatch(text)
    return None if matched is None else KeyText(*matched.groups())
