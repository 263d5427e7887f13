"""Every setting, from the environment (`LALAFO_…`), read once at a process's edge.

Decides names, defaults and units; refuses unknown values at start. Nothing here connects.
"""

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Literal

from pydantic import Field, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from ops.errors import ConfigurationError
from ops.events.parse import EventLimits


class Settings(BaseSettings):
    """The product's settings; each field is the environment variable LALAFO_<NAME>."""

    model_config = SettingsConfigDict(env_prefix="LALAFO_", frozen=True, extra="ignore")

    home: Path = Field(default=Path(".lalafo"), description="All local state lives below here.")
    database_url: str = Field(
        default="", description="PostgreSQL with pgvector, for the tables in schema `lalafo`."
    )
    dagster_database_url: str = Field(
        default="", description="PostgreSQL for Dagster's storage: postgresql+psycopg2://…"
    )
    kafka_bootstrap: str = Field(default="", description="host:port[,host:port] of the brokers.")
    kafka_api_version: str = Field(
        default="",
        description="'2.0' for librdkafka's test broker, which negotiates wrongly; else empty.",
    )
    stream_id: str = Field(
        default="",
        description="Names the log that offsets belong to; empty: cluster id and topic id.",
    )
    store_url: str = Field(default="", description="fsspec URL of renditions and releases.")
    device: Literal["auto", "cpu", "cuda"] = "auto"
    executor: Literal["local", "k8s"] = "local"
    ads_topic: str = "ads"
    dlq_topic: str = "ads.dlq"

    max_photos_per_ad: int = Field(default=50, ge=1)
    max_title_chars: int = Field(default=1_000, ge=1)
    max_description_chars: int = Field(default=50_000, ge=1)
    max_photo_bytes: int = Field(default=20_000_000, ge=1)
    max_photo_pixels: int = Field(default=50_000_000, ge=1)
    fetch_timeout_s: float = Field(default=10.0, gt=0, description="One photo, all attempts in.")
    fetch_connections: int = Field(default=64, ge=1)
    fetch_attempts: int = Field(default=3, ge=1)
    fetch_max_redirects: int = Field(default=3, ge=0)
    fetch_allow_private: bool = Field(
        default=False, description="Fetch from private and loopback addresses too (the demo does)."
    )
    batch_photos: int = Field(default=32, ge=1, description="The largest batch given to a model.")
    in_flight_photos: int = Field(
        default=384, ge=1, description="At work in a session at once; Kafka waits past it."
    )
    commit_ads: int = Field(default=128, ge=1, description="The most ads in one commit.")
    stack_pid: int = Field(
        default=0, ge=0, description="Set by `lalafo up`: sessions end when this process is gone."
    )
    sessions: int = Field(
        default=1, ge=1, description="Sessions kept: they share the partitions, or stand by."
    )
    session_minutes: float = Field(
        default=60.0, gt=0, description="A session hands over to its successor after so long."
    )
    idle_minutes: float = Field(
        default=0.0,
        ge=0,
        description="Sessions end after so long without an event; 0: never. The next ad then "
        "waits for a session to start.",
    )
    code_version: str = Field(
        default="",
        description="Names what is deployed; sessions of another one hand over. Empty: a digest "
        "of the package's own files.",
    )
    lease_ttl_s: float = Field(
        default=2.0, gt=0, description="A frozen session's partitions are free after so long."
    )
    metrics_port: int = Field(
        default=0,
        ge=0,
        le=65_535,
        description="Prometheus metrics of a session: the first free port from this one on; 0: "
        "none.",
    )
    metrics_host: str = Field(default="127.0.0.1", description="The address that they listen on.")
    failure_webhook_url: str = Field(
        default="", description="Gets a JSON POST for every session run that fails."
    )
    keep_timings_days: int = Field(default=14, ge=1, description="Of `stage_timings`.")
    keep_runs_days: int = Field(
        default=30, ge=1, description="Dagster's finished runs with their event logs."
    )
    keep_failures_days: int = Field(default=90, ge=1, description="Of `failures`.")
    keep_superseded_days: float = Field(
        default=7.0,
        ge=0,
        description="A release that was live before is scored along, and can be gone back to, for "
        "so long; then its predictions go.",
    )
    retry_unscored_minutes: float = Field(
        default=15.0, gt=0, description="Between attempts at ads whose photos were out of reach."
    )
    model_mode: Literal["auto", "eager", "traced", "compiled"] = Field(
        default="traced", description="'auto' compiles where it can: faster, 15 to 60 s to start."
    )
    rescore_automatically: bool = Field(
        default=True,
        description="Score the catalogue with a release as soon as its gate has let it through.",
    )
    rescore_window: str = Field(
        default="",
        pattern=r"^$|^([01]\d|2[0-3]):[0-5]\d-([01]\d|2[0-3]):[0-5]\d$",
        description="When re-scores may start, UTC: 22:00-06:00. Empty: at any time. One that was "
        "asked for by hand does not wait.",
    )
    rescore_rows_per_s: float = Field(
        default=0.0,
        ge=0,
        description="Embeddings a second that a re-score reads at most; 0: as fast as it goes.",
    )
    rescore_cron: str = Field(
        default="0 1 * * *", description="When the live release is looked over for days it owes."
    )
    photo_threads: int = Field(default=6, ge=1, description="Checking, encoding and storing.")
    torch_threads: int = Field(
        default=1, ge=0, description="Of a session's model; 0: one a core. One is best for latency."
    )

    gateway_host: str = Field(default="127.0.0.1", description="The address it listens on.")
    gateway_port: int = Field(default=8080, ge=0, le=65_535, description="0: any free one.")
    gateway_url: str = Field(
        default="", description="Where callers reach the gateway; clients and `publish` use it."
    )
    gateway_key: str = Field(default="", repr=False, description="A client's API key.")
    gateway_auth: Literal["keys", "off"] = Field(
        default="keys", description="'off' only on loopback: whoever reaches it may do anything."
    )
    gateway_workers: int = Field(default=1, ge=1, description="Processes that serve.")
    gateway_connections: int = Field(default=8, ge=2, description="To PostgreSQL, of each process.")
    require_broker: bool = Field(
        default=False, description="Answer 503 while Kafka is away, and accept nothing."
    )
    cors_origins: str = Field(
        default="", description="Pages that may call, comma-separated; empty: none but our own."
    )
    dagster_url: str = Field(
        default="", description="Where people reach Dagster's UI; answers link to its runs."
    )
    max_json_bytes: int = Field(default=1_000_000, ge=1_000, description="A body without uploads.")
    max_upload_bytes: int = Field(
        default=100_000_000, ge=1, description="A body with uploads, all of it."
    )
    max_wait_s: float = Field(default=30.0, ge=0, description="The longest `?wait=`.")
    requests_at_once: int = Field(default=64, ge=1, description="Of one key, in one process.")
    keep_accepted_hours: float = Field(
        default=24.0, gt=0, description="What was accepted, after it was scored; answers by key."
    )
    keep_uploads_days: float = Field(
        default=30.0, gt=0, description="Bytes sent by callers that became no stored photo."
    )

    training_photos: int = Field(
        default=50_000, ge=1, description="The most photos in a training set."
    )
    training_min_photos: int = Field(
        default=5, ge=2, description="A label with fewer photos to train on is left out."
    )
    gate_accuracy_margin: float = Field(
        default=0.01, ge=0, description="A candidate's accuracy may be lower by so much."
    )
    gate_recall_margin: float = Field(
        default=0.10, ge=0, description="A category's recall may be lower by so much."
    )
    gate_calibration_margin: float = Field(
        default=0.03, ge=0, description="The calibration error may be higher by so much."
    )
    gate_latency_factor: float = Field(
        default=1.5, gt=0, description="A photo may take so many times as long."
    )
    gate_memory_factor: float = Field(
        default=2.0, gt=0, description="The weights may be so many times as large."
    )
    gate_min_photos: int = Field(
        default=20,
        ge=1,
        description="Held-out photos that a category's recall is judged by, and a task at all.",
    )

    @cached_property
    def resolved_store_url(self) -> str:
        """The photo store's URL: the setting, else a folder under home."""
        return self.store_url if self.store_url != "" else str(self.home.absolute() / "store")

    @cached_property
    def event_limits(self) -> EventLimits:
        """How much an event may hold."""
        return EventLimits(
            max_photos=self.max_photos_per_ad,
            max_title_chars=self.max_title_chars,
            max_description_chars=self.max_description_chars,
        )

    def require(self, field: str) -> str:
        """The setting's text, or a ConfigurationError that names its variable."""
        value = str(getattr(self, field))
        if value == "":
            raise ConfigurationError(
                f"LALAFO_{field.upper()} is not set. Set it, or start the embedded servers with "
                "`lalafo up --only services` and use the exports it prints."
            )
        return value


def load_settings() -> Settings:
    """Read the environment; raises ConfigurationError that names each wrong variable."""
    return changed_settings({})


def changed_settings(changes: Mapping[str, object]) -> Settings:
    """The environment's settings with some in their place; the same errors."""
    try:
        return Settings(**dict(changes))  # type: ignore[arg-type] # pydantic validates them
    except ValidationError as error:
        lines = [
            f"LALAFO_{str(e['loc'][0]).upper()}={e.get('input')!r}: {e['msg']}"
            for e in error.errors()
        ]
        raise ConfigurationError("; ".join(lines)) from error
