"""The day with which the catalogue begins.

Owns the rule: the first day with ads, or an earlier one that LALAFO_FIRST_DAY names; without ads,
LALAFO_FIRST_DAY or today. Sessions file no ad under an earlier day, so that the rule gives the same
day from the first ad on, however often it is read. Does not depend on Dagster.
"""

from contextlib import closing
from datetime import UTC, date, datetime

import psycopg
import structlog

from ops.errors import LalafoError
from resources.postgres.database import Database
from resources.settings import Settings

EARLIEST_DAY = date(2026, 1, 1)
"""An earlier Kafka timestamp is implausible, unless LALAFO_FIRST_DAY names an earlier day."""

log = structlog.get_logger()


def read_first_day(database: Database, settings: Settings) -> date:
    """Return the day with which the catalogue begins.

    Raises:
        RetryableError: the database is unavailable.
    """
    with database.cursor() as cursor:
        cursor.execute("SELECT min(day) FROM lalafo.ads")
        (with_ads,) = cursor.fetchone() or (None,)
    named = [day for day in (settings.first_day, with_ads) if isinstance(day, date)]
    return min([datetime.now(UTC).date(), *named])


def first_day_or_earliest(settings: Settings) -> date:
    """Return the day with which the catalogue begins, for a process that must start in any case.

    While the database is unavailable or has no tables, and where the settings name none, it is the
    earliest plausible day: then no day with ads is missing. Takes a few seconds at most.
    """
    earliest = EARLIEST_DAY
    if isinstance(settings.first_day, date):
        earliest = min(earliest, settings.first_day)
    if settings.database_url == "":
        return earliest
    try:
        with closing(Database.from_settings(settings, application="lalafo-first-day")) as database:
            return read_first_day(database, settings)
    except (LalafoError, psycopg.Error) as error:
        reason = str(error).strip().partition("\n")[0]
        log.warning("catalogue.first_day_unknown", days_from=str(earliest), error=reason)
        return earliest
