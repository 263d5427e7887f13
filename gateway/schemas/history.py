"""Response models of the history, version 1: what changed or broke, and when."""

from datetime import datetime
from typing import Literal

from pydantic import Field

from gateway.schemas.ads import ResponseModel, Source

Kind = Literal[
    "installed",
    "proposed",
    "withdrawn",
    "promoted",
    "rolled_back",
    "retired",
    "rescore_started",
    "rescore_finished",
    "code_version",
    "session_died",
    "outage",
    "incident",
]


class ChangeOut(ResponseModel):
    """One change, outage or incident."""

    at: datetime
    until: datetime | None = Field(description="When it ended; null: it did not last, or it lasts.")
    kind: Kind = Field(
        description="A change of a release's role; the start or end of a re-score; "
        "`code_version`: the first session of another code version; `session_died`: a session "
        "ended without releasing its partitions; `outage`: no session ran; `incident`: records of "
        "the topic were lost or could not be read."
    )
    title: str = Field(description="What happened, in a few words.")
    detail: str
    run: Source | None
    release: Source | None


class HistoryOut(ResponseModel):
    """What changed or broke in a window of time."""

    since: datetime
    until: datetime
    changes: list[ChangeOut] = Field(description="Newest first, at most 500.")
