"""A failed session run is told once, by the real sensor to a real HTTP server; a dead webhook
neither loses the alert nor is tried for ever."""

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
    """A server on loopback that keeps what it gets and answers as it is told."""

    url: str
    answers: list[int] = field(default_factory=list)  # the next ones; 200 after them
    got: list[dict[str, object]] = field(default_factory=list)
    slow: threading.Event = field(default_factory=threading.Event)  # set: it never answers
    redirect: str = ""


@pytest.fixture
def hook() -> Iterator[Webhook]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            length = int(self.headers["Content-Length"])
            assert self.headers["Content-Type"] == "application/json"
            made.got.append(json.loads(self.rfile.read(length)))
            if made.slow.is_set():
                stop.wait(10)
                return
            self.send_response(made.answers.pop(0) if made.answers else 200)
            if made.redirect:
                self.send_header("Location", made.redirect)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def do_GET(self) -> None:
            made.got.append({"method": "GET"})

        def log_message(self, *_: object) -> None:
            return

    stop = threading.Event()
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    made = Webhook(f"http://127.0.0.1:{server.server_port}/services/T0/the-key")
    yield made
    stop.set()
    server.shutdown()
    thread.join()
    server.server_close()


class How(dg.Config):
    error: str = ""


@dg.op
def work(config: How) -> None:
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
    with dg.DagsterInstance.ephemeral() as made:
        yield made


@pytest.fixture(autouse=True)
def hasty(monkeypatch: pytest.MonkeyPatch, hook: Webhook) -> None:
    """No pauses, short time limits, and the webhook that the settings name."""
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
    """Ticks as Dagster's daemon does: the cursor moves where the tick did not raise."""

    def __init__(self, instance: dg.DagsterInstance) -> None:
        self.instance = instance
        self.sensor = failed_sessions(session)
        self.cursor: str | None = None
        self.tick()  # the first one takes its bearings

    def tick(self) -> list[str]:
        """What the tick's reactions say went wrong; what the tick raises is raised."""
        with dg.build_sensor_context(instance=self.instance, cursor=self.cursor) as context:
            message = self.sensor.evaluate_tick(context)
        self.cursor = message.cursor
        return [it.error.message for it in message.dagster_run_reactions or () if it.error]


def make_older(monkeypatch: pytest.MonkeyPatch, by: timedelta) -> None:
    class Later(datetime):
        @classmethod
        def now(cls, tz=None):
            return datetime.now(tz) + by

    monkeypatch.setattr(failures, "datetime", Later)


def alert_tag(instance: dg.DagsterInstance, run_id: str) -> str | None:
    made = instance.get_run_by_id(run_id)
    assert made is not None
    return made.tags.get(ALERT_TAG)


def test_a_failed_session_is_told_once(instance: dg.DagsterInstance, hook: Webhook) -> None:
    """Run, job, day, the reason in a line, where to look, when; later ticks tell nothing."""
    daemon = Daemon(instance)
    run_id = run(instance, "RetryableError: Kafka at k:9092 is away\nwith a second line")
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
        "error": "RetryableError: Kafka at k:9092 is away",
        "ui": f"/runs/{run_id}",
    }
    assert alert_tag(instance, run_id) == "sent"
    assert daemon.tick() == []
    assert len(hook.got) == 1


def test_other_runs_are_nobodys_alert(instance: dg.DagsterInstance, hook: Webhook) -> None:
    """Sessions that went well, and failures of other jobs."""
    daemon = Daemon(instance)
    run(instance, "")
    run(instance, "boom", another)
    daemon.tick()
    assert hook.got == []


def test_a_stack_trace_stays_at_home(instance: dg.DagsterInstance, hook: Webhook) -> None:
    """Of an unforeseen error the first line goes out."""
    daemon = Daemon(instance)
    run(instance, "trace")
    daemon.tick()
    assert hook.got[0]["error"] == "ZeroDivisionError: by nothing"


def test_a_killed_session_is_told_too(instance: dg.DagsterInstance, hook: Webhook) -> None:
    """No step failed: the run's own message is the reason."""
    daemon = Daemon(instance)
    started = instance.create_run_for_job(session, status=dg.DagsterRunStatus.STARTED)
    instance.report_run_failed(started, message="Failed by the sensor: its lease is dead.")
    daemon.tick()
    assert hook.got[0]["error"] == "Failed by the sensor: its lease is dead."


def test_without_a_webhook_the_log_is_all(
    instance: dg.DagsterInstance, hook: Webhook, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The setting is empty by default."""
    monkeypatch.delenv("LALAFO_FAILURE_WEBHOOK_URL")
    daemon = Daemon(instance)
    run_id = run(instance, "boom")
    assert daemon.tick() == []
    assert hook.got == [] and alert_tag(instance, run_id) is None


def test_a_webhook_that_stumbles_is_asked_again_at_once(
    instance: dg.DagsterInstance, hook: Webhook
) -> None:
    """Three attempts a tick: two answers of 503 cost nothing."""
    daemon = Daemon(instance)
    run(instance, "boom")
    hook.answers = [503, 429]
    assert daemon.tick() == []
    assert len(hook.got) == 3


def test_a_webhook_that_is_away_for_a_while_loses_no_alert(
    instance: dg.DagsterInstance, hook: Webhook
) -> None:
    """The tick fails with a clear message and comes back to the same run; nobody is told twice."""
    daemon = Daemon(instance)
    first, second = run(instance, "first"), run(instance, "second")
    hook.answers = [200, 500, 500, 500]
    for _ in range(2):
        with pytest.raises(dg.DagsterError, match=f"{second} was not told.*answered 500.*again"):
            daemon.tick()
        hook.answers = [500, 500, 500]
    assert [it["error"] for it in hook.got] == ["first"] + ["second"] * 6
    hook.answers = []
    assert daemon.tick() == []
    assert [it["error"] for it in hook.got[7:]] == ["second"]
    assert (alert_tag(instance, first), alert_tag(instance, second)) == ("sent", "sent")
    daemon.tick()
    assert len(hook.got) == 8


def test_a_dead_webhook_is_given_up_after_an_hour(
    instance: dg.DagsterInstance, hook: Webhook, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One last attempt, a tick that fails and says so, and a tag on the run."""
    daemon = Daemon(instance)
    lost = run(instance, "lost")
    make_older(monkeypatch, timedelta(seconds=GIVE_UP_S + 60))
    hook.answers = [500]
    (message,) = daemon.tick()
    assert f"{lost} was not told" in message and "given up after 61 minutes" in message
    assert len(hook.got) == 1
    assert alert_tag(instance, lost) == "given up"
    assert daemon.tick() == []
    assert len(hook.got) == 1


def test_after_a_long_silence_old_failures_are_still_told(
    instance: dg.DagsterInstance, hook: Webhook, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The daemon was down for two hours; the webhook was not."""
    daemon = Daemon(instance)
    run_id = run(instance, "boom")
    make_older(monkeypatch, timedelta(hours=2))
    assert daemon.tick() == []
    assert len(hook.got) == 1 and alert_tag(instance, run_id) == "sent"


# The POST -----------------------------------------------------------------------------------------


def test_a_slow_webhook_is_given_its_time_and_no_more(hook: Webhook) -> None:
    """It is named by its host: the path is its key."""
    hook.slow.set()
    with pytest.raises(RetryableError, match="did not answer") as message:
        post_json(hook.url, {}, attempts=2, pause=lambda _: None)
    assert len(hook.got) == 2
    assert "127.0.0.1" in str(message.value) and "the-key" not in str(message.value)


def test_a_refusal_is_not_repeated(hook: Webhook) -> None:
    """404 today is 404 in a second."""
    hook.answers = [404]
    with pytest.raises(ConfigurationError, match="answered 404"):
        post_json(hook.url, {}, attempts=3)
    assert len(hook.got) == 1


def test_a_redirect_is_not_followed(hook: Webhook) -> None:
    """It would arrive as a GET, without the body."""
    hook.answers, hook.redirect = [302], hook.url
    with pytest.raises(ConfigurationError, match="answered 302"):
        post_json(hook.url, {}, attempts=1)
    assert {"method": "GET"} not in hook.got


@pytest.mark.parametrize("url", ["hooks.example/x", "file:///etc/passwd", "http://", "ftp://a/b"])
def test_an_address_of_another_kind_is_refused(url: str) -> None:
    """Nothing but HTTP is spoken."""
    with pytest.raises(ConfigurationError, match="LALAFO_FAILURE_WEBHOOK_URL"):
        post_json(url, {}, attempts=1)


def test_nobody_there_is_told_by_the_settings_name() -> None:
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
def test_a_line_holds_no_secret(text: str, expected: str) -> None:
    """Nor more than a message can take."""
    assert one_line(text) == expected
