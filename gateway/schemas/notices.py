"""Response models of the notices, version 1: what a person should know about the stack.

Owns codes, severities and units; `gateway/backends/notices.py` finds out which hold.
"""

from datetime import datetime
from typing import Literal

from pydantic import Field

from gateway.schemas.ads import ResponseModel

Code = Literal["no_release", "synthetic_release", "session_failed", "no_sessions", "other_sessions"]
Severity = Literal["error", "warning", "info"]


class NoticeOut(ResponseModel):
    """One thing that a person should know."""

    code: Code = Field(
        description="`no_release`: nothing is scored until a release is live. `synthetic_release`: "
        "the live release has learned its categories from drawn photos only. `session_failed`: the "
        "last session failed, and none has worked since. `no_sessions`: events wait, and no "
        "session reads them. `other_sessions`: sessions read another stream than this gateway's."
    )
    severity: Severity
    message: str = Field(description="One sentence.")
    action: str | None = Field(description="A command that helps, or null.")
    at: datetime | None = Field(description="Since when it holds; null if that is not known.")


class NoticesOut(ResponseModel):
    """What a person should know about the stack now; empty if all is well."""

    notices: list[NoticeOut] = Field(description="The most severe first.")
