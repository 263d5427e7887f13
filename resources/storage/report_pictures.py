"""The pictures in Dagster's metadata, at <store_url>/reports/<of>/<name>.

They are of a run, a release or a training set. Owns their names and layout. A new picture of the
same name replaces the last one, so that a run that lasts an hour keeps one set. The gateway serves
them; upkeep deletes a run's pictures with the run.
"""

import re
from typing import Any

from ops.errors import StoredObjectError
from resources.storage.filesystems import has_folders, open_filesystem, store_errors

OF_PATTERN = r"^[0-9a-zA-Z_-]{1,200}$"
NAME_PATTERN = r"^[0-9a-z_-]{1,120}\.(png|jpg)$"


def picture_name(*parts: str, image: bytes) -> str:
    """A picture's name, of the parts that are not empty, and of what kind of image it is."""
    kind = "jpg" if image[:2] == b"\xff\xd8" else "png"
    return f"{'-'.join(part for part in parts if part != '')}.{kind}"


def picture_url(gateway_url: str, of: str, name: str) -> str:
    """The URL at which a gateway serves a picture."""
    return f"{gateway_url.rstrip('/')}/v1/reports/{of}/{name}"


class ReportPictures:
    """Pictures by what they are of, and by name; at an fsspec URL or in a local folder."""

    def __init__(self, store_url: str) -> None:
        self._url = store_url

    def put(self, of: str, name: str, image: bytes) -> None:
        """Store a picture, in place of one of the same name.

        Raises:
            RetryableError: the store is unavailable or full.
            ConfigurationError: access to the store was denied, or its bucket is missing.
        """
        filesystem, folder = self._folder(of)
        with store_errors(f"{folder}/{name}"):
            if has_folders(filesystem):
                filesystem.makedirs(folder, exist_ok=True)
            filesystem.pipe_file(f"{folder}/{_checked(NAME_PATTERN, name)}", image)

    def get(self, of: str, name: str) -> bytes:
        """A picture's bytes.

        Raises:
            StoredObjectError: there is no such picture.
            RetryableError: the store is unavailable.
        """
        filesystem, folder = self._folder(of)
        try:
            with store_errors(f"{folder}/{name}"):
                return bytes(filesystem.cat_file(f"{folder}/{_checked(NAME_PATTERN, name)}"))
        except FileNotFoundError as error:
            raise StoredObjectError(f"there is no picture {name} of {of}") from error

    def remove(self, of: str) -> None:
        """Delete the pictures of a run; without any it does nothing."""
        filesystem, folder = self._folder(of)
        with store_errors(folder):
            if filesystem.exists(folder):
                filesystem.rm(folder, recursive=True)

    def _folder(self, of: str) -> tuple[Any, str]:
        filesystem, root = open_filesystem(self._url)
        return filesystem, f"{root.rstrip('/')}/reports/{_checked(OF_PATTERN, of)}"


def _checked(pattern: str, text: str) -> str:
    if re.fullmatch(pattern, text) is None:
        raise StoredObjectError(f"{text[:80]!r} names no picture")
    return text
