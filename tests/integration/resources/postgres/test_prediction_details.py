"""The view of predictions gives the best labels in one form, however they are stored."""

import psycopg
import pytest
from psycopg.types.json import Jsonb

from resources.postgres.database import Database
from resources.releases.registry import RegisteredRelease, register

LABELS = ["chair", 'a "шапка"', "lamp", "bag"]
COLUMNS = "release, catalog, ad_id, task, revision, day, label, score, run_id"


@pytest.fixture
def cursor(database: Database):
    manifest = {"taxonomy": {"category": LABELS}}
    register(database, RegisteredRelease("r1", "d" * 64, "b", manifest))
    with database.cursor() as cursor:
        yield cursor


def details_text(cursor: psycopg.Cursor, **columns: object) -> str:
    """The view's details of a row with these columns, as PostgreSQL prints them."""
    cursor.execute("DELETE FROM lalafo.predictions")
    names = "".join(f", {name}" for name in columns)
    cursor.execute(
        f"INSERT INTO lalafo.predictions ({COLUMNS}{names}) VALUES ('r1', 'kg', '1', 'category', "
        f"1, '2026-05-01', 'chair', 0.5, 'run'{', %s' * len(columns)})",
        list(columns.values()),
    )
    cursor.execute("SELECT details::text FROM lalafo.predictions_with_details")
    ((text,),) = cursor.fetchall()
    return text


@pytest.mark.parametrize(
    "scores",
    [[1.0, 0.0, 0.0], [0.999999, 0.000001, 0.1], [0.5, 0.123456, 0.00001], [0.333333], [0.9, 0.0]],
)
def test_arrays_equal_json(cursor, scores):
    """The same digits as those of the JSON that a session writes, zero and one included."""
    order = [3, 1, 0][: len(scores)]
    top = [[LABELS[n], score] for n, score in zip(order, scores, strict=True)]
    as_json = details_text(cursor, details=Jsonb({"top": top}))
    assert details_text(cursor, top_labels=order, top_scores=scores) == as_json


def test_all_scores_survive_as_real(cursor):
    """Every score of six decimals is the same number after `real` and back."""
    cursor.execute(
        "SELECT count(*) FROM generate_series(0, 1000000) AS n "
        "WHERE ((n / 1e6::float8)::real)::numeric <> n / 1e6::numeric"
    )
    assert cursor.fetchall() == [(0,)]


def test_other_details_stay(cursor):
    """Details of a task without best labels are returned as they are."""
    assert details_text(cursor, details=Jsonb({"low": 5, "top": "x"})) == '{"low": 5, "top": "x"}'
    assert details_text(cursor) == "{}"
