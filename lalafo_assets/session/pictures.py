"""Pictures and checks of a running session's days, by another process at idle priority.

A separate process, since matplotlib holds the interpreter lock for a second or two and would delay
ads, and a check reads all ads of a day. The pictures are files in the store
(`resources/storage/report_pictures.py`); a new one overwrites the previous one. Run as a program,
this module reads one JSON object from standard input and writes one to standard output.
"""

import json
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, field
from datetime import date
from typing import Any

import structlog

from ops.pictures.previews import histogram
from ops.session.tally import Tally
from ops.tasks import HEADLINE_TASK, all_tasks
from resources.catalogue.checks import Finding, catalogue_checks
from resources.catalogue.pictures import mask_pictures, photo_pictures, prediction_pictures
from resources.catalogue.summaries import prediction_summary
from resources.postgres.database import Database
from resources.processes.priority import make_idle
from resources.releases.active import read_active_releases
from resources.storage.photos import PhotoStore
from resources.storage.report_pictures import ReportPictures, picture_name

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture that was drawn."""

    asset: str  # "" for the topic
    day: str
    title: str
    name: str  # in the store, with the run's id


@dataclass(frozen=True, slots=True)
class DayCheck:
    """The result of one check of an asset's day."""

    asset: str
    check: str
    day: str
    finding: Finding


@dataclass(frozen=True, slots=True)
class Drawn:
    """What one drawing shows: pictures, and the checks of the same days."""

    days: dict[str, int] = field(default_factory=dict)  # ads that the session wrote, by their day
    pictures: list[Picture] = field(default_factory=list)
    checks: list[DayCheck] = field(default_factory=list)


class PictureProcess:
    """Draws the pictures of one run, one set at a time.

    Args:
        database_url, store_url: may hold secrets; they are passed over a pipe, not as arguments.
        idle: at idle priority.
    """

    def __init__(
        self, *, database_url: str, store_url: str, run_id: str, idle: bool = True
    ) -> None:
        self._base = {"database_url": database_url, "store_url": store_url, "run_id": run_id}
        self._idle = idle
        self._process: subprocess.Popen[bytes] | None = None
        self._days: dict[str, int] = {}

    @property
    def running(self) -> bool:
        """Whether a drawing was started that `collect` has not returned."""
        return self._process is not None

    def start(self, tally: Tally) -> None:
        """Start to draw a tally and its days; do nothing while an earlier drawing is running."""
        if self._process is not None:
            return
        self._days = {day.isoformat(): ads for day, ads in sorted(tally.days.items())}
        request = {
            **self._base,
            "days": list(self._days),
            "latencies_ms": list(tally.latencies_ms),
        }
        self._process = subprocess.Popen(
            [sys.executable, "-m", "lalafo_assets.session.pictures"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        if self._idle:
            make_idle(self._process.pid)
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(request).encode())
        self._process.stdin.close()

    def collect(self, *, wait: bool = False) -> Drawn | None:
        """Return what was drawn, once it is; None before that. After a failure: the days alone."""
        process = self._process
        if process is None or (not wait and process.poll() is None):
            return None
        self._process = None
        assert process.stdout is not None
        output = process.stdout.read()
        process.stdout.close()
        if process.wait() != 0:
            log.warning("session.pictures_failed", status=process.returncode)
            return Drawn(days=self._days)
        return _parsed(self._days, json.loads(output))

    def stop(self) -> None:
        """End a process that is drawing; its pictures are lost. Repeated calls do nothing."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.wait()
            if process.stdout is not None:
                process.stdout.close()


def _parsed(days: dict[str, int], output: Mapping[str, Any]) -> Drawn:
    return Drawn(
        days=days,
        pictures=[Picture(**fields) for fields in output["pictures"]],
        checks=[
            DayCheck(**{**fields, "finding": Finding(**fields["finding"])})
            for fields in output["checks"]
        ],
    )


def _draw(
    database: Database, store: PhotoStore, request: Mapping[str, Any]
) -> Iterator[tuple[str, str, str, bytes]]:
    """Yield (asset, day, title, image) of every picture that was requested."""
    title = "Kafka timestamp to committed row"
    latencies = histogram(request["latencies_ms"], title=title, x_label="milliseconds", log_x=True)
    yield "", "", "latency", latencies
    yield from draw_days(database, store, [date.fromisoformat(day) for day in request["days"]])


def draw_days(
    database: Database, store: PhotoStore, days: Sequence[date]
) -> Iterator[tuple[str, str, str, bytes]]:
    """Yield (asset, day, title, image) of these days' photos and predictions."""
    live = read_active_releases(database).live.name
    for day in days:
        photos = photo_pictures(database, store, [day], release=live, task=HEADLINE_TASK)
        for title, image in photos.items():
            yield "ad_photos", day.isoformat(), title, image
        for task in all_tasks():
            summary = prediction_summary(database, [day], release=live, task=task.name)
            pictures = prediction_pictures(summary) | mask_pictures(
                database, store, [day], release=live, task=task
            )
            for title, image in pictures.items():
                yield task.asset_name, day.isoformat(), title, image


def check_days(database: Database, days: Sequence[str]) -> Iterator[DayCheck]:
    """Yield the result of every check for each day."""
    for day in days:
        for asset, name, check in catalogue_checks():
            yield DayCheck(asset, name, day, check(database, [date.fromisoformat(day)]))


def main() -> None:
    """Draw and check what standard input requests; list it on standard output."""
    request = json.load(sys.stdin)
    shown, drawn = ReportPictures(request["store_url"]), []
    with closing(Database(str(request["database_url"]))) as database:
        store = PhotoStore(str(request["store_url"]))
        for asset, day, title, image in _draw(database, store, request):
            name = picture_name(day, asset, title, image=image)
            shown.put(request["run_id"], name, image)
            drawn.append(Picture(asset, day, title, name))
        checks = list(check_days(database, request["days"]))
    output = {"pictures": drawn, "checks": checks}
    sys.stdout.write(json.dumps(output, default=asdict))


if __name__ == "__main__":
    main()
