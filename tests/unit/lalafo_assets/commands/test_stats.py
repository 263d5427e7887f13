"""`lalafo stats`: the tables show every figure of the gateway's statistics."""

from datetime import UTC, datetime

import pytest
from rich.console import Console

from gateway.schemas.ads import Source
from gateway.schemas.statistics import (
    Backlog,
    LagOut,
    MinuteOut,
    ReleaseOut,
    SessionOut,
    StageOut,
    StatisticsOut,
    Totals,
)
from lalafo_assets.commands.stats import drawn, sparks

NOW = datetime(2026, 11, 1, 10, 30, tzinfo=UTC)


def statistics(**changes: object) -> StatisticsOut:
    """Return statistics of two minutes."""
    minutes = [
        MinuteOut(minute=NOW, events=3, ads=n, photos=5, failures=1, p50_ms=20, p99_ms=40)
        for n in (1, 8)
    ]
    fields: dict[str, object] = {
        "at": NOW,
        "minutes": 2,
        "totals": Totals(events=12, ads=1_009, photos=30, failures=2),
        "series": minutes,
        "latencies": {"embed": StageOut(ads=9, p50_ms=8.25, p90_ms=9.5, p99_ms=1_234.5)},
        "waited_for_session": StageOut(ads=61, p50_ms=8e3, p90_ms=9e3, p99_ms=9e3),
        "statuses": {"scored": 8, "deleted": 1},
        "labels": {"category": {f"label{n}": 9 - n for n in range(7)}},
        "failures": {"fetch_timeout": 2},
        "lag": LagOut(events=7, asked_at=NOW, partitions=[]),
        "outbox": Backlog(waiting=4, at_least=True, oldest_s=61.0),
        "accepted": Backlog(waiting=0, at_least=False, oldest_s=None),
        "store_problem": "is full",
        "sessions": [
            SessionOut(
                run=Source(id="r"),
                state="ready",
                partitions=3,
                started_at=NOW,
                due_at=NOW,
                releases=["first"],
            )
        ],
        "releases": [
            ReleaseOut(
                role="live", release=Source(id="first"), days=9, days_unscored=2, rescore=None
            )
        ],
    }
    return StatisticsOut.model_validate(fields | changes)


def shown(statistics: StatisticsOut, width: int = 160) -> str:
    """Return what a terminal of this width shows."""
    console = Console(width=width, record=True, file=None, force_terminal=False)
    with console.capture() as capture:
        console.print(drawn(statistics, width))
    return capture.get()


def test_every_figure_is_drawn() -> None:
    """Rates, latencies, labels, failures, backlog, sessions and releases."""
    text = shown(statistics())
    for words in (
        *("1,009", "▁█", "1,234.5", "scored 8, deleted 1", "label4 5, 2 others"),
        *("fetch_timeout 2", "7 events not committed", "4 at least, the oldest for 61 s"),
        *("photo store", "is full", "61 ads, p99 9.0 s, left out of total"),
        *("empty", "ready (3 partitions)", "first, 7 of 9 earlier days scored"),
    ):
        assert words in text, words


def test_missing_figures_are_shown_in_words() -> None:
    """Kafka unreachable, no session, no failure: the cells are not blank."""
    text = shown(statistics(lag=None, sessions=[], failures={}))
    assert "Kafka is unreachable" in text
    assert [line.split()[-1] for line in text.splitlines() if "sessions" in line] == ["none"]
    assert [line.split()[-1] for line in text.splitlines() if "failures" in line][-1] == "none"


@pytest.mark.parametrize("width", [60, 80, 200])
def test_an_hour_fits_the_terminal(width: int) -> None:
    """No line is longer than the terminal, and none of the latest minutes is cut off."""
    hour = [
        MinuteOut(minute=NOW, events=1, ads=n % 9, photos=5, failures=1, p50_ms=20, p99_ms=40)
        for n in range(1, 61)
    ]
    text = shown(statistics(series=hour, minutes=60), width)
    assert max(len(line.rstrip()) for line in text.splitlines()) <= width
    (ads,) = [line for line in text.splitlines() if line.strip().startswith("ads ") and "▁" in line]
    latest = sparks([minute.ads for minute in hour])
    assert ads.rstrip().endswith(latest.rstrip()[-20:])


def test_sparks_are_eighths_of_the_highest_rounded_up() -> None:
    """Any count above zero has a bar; zero is blank."""
    assert sparks([0, 1, 50, 100]) == " ▁▄█"
    assert sparks([0, 0]) == "  " and sparks([]) == ""
