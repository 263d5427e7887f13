"""The engine of each backbone on this host: measured once, kept with the converted backbone.

    <LALAFO_HOME>/cache/engines/<backbone>-<digest>-<host>/
        record.json   what was measured and chosen, the host, and the SHA-256 of the files
        model.xml     the backbone in OpenVINO's format; no file of it has code
        model.bin

`<host>` stands for the processor and the versions of torch and OpenVINO: another one measures
again. A folder appears by one rename, and each file is verified by SHA-256 before a byte of it is
used. `choosing.py` is the child process that converts and measures, so that a session neither
keeps that memory nor ends with it.
"""

import contextlib
import fcntl
import json
import os
import platform
import shutil
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import structlog

from ops.errors import ConfigurationError
from ops.models.engines.choice import EngineChoice
from ops.models.engines.openvino_engine import ConvertedBackbone
from ops.models.networks.names import name_in_ids
from ops.models.preprocessing import Preprocessing
from ops.models.release import FrozenBackbone, canonical_json, sha256_hex
from ops.models.release_files import decode_backbone, encode_backbone
from resources.settings import Settings

WEIGHTS_FILE, REQUEST_FILE, CHOICE_FILE = "backbone.safetensors", "request.json", "choice.json"
XML_FILE, CONSTANTS_FILE, RECORD_FILE = "model.xml", "model.bin", "record.json"
CHILD = ("-m", "resources.inference.choosing")

_SCHEMA = 1  # of the folder; another one is measured again
_TIMEOUT_S = 300.0
_UNUSED_DAYS = 30

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, eq=False)
class PreparedEngine:
    """The choice for a backbone on this host, and the backbone in OpenVINO's format."""

    choice: EngineChoice
    converted: ConvertedBackbone


def prepared_engine(frozen: FrozenBackbone, home: Path) -> PreparedEngine:
    """Read what was chosen for a release's backbone on this host; measure it first, if nothing was.

    Measuring takes 5 to 10 s. Of several processes one measures, and the others wait for it.

    Args:
        home: LALAFO_HOME. Where it can't be written, nothing is kept.

    Raises:
        ConfigurationError: OpenVINO can't convert or run this backbone here, or the disk is full.
    """
    folder = home.absolute() / "cache" / "engines"
    target = folder / f"{backbone_name(frozen)}-{_host_key()}"
    found = _read(target)
    if found is not None:
        return found
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = (folder / "lock").open("a")
    except OSError as error:
        _log.warning("engine.not_kept", folder=str(folder), error=str(error))
        with TemporaryDirectory(prefix="lalafo-engine-") as temporary:
            return _measured(frozen, Path(temporary))
    with lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        found = _read(target)  # by the process that had the lock
        if found is not None:
            return found
        try:
            return _kept(frozen, folder, target)
        except OSError as error:
            raise ConfigurationError(f"{folder} can't be written: {error}") from error


def measure_engine(frozen: FrozenBackbone) -> EngineChoice:
    """Measure a backbone of no release, and keep nothing; raises as `prepared_engine` does."""
    with TemporaryDirectory(prefix="lalafo-engine-") as folder:
        return _measured(frozen, Path(folder)).choice


def recorded_choices(home: Path) -> dict[str, EngineChoice]:
    """What was chosen on this host so far, by the backbone's name and digest."""
    end = f"-{_host_key()}"
    folders = (home.absolute() / "cache" / "engines").glob(f"*{end}")
    records = {folder.name.removesuffix(end): _record(folder) for folder in sorted(folders)}
    return {
        name: EngineChoice(**record["choice"])
        for name, record in records.items()
        if record is not None
    }


def described_engines(settings: Settings, backbones: Iterable[str]) -> str:
    """The engines of backbones and why, for a person to read; `backbones` as in `backbone_key`."""
    if settings.model_mode != "auto":
        return f"{settings.model_mode}, as LALAFO_MODEL_MODE says"
    chosen = recorded_choices(settings.home)
    return "; ".join(
        f"{name}: {chosen[name].reason if name in chosen else 'not measured'}" for name in backbones
    )


def backbone_name(frozen: FrozenBackbone) -> str:
    """The backbone's name and the first digits of its digest, as in `backbone_key`."""
    assert frozen.digest is not None, "only the backbones of releases are kept"
    return f"{name_in_ids(frozen.name)}-{frozen.digest[:12]}"


def _kept(frozen: FrozenBackbone, folder: Path, target: Path) -> PreparedEngine:
    """Measure in a new folder, then rename it: no other process sees a partial one."""
    for left in folder.glob("new-*"):  # by a process that was killed: this one has the lock
        shutil.rmtree(left, ignore_errors=True)
    with TemporaryDirectory(dir=folder, prefix="new-", ignore_cleanup_errors=True) as new:
        measured = _measured(frozen, Path(new))
        shutil.rmtree(target, ignore_errors=True)
        Path(new).rename(target)
    _delete_unused(folder)
    return measured


def write_request(frozen: FrozenBackbone, folder: Path) -> None:
    """Write a backbone into a folder, for a child process."""
    request = {"name": frozen.name, "preprocessing": frozen.preprocessing.record()}
    (folder / WEIGHTS_FILE).write_bytes(encode_backbone(frozen.state))
    (folder / REQUEST_FILE).write_text(json.dumps(request))


def read_request(folder: Path) -> FrozenBackbone:
    """Read what `write_request` wrote."""
    request = json.loads((folder / REQUEST_FILE).read_text())
    state = decode_backbone((folder / WEIGHTS_FILE).read_bytes())
    return FrozenBackbone(
        request["name"], state, Preprocessing.from_record(request["preprocessing"])
    )


def _measured(frozen: FrozenBackbone, folder: Path) -> PreparedEngine:
    """Convert and measure in a child process, and write the folder's files."""
    _log.info("engine.measuring", backbone=frozen.name)
    write_request(frozen, folder)
    command = [sys.executable, *CHILD, str(folder)]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=_TIMEOUT_S, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise ConfigurationError(
            f"OpenVINO has not converted {frozen.name} within {_TIMEOUT_S:.0f} s."
        ) from error
    if done.returncode != 0:
        raise ConfigurationError(
            f"OpenVINO can't run {frozen.name} on this machine (status {done.returncode}): "
            f"{done.stderr.strip()[-500:]}"
        )
    for name in (WEIGHTS_FILE, REQUEST_FILE):
        (folder / name).unlink()
    files = {name: (folder / name).read_bytes() for name in (XML_FILE, CONSTANTS_FILE)}
    choice = json.loads((folder / CHOICE_FILE).read_text())
    record = {
        "schema": _SCHEMA,
        "host": host_facts(),
        "choice": choice,
        "files": {name: sha256_hex(data) for name, data in files.items()},
    }
    (folder / RECORD_FILE).write_text(json.dumps(record, indent=1, sort_keys=True))
    (folder / CHOICE_FILE).unlink()
    converted = ConvertedBackbone(files[XML_FILE], files[CONSTANTS_FILE])
    return PreparedEngine(EngineChoice(**choice), converted)


def _read(folder: Path) -> PreparedEngine | None:
    """The folder's content; None if there is none, or a file is not what the record says."""
    record = _record(folder)
    if record is None:
        return None
    try:
        files = {name: (folder / name).read_bytes() for name in (XML_FILE, CONSTANTS_FILE)}
    except OSError as error:
        _log.warning("engine.unreadable", folder=str(folder), error=str(error))
        return None
    for name, data in files.items():
        if sha256_hex(data) != record["files"][name]:
            _log.warning("engine.altered", file=str(folder / name), action="it is made again")
            return None
    with contextlib.suppress(OSError):
        os.utime(folder / RECORD_FILE)  # it is in use
    converted = ConvertedBackbone(files[XML_FILE], files[CONSTANTS_FILE])
    return PreparedEngine(EngineChoice(**record["choice"]), converted)


def _record(folder: Path) -> dict[str, Any] | None:
    try:
        record: dict[str, Any] = json.loads((folder / RECORD_FILE).read_text())
    except (OSError, ValueError):
        return None
    return record if record.get("schema") == _SCHEMA else None


def _delete_unused(folder: Path) -> None:
    """Delete what no process has read for a month: other releases, versions and hosts."""
    oldest = time.time() - _UNUSED_DAYS * 86_400
    for record in folder.glob(f"*/{RECORD_FILE}"):
        with contextlib.suppress(OSError):
            if record.stat().st_mtime < oldest:
                shutil.rmtree(record.parent)


def _host_key() -> str:
    return sha256_hex(canonical_json(host_facts()).encode())[:12]


@cache
def host_facts() -> dict[str, str]:
    """What the choice depends on besides the backbone."""
    lines = dict(_processor_lines())
    flags = " ".join(sorted(lines.get("flags", lines.get("Features", "")).split()))
    return {
        "processor": lines.get("model name", platform.processor() or platform.machine()),
        "instructions": sha256_hex(flags.encode())[:12],
        "cores": str(len(os.sched_getaffinity(0))),
        "torch": version("torch"),
        "openvino": version("openvino"),
    }


def _processor_lines() -> Iterator[tuple[str, str]]:
    """The properties of the first processor that Linux names; none on another system."""
    with contextlib.suppress(OSError):
        first, _, _ = Path("/proc/cpuinfo").read_text().partition("\n\n")
        for line in first.splitlines():
            name, _, value = line.partition(":")
            yield name.strip(), value.strip()
