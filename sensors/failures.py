"""The sensor `failed_sessions`: reports failed session runs in the log and to a webhook.

Owns the content of an alert, and for how long an unavailable webhook is retried. A failed session
loses no ad, since another one continues from its last commit; the alert is for people. The error is
also written to the session's row, unless the session could do so itself: the gateway, `lalafo up`,
`stats` and `doctor` show it.

What Dagster 1.13 does if a run status sensor raises: an ordinary exception fails the tick, but the
cursor moves past the run (definitions/run_status_sensor_definition.py, daemon/sensor.py: "side
effects that we don't want to repeat"), so that the alert would be lost after one tick. A
DagsterError is not caught: the tick fails and the cursor stays, so that the next tick sees the same
run. Therefore an unavailable webhook is retried at every tick, by raising a DagsterError, until the
failure is an hour old; then the alert is given up, with an ordinary exception that is logged once.
Later failures wait behind it. A run's tag records the outcome of its alert, so that a tick that is
repeated for one run does not send the others twice.
"""

import re
from contextlib import closing, suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime

import dagster as dg

from ops.errors import LalafoError, RetryableError
from resources.postgres.database import Database
from resources.sessions.group.members import write_failure
from resources.settings import Settings, load_settings
from resources.webhook import post_json

INTERVAL_S = 30
GIVE_UP_S = 3_600.0
ATTEMPTS = 3
ALERT_TAG = "lalafo/alert"
SENT, GIVEN_UP = "sent", "given up"
MAX_ERROR_CHARS = 500

_CREDENTIALS = re.compile(r"(?<=://)[^\s/@]+(?=@)")
_SECRETS = re.compile(r"(?i)\b([\w-]*(?:password|passwd|secret|token|api[_-]?key)\s*[=:]\s*)\S+")


@dataclass(frozen=True, slots=True)
class Alert:
    """The JSON body that the webhook gets."""

    run_id: str
    job: str
    partition: str | None
    error: str  # one line, no stack trace, no secret
    ui: str  # the path of the run's page in Dagster's UI
    at: str  # ISO 8601, UTC: when the run ended


def failed_sessions(session: dg.JobDefinition) -> dg.SensorDefinition:
    """Create the sensor for the monitored session job."""

    @dg.run_failure_sensor(
        monitored_jobs=[session],
        minimum_interval_seconds=INTERVAL_S,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description=(
            "Logs each failed session run, and sends it as JSON to LALAFO_FAILURE_WEBHOOK_URL if "
            "that is set."
        ),
    )
    def failed_sessions(context: dg.RunFailureSensorContext) -> None:
        run = context.dagster_run
        if ALERT_TAG in _tags(context):
            return
        ended = _ended(context)
        alert = Alert(
            run_id=run.run_id,
            job=run.job_name,
            partition=context.partition_key,
            error=one_line(_error(context)),
            ui=f"/runs/{run.run_id}",
            at=ended.isoformat(timespec="seconds"),
        )
        context.log.error(f"session run {alert.run_id} failed: {alert.error}")
        settings = load_settings()
        record_failure(settings, alert.run_id, alert.error)
        url = settings.failure_webhook_url
        if url != "":
            _send(context, url, alert, age_s=(datetime.now(UTC) - ended).total_seconds())

    return failed_sessions


def one_line(text: str) -> str:
    """The first line, without passwords in URLs and without values of secret names."""
    line = text.strip().partition("\n")[0]
    redacted = _SECRETS.sub(r"\1…", _CREDENTIALS.sub("…", line))
    return redacted if len(redacted) <= MAX_ERROR_CHARS else redacted[:MAX_ERROR_CHARS] + "…"


def record_failure(settings: Settings, run_id: str, error: str) -> None:
    """Write a session's error to its row; does nothing if PostgreSQL is unavailable.

    Args:
        error: one line, as `one_line` returns it.
    """
    with suppress(LalafoError), closing(Database.from_settings(settings)) as database:
        write_failure(database, run_id, settings.ads_topic, error)


def _send(context: dg.RunFailureSensorContext, url: str, alert: Alert, *, age_s: float) -> None:
    is_last = age_s >= GIVE_UP_S
    try:
        # A single attempt in the last tick: five runs in one tick must not exceed its 60 s.
        post_json(url, asdict(alert), attempts=1 if is_last else ATTEMPTS)
    except LalafoError as error:
        message = f"the failure of session run {alert.run_id} was not reported: {error}"
        if not is_last:
            retry = f"the next ticks try again until it is {GIVE_UP_S / 60:.0f} minutes old"
            raise dg.DagsterError(f"{message}; {retry}") from None
        context.instance.add_run_tags(alert.run_id, {ALERT_TAG: GIVEN_UP})
        raise RetryableError(f"{message}; given up after {age_s / 60:.0f} minutes") from None
    context.instance.add_run_tags(alert.run_id, {ALERT_TAG: SENT})


def _tags(context: dg.RunFailureSensorContext) -> dict[str, str]:
    run = context.instance.get_run_by_id(context.dagster_run.run_id)
    return {} if run is None else dict(run.tags)


def _ended(context: dg.RunFailureSensorContext) -> datetime:
    record = context.instance.get_run_record_by_id(context.dagster_run.run_id)
    if record is None or record.end_time is None:
        return datetime.now(UTC)
    return datetime.fromtimestamp(record.end_time, UTC)


def _error(context: dg.RunFailureSensorContext) -> str:
    """The failed step's error, else the run's: a killed run has no step failure."""
    for event in context.get_step_failure_events():
        data = event.step_failure_data
        if data.user_failure_data is not None and data.user_failure_data.description:
            return data.user_failure_data.description
        if data.error is not None:
            return (data.error.cause or data.error).message
    return context.failure_event.message or "no reason was given"
