"""What changed, from the rows of sessions: code versions, deaths, and times without a session."""

from datetime import UTC, datetime, timedelta

from gateway.statistics.changes import MAX_CHANGES, Links, Session, in_window, session_changes

NOON = datetime(2026, 5, 1, 12, tzinfo=UTC)
LINKS = Links("http://dagster.example/runs/", None)


def at(minutes: float) -> datetime:
    return NOON + timedelta(minutes=minutes)


def session(run: str, start: float, end: float, *, code: str = "v1", died: bool = False) -> Session:
    return Session(run, code, at(start), at(end), died)


def changes(*sessions: Session, now: float) -> list[tuple[str, datetime, datetime | None]]:
    return [
        (one.kind, one.at, one.until) for one in session_changes(list(sessions), LINKS, at(now))
    ]


def test_a_handover_is_no_event() -> None:
    """Sessions overlap, or the next one starts at once."""
    assert changes(session("a", 0, 60), session("b", 58, 120), now=120) == []
    assert changes(session("a", 0, 60), session("b", 60.05, 120), now=120) == []


def test_a_time_without_a_session_is_an_outage() -> None:
    """Between two sessions, and after the last one; a longer session covers a shorter gap."""
    assert changes(session("a", 0, 10), session("b", 15, 20), now=30) == [
        ("outage", at(10), at(15)),
        ("outage", at(20), None),
    ]
    assert changes(session("a", 0, 50), session("b", 5, 10), session("c", 20, 60), now=60) == []
    assert changes(now=60) == [], "nothing is known"


def test_a_new_code_version_is_named_once() -> None:
    """At the first session that runs it; the oldest known version is none."""
    found = list(
        session_changes(
            [
                session("a", 0, 60, code="v1"),
                session("b", 1, 60, code="v2"),
                session("c", 2, 60, code="v2"),
                session("d", 3, 60, code="v1"),
            ],
            LINKS,
            at(60),
        )
    )
    assert [(one.at, one.title, one.run.id) for one in found if one.run is not None] == [
        (at(1), "Code version v2", "b"),
        (at(3), "Code version v1", "d"),
    ]
    assert found[0].run is not None and found[0].run.url == "http://dagster.example/runs/b"


def test_a_session_that_did_not_leave_died() -> None:
    found = changes(session("a", 0, 10, died=True), session("b", 5, 60), now=60)
    assert found == [("session_died", at(10), None)]


def test_a_window_has_what_happened_or_lasted_in_it() -> None:
    """Newest first, and not more than the maximum."""
    known = list(
        session_changes([session("a", 0, 10, died=True), session("b", 30, 40)], LINKS, at(60))
    )
    assert [one.kind for one in in_window(known, at(20))] == ["outage", "outage"]
    assert [one.kind for one in in_window(known, at(35))] == ["outage"]
    assert [one.at for one in in_window(known, at(0))] == [at(40), at(10), at(10)]
    assert len(in_window(known * MAX_CHANGES, at(0))) == MAX_CHANGES
