"""Response models of the installed tasks, version 1."""

from typing import Any

from pydantic import Field, RootModel

from gateway.schemas.ads import ResponseModel


class TaskOut(ResponseModel):
    """A task: what is predicted of an ad, and the shape of its answer."""

    name: str = Field(description="The key of its predictions in an ad.")
    asset: str = Field(description="Its asset in Dagster.")
    description: str
    live: bool = Field(description="Whether the live release runs it.")
    answer: dict[str, Any] = Field(
        description="JSON Schema of `label`, `score` and `details`, with descriptions and units."
    )


class TaskList(RootModel[list[TaskOut]]):
    """The installed tasks, by name."""
