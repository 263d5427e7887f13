"""Whether the photo store can be written: tried with an object, at most every ten seconds.

Without the store no photo can be uploaded, and sessions wait: its disk is full, its server is
down, or its credentials are wrong. The object is deleted at once. Does not depend on which store
it is.
"""

import errno
import logging
import socket
import threading
import time
from collections.abc import Callable
from hashlib import sha256

from ops.errors import ConfigurationError, LalafoError
from resources.storage.photos import PhotoStore

EVERY_S = 10.0
ANSWER_S = 2.0
PROBE_BYTES = 256 * 1024
"""As large as a big rendition: a store may have room for a few bytes only."""

log = logging.getLogger(__name__)


class StoreWatch:
    """The state of the store. Thread-safe.

    Args:
        clock: seconds, monotonic.
    """

    def __init__(self, store: PhotoStore, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._store = store
        self._clock = clock
        # The same bytes at each attempt: what a killed process leaves is one object a machine.
        self._data = f"a test object of {socket.gethostname()} ".encode().ljust(PROBE_BYTES)
        self._lock = threading.Lock()
        self._problem: str | None = None
        self._tried_at: float | None = None
        self._trying: threading.Thread | None = None

    @property
    def last_problem(self) -> str | None:
        """Why the store could not be written when it was last tried; tries again in a thread."""
        self._start()
        return self._problem

    def problem(self) -> str | None:
        """Why the store can't be written, for callers: without its address; None if it can.

        The answer is at most EVERY_S old. Blocks for ANSWER_S at most.
        """
        trying = self._start()
        if trying is None:
            return self._problem
        trying.join(ANSWER_S)
        return f"does not answer within {ANSWER_S:.0f} s" if trying.is_alive() else self._problem

    def _start(self) -> threading.Thread | None:
        """Start a try unless one is running or recent; return the one that runs."""
        with self._lock:
            if self._trying is not None and self._trying.is_alive():
                return self._trying
            if self._tried_at is not None and self._clock() - self._tried_at < EVERY_S:
                return None
            self._trying = threading.Thread(target=self._try, name="store-watch", daemon=True)
            self._trying.start()
            return self._trying

    def _try(self) -> None:
        found: str | None = None
        try:
            digest = sha256(self._data).digest()
            self._store.put("uploads", digest, self._data)
            self._store.delete("uploads", digest)
        except LalafoError as error:
            found = _reason(error)
            if self._problem != found:
                log.warning("the photo store can't be written: %s", error)
        if found is None and self._problem is not None:
            log.warning("the photo store can be written again")
        self._problem, self._tried_at = found, self._clock()


def _reason(error: LalafoError) -> str:
    cause = error.__cause__
    if isinstance(cause, OSError) and cause.errno in (errno.ENOSPC, errno.EDQUOT):
        return "is full"
    return "denies access" if isinstance(error, ConfigurationError) else "is unavailable"
