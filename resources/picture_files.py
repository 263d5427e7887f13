"""Pictures of a session as files below the store's URL, <store>/reports/<run>/<name>.png.

Decides where they lie and that a later one takes the earlier one's place: Dagster's event log
holds links, not pictures.
"""

import fsspec


class PictureFiles:
    """One run's pictures."""

    def __init__(self, store_url: str, run_id: str) -> None:
        self._filesystem, root = fsspec.core.url_to_fs(store_url)
        self._folder = f"{root.rstrip('/')}/reports/{run_id}"

    def put(self, name: str, data: bytes) -> str:
        """Write a PNG; its URL, or its path where the store is a folder on this machine."""
        path = f"{self._folder}/{name}.png"
        self._filesystem.makedirs(self._folder, exist_ok=True)
        self._filesystem.pipe_file(path, data)
        if self._filesystem.protocol[0] == "file":
            return path
        return str(self._filesystem.unstrip_protocol(path))
