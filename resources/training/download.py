"""Downloads a file over HTTPS, completely or not at all."""

import contextlib
import secrets
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import cast
from urllib.parse import urlsplit

from ops.errors import RetryableError

Download = Callable[[str, Path, float], None]
"""URL, target file, time limit in seconds; raises RetryableError if the download fails."""

MAX_BYTES = 4 * 2**30


def download_file(url: str, target: Path, timeout_s: float) -> None:
    """Download a URL to a file, completely or not at all.

    Raises:
        RetryableError: the download failed, exceeded the time limit, or is too large.
    """
    deadline = time.monotonic() + timeout_s
    unfinished = target.with_name(f"{target.name}.{secrets.token_hex(8)}.tmp")
    host = urlsplit(url).hostname
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        unfinished.touch()
    except OSError as error:
        raise RetryableError(
            f"{target.parent} can't be written ({error.strerror}): set TORCH_HOME to a folder that "
            "can be"
        ) from error
    try:
        with (
            urllib.request.urlopen(url, timeout=min(timeout_s, 10.0)) as response,  # noqa: S310 - a library's own URL
            unfinished.open("wb") as file,
        ):
            size = 0
            for block in iter(lambda: cast(bytes, response.read(2**20)), b""):
                size += file.write(block)
                if size > MAX_BYTES or time.monotonic() > deadline:
                    raise RetryableError(
                        f"{host} sent no complete file of at most {MAX_BYTES} bytes within "
                        f"{timeout_s:.0f} s"
                    )
            length = response.headers.get("Content-Length")
            if length is not None and int(length) != size:
                raise RetryableError(f"{host} sent {size} of {length} bytes")
        unfinished.replace(target)
    except (OSError, urllib.error.URLError) as error:
        raise RetryableError(f"{host} can't be reached: {error}") from error
    finally:
        with contextlib.suppress(FileNotFoundError):
            unfinished.unlink()
