"""Ads of two days with predictions of three tasks, for tests of exports, data frames and documents.

The tables are written by the sessions' own writer.
"""

from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from typing import Literal

from psycopg.types.json import Jsonb
from pydantic import BaseModel, Field

from ops.tasks import Answer
from ops.tasks.category import CategoryAnswer
from ops.tasks.contract.answer import answer_schema
from ops.types import Prediction
from resources.postgres.database import Database
from resources.releases.promotion import make_live
from resources.releases.registry import RegisteredRelease, register
from resources.sessions.commits.commit import Holder, ResultWriter
from resources.sessions.group.leases import Leases
from tests.support.batches import BACKBONE, NOON, RELEASE, batch, event, outcome

LABELS = ["chair", "sofa", 'a "шапка"']


class Range(BaseModel):
    low: float = Field(description="The lowest.", json_schema_extra={"unit": "of the currency"})
    high: float | None = Field(description="The highest.")


class PhotoFlags(BaseModel):
    sha256: str
    flags: list[str]


class Worth(Answer):
    """A task with an answer of every type."""

    range: Range = Field(description="The range.")
    position: Literal["below", "within", "above"] | None = Field(description="Where it is asked.")
    like: int = Field(description="How many ads are like it.")
    fair: bool = Field(description="Whether it is fair.")
    flags: list[str] = Field(description="What is wrong.")
    photos: list[PhotoFlags] = Field(description="Each photo.")


TASKS = {"category": CategoryAnswer, "worth": Worth}
MANIFEST = {"taxonomy": {"category": LABELS}, "heads": {"worth": {}, "elsewhere": {}}}
WORTH = {
    "range": {"low": 10.5, "high": None},
    **{"position": "above", "like": 12, "fair": True, "flags": ["dark", "blurred"]},
    "photos": [{"sha256": "ab", "flags": ["dark"]}],
}


def put_tasks(database: Database) -> None:
    """Register the release, make it live, and describe two of its three tasks."""
    register(database, RegisteredRelease(RELEASE, "d" * 64, BACKBONE, MANIFEST))
    make_live(database, RELEASE)
    with database.cursor() as cursor:
        for name, model in TASKS.items():
            cursor.execute(
                "INSERT INTO lalafo.tasks (name, asset, description, answer) "
                "VALUES (%s, %s, '', %s) ON CONFLICT (name) DO UPDATE SET answer = excluded.answer",
                (name, f"ad_{name}", Jsonb(answer_schema(model))),
            )


def put_ads(database: Database) -> None:
    """Commit four ads: two of the first day, one of the next, and one that is deleted."""
    put_tasks(database)
    with database.engine.connect() as connection:
        driver = connection.connection.driver_connection
        epochs = Leases("stream-1", "ads", "run-1", 60).acquire(driver, [0])
        driver.commit()
    writer = ResultWriter(database, Holder("run-1", "stream-1", "ads", "ads.scored"))
    priced = {"price": Decimal("1200.50"), "currency": "KGS", "seller": "s-1"}
    first = event("1", title='=HYPERLINK("http://x","a")', **priced)
    second = event("2", photos=2, title='line\nbreak, "quoted"', category=None)
    scored = [
        replace(
            outcome(first, offset=0),
            predictions={
                RELEASE: (
                    Prediction("category", "chair", 0.75, {"top": [["chair", 0.75]], "path": []}),
                    Prediction("worth", "above", 0.5, WORTH),
                    Prediction("elsewhere", "x", 1.0, {"new": {"x": [1]}}),
                )
            },
        ),
        replace(
            outcome(second, offset=1),
            predictions={
                RELEASE: (
                    Prediction("category", LABELS[2], 0.5, {"top": [], "path": ["a", "b"]}),
                    # of other types than the schema says
                    Prediction(
                        "worth", "", 0.25, {"range": 3, "like": 1.5, "flags": [1], "fair": 0}
                    ),
                )
            },
        ),
        outcome(event("3", title=""), offset=2, at=NOON + timedelta(days=1)),
        outcome(event("4"), offset=3),
    ]
    writer.commit(batch(*scored), epochs)
    gone = event("4", revision=2)
    gone = replace(gone, kind=type(gone.kind).DELETED)
    writer.commit(batch(outcome(gone, offset=4)), epochs)
    with database.cursor() as cursor:
        cursor.execute(
            "INSERT INTO lalafo.labels (catalog, ad_id, task, label, given_by) "
            "VALUES ('kg', '1', 'category', 'sofa', 'm')"
        )
