"""The client's retries: which errors, after which pauses, and for how long."""

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import httpx
import pytest

from gateway.client.calls import Address, Call
from gateway.client.errors import (
    LalafoApiError,
    NotAllowed,
    NotFound,
    RateLimited,
    Refused,
    ServiceUnavailable,
)
from gateway.client.retry import MAX_PAUSE_S, Pause, Policy, retry_after_s, with_retries

CALL = Address("http://gateway.example", 1.0).get_ad("kg", "1")
NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)


class World:
    """A clock that only pauses advance, and a server that returns outcomes from a list.

    The last outcome is repeated.
    """

    def __init__(self, *outcomes: httpx.Response | httpx.RequestError, jitter: float = 0.5) -> None:
        self.now = 100.0
        self.outcomes = list(outcomes)
        self.calls: list[Call] = []
        self.pauses: list[float] = []
        self.jitter = jitter

    def run(self, *, patience_s: float = 30.0) -> httpx.Response:
        policy = Policy(patience_s, clock=lambda: self.now, jitter=lambda: self.jitter)
        plan = with_retries(CALL, policy)
        outcome = None
        while True:
            try:
                step = plan.send(outcome)
            except StopIteration as end:
                return end.value
            if isinstance(step, Pause):
                self.pauses.append(step.seconds)
                self.now += step.seconds
                outcome = None
            else:
                self.calls.append(step)
                outcome = self.outcomes.pop(0) if len(self.outcomes) > 1 else self.outcomes[0]


def answer(status: int, headers: dict[str, str] | None = None, **problem: object) -> httpx.Response:
    body = {"type": "urn:lalafo:problem:test", "detail": "because", **problem}
    request = httpx.Request("GET", CALL.url)
    return httpx.Response(status, headers=headers, json=body, request=request)


def test_a_success_is_not_retried() -> None:
    """A success takes one request and no pause."""
    world = World(answer(200))
    assert world.run().status_code == 200
    assert (len(world.calls), world.pauses) == (1, [])


@pytest.mark.parametrize(
    "first",
    [
        httpx.ConnectError("refused"),
        httpx.ReadTimeout("slow"),
        httpx.RemoteProtocolError("cut"),
        answer(429),
        answer(500),
        answer(502),
        answer(503),
    ],
)
def test_a_temporary_error_is_retried(first: httpx.Response | httpx.RequestError) -> None:
    """The same call is sent again, with its Idempotency-Key if it has one."""
    world = World(first, first, answer(200))
    assert world.run().status_code == 200
    assert world.calls == [CALL] * 3
    assert world.pauses == [0.05, 0.1], "half of spans that double"


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (301, LalafoApiError),
        (400, Refused),
        (401, NotAllowed),
        (403, NotAllowed),
        (404, NotFound),
        (409, Refused),
        (413, Refused),
        (422, Refused),
        (501, LalafoApiError),
    ],
)
def test_a_permanent_error_is_raised_at_once(status: int, error: type[LalafoApiError]) -> None:
    """There is one attempt, and the exception has the problem's members."""
    world = World(answer(status, reason="event_bad_revision"))
    with pytest.raises(error) as found:
        world.run()
    assert type(found.value) is error
    assert (found.value.status, found.value.kind, found.value.detail) == (status, "test", "because")
    assert found.value.problem["reason"] == "event_bad_revision"
    assert len(world.calls) == 1


@pytest.mark.parametrize(
    ("last", "error", "status"),
    [
        (answer(429), RateLimited, 429),
        (answer(503), ServiceUnavailable, 503),
        (httpx.ConnectError("refused"), ServiceUnavailable, None),
    ],
)
def test_patience_ends(
    last: httpx.Response | httpx.RequestError, error: type[LalafoApiError], status: int | None
) -> None:
    """No pause exceeds `patience_s`, and the exception is the last outcome."""
    world = World(last, jitter=1.0)
    with pytest.raises(error) as found:
        world.run(patience_s=20)
    assert type(found.value) is error
    assert found.value.status == status
    assert 10 < sum(world.pauses) <= 20
    assert max(world.pauses) == MAX_PAUSE_S
    assert len(world.calls) == len(world.pauses) + 1


def test_no_patience_is_one_attempt() -> None:
    """patience_s=0 turns retries off."""
    world = World(answer(503))
    with pytest.raises(ServiceUnavailable):
        world.run(patience_s=0)
    assert len(world.calls) == 1


def test_retry_after_is_respected() -> None:
    """No retry starts before Retry-After, and there is none if that exceeds `patience_s`."""
    world = World(answer(429, {"Retry-After": "7"}), answer(200))
    world.run()
    assert len(world.pauses) == 1
    assert 7 <= world.pauses[0] < 7.2
    late = World(answer(429, {"Retry-After": "31"}))
    with pytest.raises(RateLimited):
        late.run(patience_s=30)
    assert (len(late.calls), late.pauses) == (1, [])


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({}, None),
        ({"Retry-After": "0"}, 0.0),
        ({"Retry-After": " 12 "}, 12.0),
        ({"Retry-After": "soon"}, None),
        ({"Retry-After": "-3"}, None),
        ({"Retry-After": "٣"}, None),
        ({"Retry-After": "Fri, 99 Foo 2026 99:99:99 GMT"}, None),
        ({"Retry-After": format_datetime(NOW + timedelta(seconds=9), usegmt=True)}, 9.0),
        ({"Retry-After": format_datetime(NOW - timedelta(seconds=9), usegmt=True)}, 0.0),
    ],
)
def test_retry_after_is_a_number_or_a_date(headers: dict[str, str], expected: float | None) -> None:
    """A date is compared with the response's own Date header."""
    dated = {"Date": format_datetime(NOW, usegmt=True), **headers}
    raw = [(name.encode(), value.encode()) for name, value in dated.items()]
    assert retry_after_s(httpx.Response(429, headers=raw)) == expected


def test_an_answer_without_a_problem_is_still_an_error() -> None:
    """The status of a proxy's page selects the exception; its text is in the message, truncated."""
    page = httpx.Response(404, text="<html>" + "x" * 5_000, request=httpx.Request("GET", CALL.url))
    with pytest.raises(NotFound) as found:
        World(page).run()
    assert (found.value.kind, found.value.problem) == ("not_found", {})
    assert len(str(found.value)) < 400
