"""The product's settings: read from the environment (`LALAFO_…`) once, when a process starts.

Owns names, defaults, units and allowed ranges; an invalid value is an error at start. Connects to
nothing.
"""

import os
from collections.abc import Mapping
from datetime import date
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, SecretStr, ValidationError, field_validator
from pydantic.fields import FieldInfo
from pydantic_settings import (
    BaseSettings,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from ops.errors import ConfigurationError
from ops.events.parse import EventLimits
from resources.kafka_properties import BOOTSTRAP, read_properties
from resources.pod_settings import Pods
from resources.variables import check_variables, is_service_link


class Settings(BaseSettings):
    """The product's settings; each field is the environment variable LALAFO_<NAME>."""

    model_config = SettingsConfigDict(
        env_prefix="LALAFO_", frozen=True, extra="ignore", hide_input_in_errors=True
    )

    home: Path = Field(default=Path(".lalafo"), description="The folder of all local state.")
    other_variables: str = Field(
        default="",
        description="Names of variables that begin with LALAFO_ and belong to other programs, "
        "comma-separated; * stands for any characters. Every other one that is not a setting is "
        "refused at start.",
    )
    database_url: str = Field(
        default="",
        repr=False,
        description="Connection string of a PostgreSQL database with pgvector, as libpq takes it: "
        "postgresql://… or host=… dbname=…. The tables are in its schema `lalafo`.",
    )
    database_direct_url: str = Field(
        default="",
        repr=False,
        description="Connection string of the same database past a pooler (PgBouncer), for LISTEN, "
        "advisory locks and migrations. Empty: LALAFO_DATABASE_URL leads to the server itself.",
    )
    database_connections: int = Field(
        default=15,
        ge=2,
        description="The most PostgreSQL connections in the pool of a process, other than the "
        "gateway.",
    )
    dagster_database_url: str = Field(
        default="",
        repr=False,
        description="Connection string of the PostgreSQL database for Dagster's storage, in the "
        "same forms.",
    )
    kafka_bootstrap: str = Field(
        default="", description="Kafka's bootstrap servers: host:port[,host:port]."
    )
    kafka_api_version: str = Field(
        default="",
        description="Kafka protocol version. Empty: negotiated. '2.0' for librdkafka's test "
        "broker, whose negotiation is wrong.",
    )
    kafka_config: str = Field(
        default="",
        description="A properties file of librdkafka's names (key=value) with any of the "
        "settings of Kafka below and bootstrap.servers. A variable wins over the file.",
    )
    kafka_security_protocol: str = Field(
        default="",
        description="PLAINTEXT, SSL, SASL_PLAINTEXT or SASL_SSL. Empty: PLAINTEXT.",
    )
    kafka_sasl_mechanism: str = Field(
        default="", description="PLAIN, SCRAM-SHA-256, SCRAM-SHA-512 or OAUTHBEARER."
    )
    kafka_sasl_username: str = Field(default="", description="The user, for PLAIN and SCRAM.")
    kafka_sasl_password: SecretStr = Field(
        default=SecretStr(""), description="The user's password, for PLAIN and SCRAM."
    )
    kafka_sasl_oauthbearer_method: str = Field(
        default="", description="How OAUTHBEARER gets its token. Empty: oidc, the only one."
    )
    kafka_sasl_oauthbearer_token_endpoint_url: str = Field(
        default="", description="The URL from which OAUTHBEARER gets its token."
    )
    kafka_sasl_oauthbearer_client_id: str = Field(
        default="", description="The client's id at the token endpoint."
    )
    kafka_sasl_oauthbearer_client_secret: SecretStr = Field(
        default=SecretStr(""), description="The client's secret at the token endpoint."
    )
    kafka_sasl_oauthbearer_scope: str = Field(
        default="", description="The scope of the token. Empty: the endpoint's default."
    )
    kafka_sasl_oauthbearer_extensions: str = Field(
        default="",
        description="SASL extensions, key=value,key=value; Confluent Cloud needs logicalCluster "
        "and identityPoolId.",
    )
    kafka_https_ca_location: str = Field(
        default="", description="PEM file of the token endpoint's CA. Empty: the system's."
    )
    kafka_ssl_ca_location: str = Field(
        default="", description="PEM file, or folder, of the brokers' CA. Empty: the system's."
    )
    kafka_ssl_crl_location: str = Field(
        default="", description="PEM file of certificates that the CA has revoked."
    )
    kafka_ssl_certificate_location: str = Field(
        default="", description="PEM file of the client's certificate, for mutual TLS."
    )
    kafka_ssl_key_location: str = Field(
        default="", description="PEM file of the client's private key."
    )
    kafka_ssl_key_password: SecretStr = Field(
        default=SecretStr(""), description="The password of the private key."
    )
    kafka_ssl_endpoint_identification_algorithm: str = Field(
        default="",
        description="https: the broker's certificate must name its host. none: not checked. "
        "Empty: https.",
    )
    stream_id: str = Field(
        default="",
        description="Identifies the Kafka log that stored offsets refer to. Empty: cluster id and "
        "topic id.",
    )
    store_url: str = Field(
        default="",
        description="Folder or fsspec URL of renditions, thumbnails, uploads, releases and "
        "training sets. Empty: `store` below LALAFO_HOME.",
    )
    device: Literal["auto", "cpu", "cuda"] = Field(
        default="auto",
        description="Where models run. 'auto': CUDA if available, else the CPU; 'cuda' without a "
        "CUDA device is an error.",
    )
    executor: Literal["local", "k8s"] = Field(
        default="local",
        description="Where Dagster runs execute: in local processes, or in Kubernetes pods.",
    )
    pods: Annotated[Pods, NoDecode] = Field(
        default=Pods(),
        description="With LALAFO_EXECUTOR=k8s: the pods of runs, as JSON. `resources/"
        "pod_settings.py` has the names, defaults and ranges.",
    )
    run_start_s: float = Field(
        default=120.0,
        gt=0,
        description="Seconds from a session run's launch until it must have joined the group: its "
        "process starts and imports torch. On Kubernetes its pod may first wait for a node and an "
        "image.",
    )
    first_day: date | Literal[""] = Field(
        default="",
        description="The day (UTC) with which the day partitions begin, as 2026-11-01; a topic's "
        "backlog that is older than the first ad needs it. Empty, or if there are older ads: the "
        "first day with ads; without ads: the day of the start.",
    )
    ads_topic: str = Field(default="ads", description="Kafka topic of the ad events.")
    dlq_topic: str = Field(
        default="ads.dlq", description="Kafka topic of the events that were rejected."
    )

    schema_registry_framing: Literal["refuse", "strip"] = Field(
        default="refuse",
        description="The five bytes that serializers of Confluent's schema registry put before an "
        "event's JSON: such an event is rejected (refuse), or they are skipped (strip).",
    )
    max_photos_per_ad: int = Field(
        default=50, ge=1, description="Photos of an ad; an event with more is rejected."
    )
    max_title_chars: int = Field(
        default=1_000, ge=1, description="Characters of a title; an event with more is rejected."
    )
    max_description_chars: int = Field(
        default=50_000,
        ge=1,
        description="Characters of a description; an event with more is rejected.",
    )
    max_photo_bytes: int = Field(
        default=20_000_000, ge=1, description="Bytes of one photo; a larger photo fails."
    )
    max_photo_pixels: int = Field(
        default=50_000_000,
        ge=1,
        description="Pixels of one photo, by its header; a larger photo fails before it is "
        "decoded.",
    )
    max_unscaled_photo_pixels: int = Field(
        default=25_000_000,
        ge=1,
        description="Pixels of one photo that is not a JPEG, by its header: such photos can't be "
        "decoded at a smaller scale. A larger photo fails before it is decoded.",
    )
    photo_memory_bytes: int = Field(
        default=600_000_000,
        ge=1,
        description="Bytes that the large photos being decoded may take at once, by estimate; a "
        "photo that needs more alone fails. Photos below 40 MB each are not counted: at most "
        "LALAFO_PHOTO_THREADS of them are decoded at once.",
    )
    fetch_timeout_s: float = Field(
        default=10.0,
        gt=0,
        description="Seconds for one photo, with all redirects and attempts; then it fails.",
    )
    fetch_connections: int = Field(
        default=64, ge=1, description="Photos fetched at once; others wait, without a timeout."
    )
    fetch_attempts: int = Field(
        default=3,
        ge=1,
        description="Attempts for one photo. Only temporary failures are retried: lost "
        "connections, HTTP 5xx, 408, 425 and 429.",
    )
    fetch_max_redirects: int = Field(
        default=3, ge=0, description="Redirects followed for one photo; with one more it fails."
    )
    fetch_allow_private: bool = Field(
        default=False,
        description="Also fetch from private, loopback and link-local addresses. The demo needs "
        "it; elsewhere it exposes the internal network.",
    )
    batch_photos: int = Field(
        default=32, ge=1, description="The most photos in one call of the model."
    )
    in_flight_photos: int = Field(
        default=384,
        ge=1,
        description="Photos that a session processes at once; at this limit it polls no more "
        "events.",
    )
    commit_ads: int = Field(default=128, ge=1, description="The most ads in one commit.")
    stack_pid: int = Field(
        default=0,
        ge=0,
        description="Set by `lalafo up`: sessions end once the process with this id has ended. "
        "0: not checked.",
    )
    sessions: int = Field(
        default=1,
        ge=1,
        description="Sessions that the sensor keeps running. They share the partitions; those "
        "beyond the number of partitions are on standby.",
    )
    session_minutes: float = Field(
        default=60.0,
        gt=0,
        description="Minutes after which a session hands its partitions over to its successor.",
    )
    unreadable_batch: Literal["stop", "skip"] = Field(
        default="stop",
        description="What a session does about a batch of records that it can't decode after three "
        "attempts. stop: it reads no more of that partition, and tries again every minute. skip: "
        "it records the offsets and goes on behind them.",
    )
    idle_minutes: float = Field(
        default=0.0,
        ge=0,
        description="Minutes without an event after which a session ends; the next ad then waits "
        "until a session has started. 0: sessions never end for lack of events.",
    )
    code_version: str = Field(
        default="",
        description="Version of the deployed code; sessions of another version hand over. Empty: "
        "a digest of the package's files.",
    )
    lease_ttl_s: float = Field(
        default=2.0,
        gt=0,
        description="Seconds until the lease of a session that no longer renews it expires; then "
        "another session takes its partitions.",
    )
    stage_timeout_s: float = Field(
        default=300.0,
        gt=0,
        description="Seconds that a session's stage may take over one task, without a retry; "
        "then the process ends, and another session takes its partitions. Loading a model "
        "does not count.",
    )
    metrics_port: int = Field(
        default=0,
        ge=0,
        le=65_535,
        description="First port for a session's Prometheus metrics: it takes the first free one "
        "from here on. 0: no metrics.",
    )
    metrics_host: str = Field(
        default="127.0.0.1", description="Address that the metrics server listens on."
    )
    failure_webhook_url: str = Field(
        default="",
        description="URL that gets a JSON POST for every failed session run. Empty: none.",
    )
    keep_timings_days: int = Field(
        default=14,
        ge=1,
        description="Days after which rows of `stage_timings` and `stream_minutes` are deleted.",
    )
    keep_runs_days: int = Field(
        default=30,
        ge=1,
        description="Days after which Dagster's finished runs and their event logs are deleted. A "
        "run with the last materialization of a partition stays.",
    )
    keep_failures_days: int = Field(
        default=90,
        ge=1,
        description="Days after which failures of events are deleted; a photo's failure stays with "
        "its ad.",
    )
    keep_superseded_days: float = Field(
        default=7.0,
        ge=0,
        description="Days for which the previous live release still scores new ads, so that a "
        "rollback is possible; its predictions are deleted later.",
    )
    retry_unscored_minutes: float = Field(
        default=15.0,
        gt=0,
        description="Minutes between attempts to score an ad whose photos were all unreachable.",
    )
    model_mode: Literal["auto", "eager", "traced", "compiled", "openvino"] = Field(
        default="auto",
        description="The engine that runs the model. 'auto': on a CPU the faster of OpenVINO and "
        "traced PyTorch, measured when a release is first loaded on a host; on CUDA traced. "
        "'compiled' (torch.compile) needs a C++ compiler and 15 to 60 s more at start.",
    )
    rescore_automatically: bool = Field(
        default=True,
        description="Request a re-score of the catalogue as soon as a release has passed its gate.",
    )
    rescore_window: str = Field(
        default="",
        pattern=r"^$|^([01]\d|2[0-3]):[0-5]\d-([01]\d|2[0-3]):[0-5]\d$",
        description="Time of day (UTC) in which automatic re-scores may start, as 22:00-06:00. "
        "Empty: at any time. A re-score that was requested by hand does not wait.",
    )
    rescore_rows_per_s: float = Field(
        default=0.0,
        ge=0,
        description="The most embeddings that a re-score reads per second. 0: no limit.",
    )
    tasks_off: str = Field(
        default="",
        pattern=r"^\s*$|^\s*[a-z][a-z0-9_]*@[^,@\s]+(\s*,\s*[a-z][a-z0-9_]*@[^,@\s]+)*\s*$",
        description="Tasks that are off in a catalog, as moderation@kg,price@*; * stands for every "
        "catalog. Ads there get no such prediction, and need none to be complete. A task that "
        "reads their answers is off there too. The same for all sessions and re-scores.",
    )
    after_path_share: float = Field(
        default=0.5,
        gt=0,
        le=1,
        description="The share of the time in which a session's worker computes tasks after the "
        "ad's path, on one core. What it can't do then waits: see lalafo_deferred_ads.",
    )
    similar_ads: bool = Field(
        default=False,
        description="Whether an indexer runs: a Dagster run that keeps the vectors of ads for "
        "searches for similar ads.",
    )
    duplicates: bool = Field(
        default=False,
        description="Whether a finder of duplicates runs: a Dagster run that compares new ads with "
        "those that may be the same. It finds crops, borders and collages only with "
        "LALAFO_SIMILAR_ADS.",
    )
    vector_build_workers: int = Field(
        default=0,
        ge=0,
        le=64,
        description="Parallel workers of PostgreSQL that help to build an index of vectors. Each "
        "takes a core; needs pgvector 0.8.2.",
    )
    background_priority: Literal["idle", "normal"] = Field(
        default="idle",
        description="Priority of re-scores, training, upkeep, tasks after the ad's path, warm-ups "
        "of successors, a session's pictures, and other work that no ad waits for. "
        "idle: they use the processor time that the stream leaves; normal: they share it.",
    )
    backfill_latency_ms: float = Field(
        default=250.0,
        ge=0,
        description="While more than a tenth of the stream's ads take longer than so many ms, from "
        "Kafka's timestamp to the committed row, a re-score that embeds photos pauses, up to 10 s "
        "a batch. 0: it never does.",
    )
    rescore_cron: str = Field(
        default="0 1 * * *",
        description="Cron schedule (UTC) of the check for days that the live release has not "
        "scored.",
    )
    export_url: str = Field(
        default="",
        description="Folder or fsspec URL to which the asset `catalogue_export` and `lalafo "
        "export` write ads with their predictions. Empty: the asset's schedule is stopped, "
        "and the command needs --to.",
    )
    export_format: Literal["parquet", "csv"] = Field(
        default="parquet", description="The format of the asset `catalogue_export`."
    )
    export_cron: str = Field(
        default="30 2 * * *",
        description="Cron schedule (UTC) of the asset `catalogue_export`, for the last seven days.",
    )
    photo_threads: int = Field(
        default=6, ge=1, description="Threads that check, encode and decode a session's photos."
    )
    torch_threads: int = Field(
        default=1,
        ge=0,
        description="The model's threads in a session; 0: one per core. One has the best latency.",
    )

    gateway_host: str = Field(
        default="127.0.0.1", description="Address that the gateway listens on."
    )
    gateway_port: int = Field(
        default=8080,
        ge=0,
        le=65_535,
        description="Port that the gateway listens on; 0: any free port.",
    )
    gateway_url: str = Field(
        default="", description="The gateway's URL, for `lalafo publish` and other clients."
    )
    gateway_key: str = Field(
        default="", repr=False, description="API key that `lalafo`'s client commands send."
    )
    gateway_auth: Literal["keys", "off"] = Field(
        default="keys",
        description="'keys': every request needs an API key. 'off': every request is allowed "
        "everything; only valid on a loopback address.",
    )
    gateway_workers: int = Field(
        default=1, ge=1, description="Server processes; request limits count in each separately."
    )
    gateway_stop_s: float = Field(
        default=10.0,
        gt=0,
        description="Seconds that requests in progress may still take when the gateway stops. "
        "Those that wait for a result are answered at once.",
    )
    gateway_connections: int = Field(
        default=8, ge=2, description="PostgreSQL connections in the pool of each server process."
    )
    require_store: bool = Field(
        default=True,
        description="While the photo store is full or unavailable, answer 503 at /readyz, so that "
        "a load balancer sends requests elsewhere. Ads without uploaded photos are accepted "
        "nevertheless.",
    )
    require_broker: bool = Field(
        default=False,
        description="While Kafka is unavailable, answer 503 and accept nothing, instead of keeping "
        "events in the outbox.",
    )
    tracing: bool = Field(
        default=False,
        description="Export spans of requests and sessions by OpenTelemetry (the extra `otel`), as "
        "the variables OTEL_… say.",
    )
    cors_origins: str = Field(
        default="",
        description="Origins whose pages may call the API, comma-separated. Empty: only the "
        "gateway's own page.",
    )
    dagster_url: str = Field(
        default="", description="URL of Dagster's UI for people; answers link to its runs."
    )
    pictures_url: str = Field(
        default="",
        description="URL of a gateway that browsers reach without an API key, as behind a proxy "
        "with a log-in: Dagster's UI shows its pictures inline from there. Empty: metadata has "
        "them embedded, a click further; `lalafo up` sets it.",
    )
    max_json_bytes: int = Field(
        default=1_000_000,
        ge=1_000,
        description="Bytes of a request body without uploads; a larger body is refused.",
    )
    max_upload_bytes: int = Field(
        default=100_000_000,
        ge=1,
        description="Bytes of a request body with uploads, in total; a larger body is refused.",
    )
    max_wait_s: float = Field(
        default=30.0,
        ge=0,
        description="The most seconds that `?wait=` waits for a result; a longer wait is cut.",
    )
    requests_at_once: int = Field(
        default=64,
        ge=1,
        description="Concurrent requests of one API key, per server process; one more is answered "
        "with 429.",
    )
    keep_accepted_hours: float = Field(
        default=24.0,
        gt=0,
        description="Hours after which accepted events whose ads are scored, and answers stored "
        "under idempotency keys, are deleted.",
    )
    keep_uploads_days: float = Field(
        default=30.0,
        gt=0,
        description="Days after which uploads that became no stored photo are deleted.",
    )

    training_photos: int = Field(
        default=50_000,
        ge=1,
        description="The most photos in a training set; labels by people come first.",
    )
    training_ads: int = Field(
        default=20_000,
        ge=1,
        description="The most ads in a training set, for tasks that learn from what sellers write, "
        "such as prices.",
    )
    training_min_photos: int = Field(
        default=5, ge=2, description="A label with fewer training photos is left out."
    )
    gate_accuracy_margin: float = Field(
        default=0.01,
        ge=0,
        description="How far a candidate's accuracy may be below the live release's (0.01: one "
        "percentage point).",
    )
    gate_recall_margin: float = Field(
        default=0.10,
        ge=0,
        description="How far a category's recall may be below the live release's.",
    )
    gate_calibration_margin: float = Field(
        default=0.03,
        ge=0,
        description="How far the calibration error may be above the live release's.",
    )
    gate_latency_factor: float = Field(
        default=1.5,
        gt=0,
        description="The largest ratio of a candidate's time per photo to the live release's.",
    )
    gate_memory_factor: float = Field(
        default=2.0,
        gt=0,
        description="The largest ratio of a candidate's weights, in memory, to the live release's.",
    )
    gate_min_photos: int = Field(
        default=20,
        ge=1,
        description="Held-out photos that a task needs, or the candidate fails its gate; the "
        "recall of a category with fewer is not compared.",
    )

    @cached_property
    def tasks_off_pairs(self) -> frozenset[tuple[str, str]]:
        """Tasks and the catalogs that they are off in; * is every catalog."""
        parts = [part.strip().partition("@") for part in self.tasks_off.split(",")]
        return frozenset((task, catalog) for task, _, catalog in parts if task)

    @field_validator("home", mode="before")
    @classmethod
    def _empty_is_unset(cls, home: object) -> object:
        """`LALAFO_HOME=` is no folder, and not the current one."""
        return cls.model_fields["home"].default if home == "" else home

    @field_validator("pods", mode="before")
    @classmethod
    def _pods_from_json(cls, pods: object) -> object:
        return Pods.from_json(pods) if isinstance(pods, str) else pods

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """The sources of values, the first wins: arguments, environment, Kafka's properties."""
        return init_settings, env_settings, _KafkaSource(settings_cls)

    @cached_property
    def resolved_store_url(self) -> str:
        """The store's URL: the setting, else the folder `store` below `home`."""
        return self.store_url if self.store_url != "" else str(self.home.absolute() / "store")

    @cached_property
    def event_limits(self) -> EventLimits:
        """The limits of an event's content."""
        return EventLimits(
            max_photos=self.max_photos_per_ad,
            max_title_chars=self.max_title_chars,
            max_description_chars=self.max_description_chars,
            strip_framing=self.schema_registry_framing == "strip",
        )

    def require(self, field: str) -> str:
        """The setting's text.

        Raises:
            ConfigurationError: it is empty; the message names the variable.
        """
        value = str(getattr(self, field))
        if value == "":
            raise ConfigurationError(
                f"LALAFO_{field.upper()} is not set. Set it, or start the embedded servers with "
                "`lalafo up --only services` and use the exports it prints."
            )
        return value


class _KafkaSource(PydanticBaseSettingsSource):
    """Checks the names of all variables and Kafka's properties; bootstrap.servers from the file.

    The file's other values are read again with each connection, so that a password can change
    (`resources/kafka/security/access.py`).
    """

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:
        """Part of the interface; `__call__` gives all values at once."""
        return None, field_name, False

    def __call__(self) -> dict[str, Any]:
        check_variables(os.environ, self.settings_cls.model_fields)
        file = str(self.current_state.get("kafka_config") or "")
        if file == "":
            return {}
        bootstrap = read_properties(Path(file)).get(BOOTSTRAP, "")
        return {"kafka_bootstrap": bootstrap} if bootstrap != "" else {}


def load_settings() -> Settings:
    """Read the settings from the environment.

    Raises:
        ConfigurationError: a value is invalid; the message names each such variable.
    """
    return changed_settings({})


def changed_settings(changes: Mapping[str, object]) -> Settings:
    """The environment's settings with some values replaced; raises as `load_settings` does."""
    try:
        return Settings(**dict(changes))  # type: ignore[arg-type] # pydantic validates them
    except ValidationError as error:
        lines = [_invalid(e["loc"], e.get("input"), e["msg"]) for e in error.errors()]
        raise ConfigurationError("; ".join(lines)) from error


def _invalid(loc: tuple[int | str, ...], value: object, message: str) -> str:
    """What is wrong with one setting; a secret's value is not shown."""
    name = str(loc[0]) if loc else ""
    field = Settings.model_fields.get(name)
    variable = f"LALAFO_{name.upper()}"
    if isinstance(value, str) and is_service_link(variable, value):
        message += (
            "; Kubernetes sets it for a Service of that name: set enableServiceLinks: false in the "
            f"pod, or {variable} itself"
        )
    if field is None or field.annotation is SecretStr:
        return f"{variable}: {message}"
    return f"{variable}={value!r}: {message}"
