"""Response models of releases, version 1."""

from datetime import datetime

from pydantic import Field

from gateway.schemas.ads import ResponseModel


class TaskLabels(ResponseModel):
    labels: list[str] = Field(description="Every label that the release can predict, sorted.")


class LiveReleaseOut(ResponseModel):
    """The live release and what it can predict."""

    release: str | None = Field(description="Its name; null while no release is live.")
    created_at: datetime | None = Field(description="When it was registered.")
    tasks: dict[str, TaskLabels] = Field(description="Labels by task; empty without a release.")
