"""The store of releases: <store_url>/releases/<digest>/, through fsspec, written once.

    manifest.json           written last: a folder without it is not a release
    backbone.safetensors    verified by the SHA-256 in the manifest
    heads.safetensors       verified by the SHA-256 in the manifest

Owns layout and verification; `ops/models/release.py` defines the content. No byte is used before
its digest is checked, no name from inside a file becomes a path, and no pickle is read.
"""

import contextlib
import secrets
from typing import Any, cast

import structlog

from ops.errors import ConfigurationError
from ops.models.release import (
    BACKBONE_FILE,
    HEADS_FILE,
    SHA256_HEX,
    AnyHead,
    Manifest,
    Release,
    sha256_hex,
)
from ops.models.release_files import decode_backbone, decode_heads, encode_backbone, encode_heads
from resources.storage.filesystems import has_folders, open_filesystem, store_errors

MANIFEST_FILE = "manifest.json"
_MAX_BYTES = {MANIFEST_FILE: 16 * 2**20, BACKBONE_FILE: 4 * 2**30, HEADS_FILE: 512 * 2**20}

_log = structlog.get_logger(__name__)


class ReleaseStore:
    """Model releases by digest, at an fsspec URL or a local folder.

    Raises:
        ConfigurationError: the URL's protocol is unknown or its package is not installed.
    """

    def __init__(self, store_url: str) -> None:
        self._fs, root = open_filesystem(store_url)
        self._root = f"{root.rstrip('/')}/releases"

    def save(self, release: Release) -> Manifest:
        """Write a release and return its manifest; writes nothing if it is stored already.

        Raises:
            ConfigurationError: the weights are not those that the manifest's digests name.
                Or access to the store was denied, or its bucket is missing.
            RetryableError: the store is unavailable or full.
        """
        manifest = release.manifest
        files = {
            BACKBONE_FILE: encode_backbone(release.backbone_state),
            HEADS_FILE: encode_heads(release.heads),
        }
        for name, data in files.items():
            if sha256_hex(data) != manifest.files[name]:
                raise ConfigurationError(f"{manifest.name}: {name} does not match its manifest.")
        with store_errors(self._url(manifest.digest)):
            if has_folders(self._fs):
                self._fs.makedirs(self._folder(manifest.digest), exist_ok=True)
            for name, data in files.items():
                self._write_once(manifest.digest, name, data)
            self._write_once(manifest.digest, MANIFEST_FILE, manifest.to_json().encode())
        return manifest

    def load(self, digest: str) -> Release:
        """Read a release; every file is verified by SHA-256 before a byte of it is used.

        Raises:
            ConfigurationError: there is no such release, or a file is missing, truncated, altered
                or of another format.
            RetryableError: the store is unavailable.
        """
        manifest = self.manifest(digest)
        backbone = self._read(digest, BACKBONE_FILE, manifest.files[BACKBONE_FILE])
        return Release(
            manifest=manifest,
            backbone_state=decode_backbone(backbone),
            heads=self.heads(manifest),
        )

    def heads(self, manifest: Manifest) -> dict[str, AnyHead]:
        """A release's heads alone, by task, verified; raises as `load` does."""
        data = self._read(manifest.digest, HEADS_FILE, manifest.files[HEADS_FILE])
        return decode_heads(data, manifest.taxonomy, manifest.heads)

    def manifest(self, digest: str) -> Manifest:
        """A release's manifest alone, verified; raises as `load` does."""
        return Manifest.from_json(self._read(digest, MANIFEST_FILE, digest))

    def list(self) -> tuple[str, ...]:
        """The digests of all complete releases, sorted; empty if none was ever saved.

        Raises:
            ConfigurationError: access to the store was denied.
            RetryableError: the store is unavailable.
        """
        try:
            with store_errors(self._url("")):
                found = self._fs.glob(f"{self._root}/*/{MANIFEST_FILE}")
        except FileNotFoundError:
            return ()
        names = (str(path).rsplit("/", 2)[-2] for path in found)
        return tuple(sorted(name for name in names if SHA256_HEX.fullmatch(name)))

    def _folder(self, digest: str) -> str:
        if SHA256_HEX.fullmatch(digest) is None:
            raise ConfigurationError(f"{digest[:80]!r} is not a release digest (64 hex digits).")
        return f"{self._root}/{digest}"

    def _url(self, digest: str) -> str:
        return str(self._fs.unstrip_protocol(f"{self._root}/{digest}"))

    def _read(self, digest: str, name: str, sha256: str) -> bytes:
        path = f"{self._folder(digest)}/{name}"
        try:
            with store_errors(self._url(digest)):
                size = int(cast(dict[str, Any], self._fs.info(path))["size"])
                if size > _MAX_BYTES[name]:
                    raise ConfigurationError(
                        f"Release {digest[:12]}: {name} has {size} bytes, more than "
                        f"{_MAX_BYTES[name]}."
                    )
                data = cast(bytes, self._fs.cat_file(path))
        except FileNotFoundError as error:
            raise ConfigurationError(
                f"Release {digest[:12]} is not in the store: {name} is missing. "
                "`lalafo releases` lists what is there."
            ) from error
        if sha256_hex(data) != sha256:
            raise ConfigurationError(
                f"Release {digest[:12]}: {name} is damaged or altered (its SHA-256 is not "
                f"{sha256[:12]}…). Restore it, or save the release again."
            )
        return data

    def _write_once(self, digest: str, name: str, data: bytes) -> None:
        """A reader sees the whole file or none: buckets do so, elsewhere it is moved there."""
        path = f"{self._folder(digest)}/{name}"
        with contextlib.suppress(FileNotFoundError):
            if self._fs.cat_file(path) == data:
                return
            _log.warning("release.damaged_file_rewritten", digest=digest, name=name)
        if not has_folders(self._fs):
            self._fs.pipe_file(path, data)
            return
        unfinished = f"{path}.{secrets.token_hex(8)}.tmp"
        try:
            self._fs.pipe_file(unfinished, data)
            self._fs.mv(unfinished, path)
        finally:
            if self._fs.exists(unfinished):
                self._fs.rm_file(unfinished)
