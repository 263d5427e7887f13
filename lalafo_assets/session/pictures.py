"""Pictures of a session at work, drawn by another process at low priority.

Decides that no ad waits for a plot: matplotlib holds the interpreter for a second or two. The
pictures are files below the store's URL, <store>/reports/<run>/<name>.png, each in the place of
the one before. Run as a program it draws: one JSON object comes in, one goes out.
"""

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import date

import fsspec
import structlog

from ops.pictures.previews import histogram
from ops.session.tally import Tally
from ops.tasks import HEADLINE_TASK, all_tasks
from resources.catalogue.pictures import photo_pictures, prediction_pictures
from resources.catalogue.summaries import prediction_summary
from resources.postgres.database import Database
from resources.releases.active import read_active_releases
from resources.storage.photos import PhotoStore

NICE = 10

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Picture:
    """One picture: what it shows, of which asset ("" for the topic) and day, and where it lies."""

    asset: str
    day: str
    name: str
    link: str  # a path where the store is a folder on this machine, else a URL


class PictureProcess:
    """Draws for one run, one set at a time.

    Args:
        database_url, store_url: with secrets; they travel over a pipe, not a command line.
    """

    def __init__(self, *, database_url: str, store_url: str, run_id: str) -> None:
        self._base = {"database_url": database_url, "store_url": store_url, "run_id": run_id}
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, tally: Tally) -> None:
        """Draw what a tally says and the days that it covers; nothing where one still draws."""
        if self._process is not None:
            return
        order = {
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
        self._process.stdin.write(json.dumps(order).encode())
        self._process.stdin.close()

    def collect(self, *, wait: bool = False) -> list[Picture]:
        """The pictures, once they are drawn; [] before, and where they could not be."""
        process = self._process
        if process is None or (not wait and process.poll() is None):
            return []
        self._process = None
        assert process.stdout is not None
        message = process.stdout.read()
        process.stdout.close()
        if process.wait() != 0:
            log.warning("session.pictures_failed", status=process.returncode)
            return []
        return [Picture(**fields) for fields in json.loads(message)]


def read_picture(picture: Picture) -> bytes:
    """A picture's bytes."""
    with fsspec.open(picture.link, "rb") as file:
        return bytes(file.read())


def _draw(order: Mapping[str, object]) -> Iterator[tuple[str, str, str, bytes]]:
    """(asset, day, name, image) of everything that was asked for."""
    latencies = order["latencies_ms"]
    assert isinstance(latencies, list)
    title = "Kafka timestamp to committed row"
    yield "", "", "latency", histogram(latencies, title=title, x_label="milliseconds", log_x=True)
    days = order["days"]
    assert isinstance(days, list)
    with closing(Database(str(order["database_url"]))) as database:
        store = PhotoStore(str(order["store_url"]))
        yield from draw_days(database, store, [date.fromisoformat(day) for day in days])


def draw_days(
    database: Database, store: PhotoStore, days: Sequence[date]
) -> Iterator[tuple[str, str, str, bytes]]:
    """(asset, day, name, image) of these days' photos and predictions."""
    live = read_active_releases(database).live.name
    for day in days:
        photos = photo_pictures(database, store, [day], release=live, task=HEADLINE_TASK)
        for name, image in photos.items():
            yield "ad_photos", day.isoformat(), name, image
        for task in all_tasks():
            found = prediction_summary(database, [day], release=live, task=task.name)
            for name, image in prediction_pictures(found).items():
                yield task.asset_name, day.isoformat(), name, image


def main() -> None:
    """Draw what standard input asks for; the list of pictures on standard output."""
    os.nice(NICE)
    order = json.load(sys.stdin)
    filesystem, root = fsspec.core.url_to_fs(order["store_url"])
    folder = f"{root.rstrip('/')}/reports/{order['run_id']}"
    filesystem.makedirs(folder, exist_ok=True)
    local = filesystem.protocol[0] == "file"
    drawn = []
    for asset, day, name, image in _draw(order):
        path = f"{folder}/{'-'.join(part for part in (day, asset, name) if part)}.png"
        filesystem.pipe_file(path, image)
        link = path if local else str(filesystem.unstrip_protocol(path))
        drawn.append({"asset": asset, "day": day, "name": name, "link": link})
    sys.stdout.write(json.dumps(drawn))


if __name__ == "__main__":
    main()
