"""The days of a session's run, as Dagster shows them: pictures, materializations and checks.

Owns when they are drawn: with the first report, then at an interval, and once no more ads come.
The drawing is another process (`pictures.py`), the metadata are in `reports.py`.
"""

import time
from collections.abc import Mapping

import dagster as dg

from lalafo_assets.assets.checks import evaluates, evaluations
from lalafo_assets.reports.metadata import Metadata
from lalafo_assets.reports.pictures import embedded, linked
from lalafo_assets.session.pictures import DayCheck, Picture, PictureProcess
from lalafo_assets.session.reports import Pictures, day_metadata
from ops.session.tally import Tally
from resources.dagster.names import ADS_TOPIC
from resources.postgres.database import Database
from resources.settings import Settings
from resources.storage.report_pictures import ReportPictures, picture_url

SETTLED_S = 15.0
"""Seconds without a new ad after which the days are drawn again, since the last one lacks ads …"""

APART_S = 60.0
"""… unless the last drawing is less than so many seconds old."""


class DayReports:
    """Draws a session's days and reports them.

    Args:
        every_s: seconds between two drawings while ads come.
    """

    def __init__(
        self, settings: Settings, database: Database, run_id: str, *, every_s: float
    ) -> None:
        self._settings, self._run_id, self._every_s = settings, run_id, every_s
        self._process = PictureProcess(
            database_url=database.conninfo.text("lalafo-pictures"),
            store_url=settings.resolved_store_url,
            run_id=run_id,
            idle=settings.background_priority == "idle",
        )
        self._drawn_at = float("-inf")  # monotonic seconds: when the last drawing began
        self._new_at: float | None = None  # when an ad came that it lacks
        self._pictures: dict[tuple[str, str], Metadata] = {}

    @property
    def pictures(self) -> Pictures:
        """The pictures that are small enough for each observation: links to the gateway."""
        return self._pictures if self._settings.pictures_url != "" else {}

    def note(self, tally: Tally) -> None:
        """Note what the last report counted."""
        if tally.days:
            self._new_at = time.monotonic()

    def is_due(self) -> bool:
        """Whether the days have to be drawn again."""
        if self._new_at is None or self._process.running:
            return False
        now, age_s = time.monotonic(), time.monotonic() - self._drawn_at
        settled = now - self._new_at >= SETTLED_S and age_s >= APART_S
        return age_s >= self._every_s or settled

    def draw(self, total: Tally) -> None:
        """Start to draw, in the other process."""
        self._drawn_at, self._new_at = time.monotonic(), None
        self._process.start(total)

    def report(self, context: dg.OpExecutionContext, total: Tally, *, wait: bool = False) -> None:
        """Materialize and check the days that were drawn since the last call, if they are ready."""
        drawn = self._process.collect(wait=wait)
        if drawn is None:
            return
        self._pictures = {}
        for picture in drawn.pictures:
            shown = self._pictures.setdefault((picture.asset, picture.day), {})
            shown[picture.title] = self._metadata(picture)
        topic = self._pictures.pop(("", ""), None)
        if topic is not None:
            context.log_event(dg.AssetObservation(ADS_TOPIC, metadata=topic))
        links = {day: day_links(self._settings, day) for day in drawn.days}
        for key, day, metadata in day_metadata(total, drawn, pictures=self._pictures, links=links):
            checks = [it for it in drawn.checks if (dg.AssetKey(it.asset), it.day) == (key, day)]
            if not all(self._evaluates(context, check) for check in checks):
                context.log_event(dg.AssetObservation(key, partition=day, metadata=metadata))
                continue
            context.log_event(dg.AssetMaterialization(key, partition=day, metadata=metadata))
            for check in checks:
                found = {day: check.finding}
                for evaluation in evaluations(context.instance, key, check.check, found):
                    context.log_event(evaluation)  # type: ignore[arg-type] # Dagster takes it

    def _evaluates(self, context: dg.OpExecutionContext, check: DayCheck) -> bool:
        key = dg.AssetCheckKey(dg.AssetKey(check.asset), check.check)
        return evaluates(context.instance, key, check.day, self._run_id)

    def finish(self, context: dg.OpExecutionContext, total: Tally) -> None:
        """Draw and report the days as they are at the session's end; takes seconds."""
        self._process.collect(wait=True)
        self.draw(total)
        self.report(context, total, wait=True)

    def stop(self) -> None:
        """End a drawing; it is lost. Repeated calls do nothing."""
        self._process.stop()

    def _metadata(self, picture: Picture) -> dg.MetadataValue:
        settings, run_id = self._settings, self._run_id
        if settings.pictures_url != "":
            return linked(picture.title, picture_url(settings.pictures_url, run_id, picture.name))
        return embedded(ReportPictures(settings.resolved_store_url).get(run_id, picture.name))


def page_url(settings: Settings) -> str:
    """The page's URL for people; "" if it is not known."""
    url = settings.pictures_url if settings.pictures_url != "" else settings.gateway_url
    return url.rstrip("/")


def day_links(settings: Settings, day: str) -> Mapping[str, dg.MetadataValue]:
    """Links to a day's ads and to those that failed, on the page."""
    page = page_url(settings)
    if page == "":
        return {}
    return {"ads_on_the_page": dg.MetadataValue.url(f"{page}/#/ads?day={day}")}
