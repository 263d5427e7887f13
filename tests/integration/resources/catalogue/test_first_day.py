"""The catalogue's first day: from the database, or a setting, and in any case while it is down."""

from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest
import structlog

from resources.catalogue.first_day import EARLIEST_DAY, first_day_or_earliest, read_first_day
from resources.embedded.postgres import EmbeddedPostgres
from resources.postgres.database import Database
from resources.settings import Settings
from tests.support.stored_days import FIRST, SECOND, add_ad


def settings(**values: object) -> Settings:
    return Settings(home=Path("nowhere"), **values)


def today() -> date:
    return datetime.now(UTC).date()


def test_it_is_the_first_day_with_ads(database: Database) -> None:
    """The setting can make it earlier, not later: every day with ads has a partition."""
    for day in (SECOND, FIRST):
        add_ad(database, day, day.isoformat(), day.isoformat().encode().ljust(32))
    assert read_first_day(database, settings()) == FIRST
    earlier = FIRST - timedelta(days=100)
    assert read_first_day(database, settings(first_day=earlier)) == earlier
    assert read_first_day(database, settings(first_day=SECOND)) == FIRST


def test_without_ads_it_is_the_setting_or_today(database: Database) -> None:
    assert read_first_day(database, settings()) == today()
    assert read_first_day(database, settings(first_day=FIRST)) == FIRST
    tomorrow = today() + timedelta(days=1)
    assert read_first_day(database, settings(first_day=tomorrow)) == today()


def test_a_process_that_must_start_gets_the_day_of_the_database(database: Database) -> None:
    add_ad(database, FIRST, "1", b"1".ljust(32))
    url = database.conninfo.text("test")
    assert first_day_or_earliest(settings(database_url=url)) == FIRST


@pytest.mark.parametrize("first_day", ["", "2025-06-01"])
def test_a_database_that_is_down_hides_no_day(first_day: str) -> None:
    """The code location loads, with partitions from the earliest day that is possible."""
    down = settings(database_url="postgresql://u@127.0.0.1:9/x", first_day=first_day)
    with structlog.testing.capture_logs() as logs:
        found = first_day_or_earliest(down)
    assert found == (date(2025, 6, 1) if first_day else EARLIEST_DAY)
    assert [entry["event"] for entry in logs] == ["catalogue.first_day_unknown"]


def test_a_database_without_tables_hides_no_day(
    postgres: EmbeddedPostgres, database_url: str
) -> None:
    """It is migrated later, perhaps with rows of a backup."""
    assert first_day_or_earliest(settings(database_url=database_url)) == EARLIEST_DAY


def test_without_a_database_nothing_is_read() -> None:
    """As in a fresh clone: `dg list defs` warns of nothing."""
    with structlog.testing.capture_logs() as logs:
        assert first_day_or_earliest(settings()) == EARLIEST_DAY
    assert logs == []
