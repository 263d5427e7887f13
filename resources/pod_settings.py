"""The pods that runs get on Kubernetes: the value of LALAFO_PODS, as JSON.

Owns names, defaults and which values are possible. `resources/dagster/pods/` builds the pods. The
names of a pod's fields are those of Kubernetes, in snake_case.
"""

from typing import Any, Literal, Self, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

PodRole = Literal["session", "indexer", "finder", "batch", "training", "maintenance", "coordinator"]
QUANTITY = r"^\d+(\.\d+)?(m|[kMGT]i?)?$"


class PodOptions(BaseModel):
    """What one kind of pods requests, and where it may run."""

    model_config = ConfigDict(frozen=True, extra="forbid", coerce_numbers_to_str=True)

    cpu: str = Field(
        default="1",
        pattern=QUANTITY,
        description="Request. There is no limit: it would throttle decoding, and idle time of "
        "other pods would stay unused.",
    )
    memory: str = Field(
        default="2Gi",
        pattern=QUANTITY,
        description="Request and limit, so that the node's pressure evicts others first.",
    )
    gpus: int = Field(default=0, ge=0, description="Not requested where LALAFO_DEVICE is cpu.")
    image: str = Field(
        default="", description="Another image than `image` of all pods, as one with CUDA."
    )
    stop_s: int = Field(default=60, ge=5, description="Seconds from SIGTERM to SIGKILL.")
    priority_class_name: str = ""
    node_selector: dict[str, str] = {}
    tolerations: tuple[dict[str, Any], ...] = ()
    affinity: dict[str, Any] = {}
    annotations: dict[str, str] = {}


class SessionPods(PodOptions):
    """Runs of `score_new_ads`: the model, and the photos that they fetch."""

    cpu: str = Field(default="2", pattern=QUANTITY)
    memory: str = Field(default="4Gi", pattern=QUANTITY)
    gpus: int = Field(default=1, ge=0)


class BatchPods(PodOptions):
    """Steps of a re-score, runs of a backfill, and every run that has no role of its own."""

    cpu: str = Field(default="2", pattern=QUANTITY)
    memory: str = Field(default="8Gi", pattern=QUANTITY)
    gpus: int = Field(default=1, ge=0)


class CoordinatorPods(PodOptions):
    """Runs whose steps have pods of their own: they start those, and wait."""

    cpu: str = Field(default="250m", pattern=QUANTITY)
    memory: str = Field(default="1Gi", pattern=QUANTITY)


class Pods(BaseModel):
    """All kinds of pods, and what they have in common."""

    model_config = ConfigDict(frozen=True, extra="forbid", coerce_numbers_to_str=True)

    namespace: str = Field(default="default", description="Where the Jobs are created.")
    service_account: str = Field(
        default="lalafo-runs",
        description="Its token is mounted in coordinators alone, which create Jobs.",
    )
    image: str = Field(
        default="",
        description="The image. Empty: that of the code server, if no role has another.",
    )
    image_pull_policy: Literal["Always", "IfNotPresent", "Never"] = "IfNotPresent"
    image_pull_secrets: tuple[str, ...] = ()
    config_maps: tuple[str, ...] = Field(
        default=(), description="ConfigMaps whose keys become environment variables."
    )
    secrets: tuple[str, ...] = Field(
        default=(), description="Secrets whose keys become environment variables."
    )
    files_secret: str = Field(
        default="",
        description="A Secret whose keys become files in /etc/lalafo: certificates, and a "
        "properties file for Kafka that can change while pods run.",
    )
    home_claim: str = Field(
        default="",
        description="A PersistentVolumeClaim (ReadWriteMany) for LALAFO_HOME, which keeps the "
        "choice of the engine. Empty: an emptyDir.",
    )
    home_size: str = Field(default="4Gi", pattern=QUANTITY, description="Limit of that emptyDir.")
    shm_size: str = Field(
        default="256Mi", pattern=QUANTITY, description="Limit of /dev/shm; counts as memory."
    )
    fs_group: int | None = Field(
        default=None, description="The group that owns mounted volumes; None: the cluster's choice."
    )
    keep_finished_s: int = Field(
        default=86_400, ge=0, description="Seconds until a finished Job is deleted, with its log."
    )
    steps_at_once: int = Field(
        default=4, ge=1, description="The most step pods of one run at once."
    )
    session: SessionPods = SessionPods()
    indexer: PodOptions = PodOptions()
    finder: PodOptions = PodOptions()
    batch: BatchPods = BatchPods()
    training: BatchPods = BatchPods()
    maintenance: PodOptions = PodOptions(cpu="500m")
    coordinator: CoordinatorPods = CoordinatorPods()

    @model_validator(mode="after")
    def _image_is_known(self) -> Self:
        """A role's image is the launcher's for runs without a role, so every role states one."""
        if self.image == "" and any(self.options(role).image for role in get_args(PodRole)):
            raise ValueError("image: needed where a role has an image of its own")
        return self

    @classmethod
    def from_json(cls, text: str) -> Self:
        """The pods of the setting's value; empty: all defaults.

        Raises:
            ValueError: names each field that is unknown or has an invalid value.
        """
        try:
            return cls() if text.strip() == "" else cls.model_validate_json(text)
        except ValidationError as error:
            lines = [f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors()]
            raise ValueError("; ".join(lines)) from None

    def options(self, role: PodRole) -> PodOptions:
        """The options of one kind of pods."""
        found: PodOptions = getattr(self, role)
        return found

    def __str__(self) -> str:
        """What differs from the defaults, as JSON."""
        changed = self.model_dump_json(exclude_defaults=True)
        return "" if changed == "{}" else changed
