"""Serializes the events of the topic `ads.feedback`: schema 1, one event for each label.

The key is catalog/ad_id. The last label of an ad in a task replaces earlier ones.
"""

import json
from dataclasses import dataclass
from datetime import datetime

from ops.types import AdKey

SCHEMA = 1
MAX_TASK_CHARS, MAX_LABEL_CHARS, MAX_GIVEN_BY_CHARS = 100, 200, 200


@dataclass(frozen=True, slots=True)
class Label:
    """The correct label of an ad in a task, and who gave it when."""

    key: AdKey
    task: str
    label: str
    given_by: str
    given_at: datetime  # UTC


def feedback_event(label: Label) -> bytes:
    """Serialize the event of a label as UTF-8 JSON."""
    fields = {
        "schema": SCHEMA,
        "catalog": label.key.catalog,
        "ad_id": label.key.ad_id,
        "task": label.task,
        "label": label.label,
        "given_by": label.given_by,
        "given_at": label.given_at.isoformat(),
    }
    return json.dumps(fields, ensure_ascii=False, separators=(",", ":")).encode()
