"""Pictures of a running session, drawn by another process at low priority.

A separate process, since matplotlib holds the interpreter lock for a second or two and would delay
ads. The pictures are files below the store's URL, <store>/reports/<run>/<name>.png; a new one
overwrites the previous one. Run as a program, this module reads one JSON object from standard input
and writes one JSON array to standard output.
"""

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import date

import structlog

from ops.pictures.previews import histogram
from ops.session.tally import Tally
from ops.tasks import HEADLINE_TASK, all_tasks
from resources.catalogue.pictures import photo_pictures, prediction_pictures
from resources.catalogue.summaries import prediction_summary
from resources.postgres.database import Database
from resources.releases.active import read_active_releases
from resources.storage.filesystems import has_folders, is_local, open_filesystem
from resources.storage.photos import PhotoStore

NICE = 10

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture that was drawn."""

    asset: str  # "" for the topic
    day: str
    name: str
    link: str  # a path where the store is a folder on this machine, else a URL


class PictureProcess:
    """Draws the pictures of one run, one set at a time.

    Args:
        database_url, store_url: may hold secrets; they are passed over a pipe, not as arguments.
    """

    def __init__(self, *, database_url: str, store_url: str, run_id: str) -> None:
        self._base = {"database_url": database_url, "store_url": store_url, "run_id": run_id}
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, tally: Tally) -> None:
        """Start to draw a tally and its days; do nothing while an earlier drawing is running."""
        if self._process is not None:
            return
        request = {
            **self._base,
            "days": [day.isoformat() for day in sorted(tally.days)],
            "latencies_ms": list(tally.latencies_ms),
        }
        self._process = subprocess.Popen(
            [sys.executable, "-m", "lalafo_assets.session.pictures"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(request).encode())
        self._process.stdin.close()

    def collect(self, *, wait: bool = False) -> list[Picture]:
        """Return the pictures once they are drawn; [] before that, and after a failure."""
        process = self._process
        if process is None or (not wait and process.poll() is None):
            return []
        self._process = None
        assert process.stdout is not None
        output = process.stdout.read()
        process.stdout.close()
        if process.wait() != 0:
            log.warning("session.pictures_failed", status=process.returncode)
            return []
        return [Picture(**fields) for fields in json.loads(output)]

    def stop(self) -> None:
        """End a process that is drawing; its pictures are lost. Repeated calls do nothing."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.wait()
            if process.stdout is not None:
                process.stdout.close()


def read_picture(picture: Picture) -> bytes:
    """Return a picture's bytes."""
    filesystem, path = open_filesystem(picture.link)
    return bytes(filesystem.cat_file(path))


def _draw(request: Mapping[str, object]) -> Iterator[tuple[str, str, str, bytes]]:
    """Yield (asset, day, name, image) of every picture that was requested."""
    latencies = request["latencies_ms"]
    assert isinstance(latencies, list)
    title = "Kafka timestamp to committed row"
    yield "", "", "latency", histogram(latencies, title=title, x_label="milliseconds", log_x=True)
    days = request["days"]
    assert isinstance(days, list)
    with closing(Database(str(request["database_url"]))) as database:
        store = PhotoStore(str(request["store_url"]))
        yield from draw_days(database, store, [date.fromisoformat(day) for day in days])


def draw_days(
    database: Database, store: PhotoStore, days: Sequence[date]
) -> Iterator[tuple[str, str, str, bytes]]:
    """Yield (asset, day, name, image) of these days' photos and predictions."""
    live = read_active_releases(database).live.name
    for day in days:
        photos = photo_pictures(database, store, [day], release=live, task=HEADLINE_TASK)
        for name, image in photos.items():
            yield "ad_photos", day.isoformat(), name, image
        for task in all_tasks():
            summary = prediction_summary(database, [day], release=live, task=task.name)
            for name, image in prediction_pictures(summary).items():
                yield task.asset_name, day.isoformat(), name, image


def main() -> None:
    """Draw the pictures that standard input requests; list them on standard output."""
    os.nice(NICE)
    request = json.load(sys.stdin)
    filesystem, root = open_filesystem(request["store_url"])
    folder = f"{root.rstrip('/')}/reports/{request['run_id']}"
    if has_folders(filesystem):
        filesystem.makedirs(folder, exist_ok=True)
    local = is_local(filesystem)
    drawn = []
    for asset, day, name, image in _draw(request):
        path = f"{folder}/{'-'.join(part for part in (day, asset, name) if part)}.png"
        filesystem.pipe_file(path, image)
        link = path if local else str(filesystem.unstrip_protocol(path))
        drawn.append({"asset": asset, "day": day, "name": name, "link": link})
    sys.stdout.write(json.dumps(drawn))


if __name__ == "__main__":
    main()
