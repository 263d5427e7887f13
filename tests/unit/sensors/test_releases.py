"""When a re-score may start: the window in UTC; and the ids of backfills."""

from datetime import UTC, datetime, timedelta, timezone

import pytest

from ops.errors import ConfigurationError
from resources.rescoring.attempts import backfill_id, in_window
from resources.settings import changed_settings


def at(clock: str) -> datetime:
    return datetime.fromisoformat(f"2026-05-01T{clock}+00:00")


@pytest.mark.parametrize(
    ("window", "clock", "inside"),
    [
        ("", "13:37", True),
        ("00:00-06:00", "00:00", True),
        ("00:00-06:00", "05:59:59.999999", True),
        ("00:00-06:00", "06:00", False),
        ("00:00-06:00", "23:59", False),
        ("22:00-06:00", "21:59", False),
        ("22:00-06:00", "22:00", True),
        ("22:00-06:00", "23:59:59", True),
        ("22:00-06:00", "00:00", True),
        ("22:00-06:00", "05:59", True),
        ("22:00-06:00", "06:00", False),
        ("22:00-06:00", "12:00", False),
        ("08:00-08:00", "03:00", True),
    ],
)
def test_a_window_includes_its_begin_and_not_its_end(window: str, clock: str, inside: bool) -> None:
    """Also across midnight; a window that ends when it begins is the whole day."""
    assert in_window(window, at(clock)) is inside


def test_the_window_is_utc_whatever_the_clock_s_zone() -> None:
    bishkek = datetime(2026, 5, 1, 4, 0, tzinfo=timezone(timedelta(hours=6)))  # 22:00 UTC
    assert in_window("21:00-23:00", bishkek)
    assert not in_window("03:00-05:00", bishkek)
    assert bishkek.astimezone(UTC).hour == 22


@pytest.mark.parametrize("wrong", ["6-7", "24:00-06:00", "00:00", "00:00-06:60", "a:b-c:d", " "])
def test_an_invalid_window_is_refused_at_start(wrong: str) -> None:
    with pytest.raises(ConfigurationError, match="LALAFO_RESCORE_WINDOW"):
        changed_settings({"rescore_window": wrong})


def test_a_backfill_s_id_is_the_release_s_and_the_attempt_s() -> None:
    """The same input gives the same id, short enough for Dagster's column of 32 characters."""
    digest = "0123456789abcdef" * 4
    assert backfill_id(digest, 1) == backfill_id(digest, 1) != backfill_id(digest, 2)
    assert backfill_id(digest, 1) != backfill_id(digest[::-1], 1)
    assert len(backfill_id(digest, 10_000)) <= 32
