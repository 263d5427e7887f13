"""The sensor `failed_sessions` reports each failed run once, to a real HTTP server; an unavailable
webhook loses no alert, and is not retried without end."""

import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import dagster as dg
import pytest

from ops.errors import ConfigurationError, LalafoError, RetryableError
from resources import webhook
from resources.dagster.names import SESSION_JOB
from resources.webhook import post_json
from sensors import failures
from sensors.failures import ALERT_TAG, GIVE_UP_S, failed_sessions, one_line


@dataclass
class Webhook:
    """An HTTP server on loopback that records requests and sends the given answers."""

    url: str
    answers: list[int] = field(default_factory=list)  # the next ones; 200 after them
    got: list[dict[str, object]] = field(default_factory=list)
    slow: threading.Event = field(default_factory=threading.Event)  # if set, it does not answer
    redirect: str = ""


@pytest.fixture
def hook() -> Iterator[Webhook]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            length = int(self.headers["Content-Length"])
            assert self.headers["Content-Type"] == "application/json"
            endpoint.got.append(json.loads(self.rfile.read(length)))
            if endpoint.slow.is_set():
                stop.wait(10)
                return
            self.send_response(endpoint.answers.pop(0) if endpoint.answers else 200)
            if endpoint.redirect:
                self.send_header("Location", endpoint.redirect)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def do_GET(self) -> None:
            endpoint.got.append({"method": "GET"})

        def log_message(self, *_: object) -> None:
            return

    stop = threading.Event()
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    endpoint = Webhook(f"http://127.0.0.1:{server.server_port}/services/T0/the-key")
    yield endpoint
    stop.set()
    server.shutdown()
    thread.join()
    server.server_close()


class WorkConfig(dg.Config):
    error: str = ""


@dg.op
def work(config: WorkConfig) -> None:
    if config.error == "trace":
        raise ZeroDivisionError("by nothing\nand a second line")
    if config.error != "":
        raise dg.Failure(config.error)


@dg.job(name=SESSION_JOB, executor_def=dg.in_process_executor)
def session() -> None:
    work()


@dg.job(name="another", executor_def=dg.in_process_executor)
def another() -> None:
    work()


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as ephemeral:
        yield ephemeral


@pytest.fixture(autouse=True)
def short_timeouts(monkeypatch: pytest.MonkeyPatch, hook: Webhook) -> None:
    """No pauses, short time limits, and the webhook's URL in the environment."""
    monkeypatch.setattr(webhook, "PAUSE_S", 0)
    monkeypatch.setattr(webhook, "TIMEOUT_S", 0.5)
    monkeypatch.setenv("LALAFO_FAILURE_WEBHOOK_URL", hook.url)


def run(instance: dg.DagsterInstance, error: str, job: dg.JobDefinition = session) -> str:
    return job.execute_in_process(
        {"ops": {"work": {"config": {"error": error}}}},
        instance=instance,
        raise_on_error=False,
        tags={"dagster/partition": "2026-05-01"},
    ).run_id


class Daemon:
    """Evaluates ticks as Dagster's daemon does: the cursor moves if the tick did not raise."""

    def __init__(self, instance: dg.DagsterInstance) -> None:
        self.instance = instance
        self.sensor = failed_sessions(session)
        self.cursor: str | None = None
        self.tick()  # the first tick only initialises the cursor

    def tick(self) -> list[str]:
        """The errors of the tick's reactions; an exception of the tick itself is raised."""
        with dg.build_sensor_context(instance=self.instance, cursor=self.cursor) as context:
            result = self.sensor.evaluate_tick(context)
        self.cursor = result.cursor
        return [it.error.message for it in result.dagster_run_reactions or () if it.error]


def make_older(monkeypatch: pytest.MonkeyPatch, by: timedelta) -> None:
    class Later(datetime):
        @classmethod
        def now(cls, tz=None):
            return datetime.now(tz) + by

    monkeypatch.setattr(failures, "datetime", Later)


def alert_tag(instance: dg.DagsterInstance, run_id: str) -> str | None:
    found = instance.get_run_by_id(run_id)
    assert found is not None
    return found.tags.get(ALERT_TAG)


def test_a_failed_session_is_reported_once(instance: dg.DagsterInstance, hook: Webhook) -> None:
    """Run, job, day, the error in a line, the run's page, the time; later ticks send nothing."""
    daemon = Daemon(instance)
    run_id = run(instance, "RetryableError: Kafka at k:9092 is unreachable\nwith a second line")
    assert daemon.tick() == []
    (got,) = hook.got
    ended = instance.get_run_record_by_id(run_id)
    assert ended is not None and ended.end_time is not None
    at = datetime.fromisoformat(str(got.pop("at")))
    assert at.utcoffset() == timedelta(0) and abs(at.timestamp() - ended.end_time) < 1
    assert got == {
        "run_id": run_id,
        "job": SESSION_JOB,
        "partition": "2026-05-01",
        "error": "RetryableError: Kafka at k:9092 is unreachable",
        "ui": f"/runs/{run_id}",
    }
    assert alert_tag(instance, run_id) == "sent"
    assert daemon.tick() == []
    assert len(hook.got) == 1


def test_other_runs_raise_no_alert(instance: dg.DagsterInstance, hook: Webhook) -> None:
    """Successful sessions, and failures of other jobs."""
    daemon = Daemon(instance)
    run(instance, "")
    run(instance, "boom", another)
    daemon.tick()
    assert hook.got == []


def test_a_stack_trace_is_not_sent(instance: dg.DagsterInstance, hook: Webhook) -> None:
    """Only the first line of an unexpected error is sent."""
    daemon = Daemon(instance)
    run(instance, "trace")
    daemon.tick()
    assert hook.got[0]["error"] == "ZeroDivisionError: by nothing"


def test_a_killed_session_is_reported_too(instance: dg.DagsterInstance, hook: Webhook) -> None:
    """No step failed: the run's own message is sent."""
    daemon = Daemon(instance)
    started = instance.create_run_for_job(session, status=dg.DagsterRunStatus.STARTED)
    instance.report_run_failed(started, message="Failed by the sensor: its lease is dead.")
    daemon.tick()
    assert hook.got[0]["error"] == "Failed by the sensor: its lease is dead."


def test_without_a_webhook_a_failure_is_only_logged(
    instance: dg.DagsterInstance, hook: Webhook, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The setting is empty by default."""
    monkeypatch.delenv("LALAFO_FAILURE_WEBHOOK_URL")
    daemon = Daemon(instance)
    run_id = run(instance, "boom")
    assert daemon.tick() == []
    assert hook.got == [] and alert_tag(instance, run_id) is None


def test_a_temporary_error_of_the_webhook_is_retried_at_once(
    instance: dg.DagsterInstance, hook: Webhook
) -> None:
    """There are three attempts per tick: two temporary errors lose nothing."""
    daemon = Daemon(instance)
    run(instance, "boom")
    hook.answers = [503, 429]
    assert daemon.tick() == []
    assert len(hook.got) == 3


def test_an_unavailable_webhook_loses_no_alert(instance: dg.DagsterInstance, hook: Webhook) -> None:
    """The tick fails with a clear message and repeats the same run; no alert is sent twice."""
    daemon = Daemon(instance)
    first, second = run(instance, "first"), run(instance, "second")
    hook.answers = [200, 500, 500, 500]
    for _ in range(2):
        with pytest.raises(
            dg.DagsterError, match=f"{second} was not reported.*answered 500.*again"
        ):
            daemon.tick()
        hook.answers = [500, 500, 500]
    assert [it["error"] for it in hook.got] == ["first"] + ["second"] * 6
    hook.answers = []
    assert daemon.tick() == []
    assert [it["error"] for it in hook.got[7:]] == ["second"]
    assert (alert_tag(instance, first), alert_tag(instance, second)) == ("sent", "sent")
    daemon.tick()
    assert len(hook.got) == 8


def test_an_alert_is_given_up_after_an_hour(
    instance: dg.DagsterInstance, hook: Webhook, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One last attempt, a tick that fails and says so, and a tag on the run."""
    daemon = Daemon(instance)
    lost = run(instance, "lost")
    make_older(monkeypatch, timedelta(seconds=GIVE_UP_S + 60))
    hook.answers = [500]
    (message,) = daemon.tick()
    assert f"{lost} was not reported" in message and "given up after 61 minutes" in message
    assert len(hook.got) == 1
    assert alert_tag(instance, lost) == "given up"
    assert daemon.tick() == []
    assert len(hook.got) == 1


def test_old_failures_are_reported_after_the_daemon_was_down(
    instance: dg.DagsterInstance, hook: Webhook, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The daemon was down for two hours; the webhook was not."""
    daemon = Daemon(instance)
    run_id = run(instance, "boom")
    make_older(monkeypatch, timedelta(hours=2))
    assert daemon.tick() == []
    assert len(hook.got) == 1 and alert_tag(instance, run_id) == "sent"


# The POST -----------------------------------------------------------------------------------------


def test_a_slow_webhook_times_out(hook: Webhook) -> None:
    """The message has its host only: the path is its key."""
    hook.slow.set()
    with pytest.raises(RetryableError, match="did not answer") as message:
        post_json(hook.url, {}, attempts=2, pause=lambda _: None)
    assert len(hook.got) == 2
    assert "127.0.0.1" in str(message.value) and "the-key" not in str(message.value)


def test_a_refusal_is_not_repeated(hook: Webhook) -> None:
    """A 404 is permanent."""
    hook.answers = [404]
    with pytest.raises(ConfigurationError, match="answered 404"):
        post_json(hook.url, {}, attempts=3)
    assert len(hook.got) == 1


def test_a_redirect_is_not_followed(hook: Webhook) -> None:
    """The redirected request would be a GET, without the body."""
    hook.answers, hook.redirect = [302], hook.url
    with pytest.raises(ConfigurationError, match="answered 302"):
        post_json(hook.url, {}, attempts=1)
    assert {"method": "GET"} not in hook.got


@pytest.mark.parametrize(
    "url",
    [
        *("hooks.example/x", "file:///etc/passwd", "http://", "ftp://a/b"),
        *("http://[::1/secret", "http://127.0.0.1:9/\u0444?secret", "http://127.0.0.1:x/secret"),
        *(f"http://{'a' * 70}.example/secret", "http://127.0.0.1:9/ secret", "http://a b/secret"),
    ],
)
def test_a_url_that_is_not_http_is_refused(url: str) -> None:
    """Only http and https are supported; what is no URL is not retried, and its path not shown."""
    with pytest.raises(ConfigurationError, match="LALAFO_FAILURE_WEBHOOK_URL") as caught:
        post_json(url, {}, attempts=2, pause=lambda _: pytest.fail("it was tried again"))
    assert "secret" not in str(caught.value)
    assert caught.value.__suppress_context__ or caught.value.__context__ is None


def test_an_unreachable_webhook_s_error_names_the_setting() -> None:
    with pytest.raises(LalafoError, match="LALAFO_FAILURE_WEBHOOK_URL"):
        post_json("http://127.0.0.1:9/key", {}, attempts=1)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("\n  one\ntwo", "one"),
        ("at postgresql://me:pa55@db/x", "at postgresql://…@db/x"),
        ("PGPASSWORD=pa55 and api_key: k", "PGPASSWORD=… and api_key: …"),
        ("x" * 600, "x" * 500 + "…"),
        ("", ""),
    ],
)
def test_the_error_line_contains_no_secret(text: str, expected: str) -> None:
    """And at most 500 characters."""
    assert one_line(text) == expected
