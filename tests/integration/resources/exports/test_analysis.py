"""The walk-through of docs/analysis.md: its blocks as they stand, on ads of a week."""

import shlex
from pathlib import Path
from typing import Any

import matplotlib
import pandas as pd
import pytest
from psycopg.types.json import Jsonb
from pydantic import Field
from typer.testing import CliRunner

from lalafo_assets.cli import app
from ops.tasks import Answer
from ops.tasks.category import CategoryAnswer
from ops.tasks.contract.answer import answer_schema
from resources.postgres.database import Database
from resources.releases.promotion import make_live
from resources.releases.registry import RegisteredRelease, register
from resources.settings import Settings
from tests.support.batches import BACKBONE, RELEASE
from tests.support.document_plan import PLAN, Run
from tests.support.gateway_live import live_gateway

ADS = 700


class Price(Answer):
    """As the task `price` answers."""

    position: str | None = Field(description="Where it is asked.")
    share: float = Field(description="Of prices.")


FILL = (
    "INSERT INTO lalafo.ads (catalog, ad_id, revision, day, status, title, description, category, "
    "price, currency, event_id, occurred_at, kafka_at, received_at, stream_id, topic, partition, "
    "\"offset\", run_id) SELECT 'kg', n::text, 1, date '2026-05-01' + n %% 7, 'scored', 'ad', '', "
    "(ARRAY['shoes/boots', 'shoes/sandals', 'bag'])[1 + n %% 3], 100 + n, 'KGS', n, m, m, m, 's', "
    "'ads', 0, n, 'r' FROM generate_series(1, %(ads)s) AS n, "
    "LATERAL (SELECT timestamptz '2026-05-01 00:00+00' + n %% 7 * interval '1 day' AS m) AS at",
    # Two of ten answers are wrong, one of ten is the node above; scores of 0.8.
    "INSERT INTO lalafo.predictions (release, catalog, ad_id, task, revision, day, label, score, "
    "details, run_id) SELECT %(release)s, catalog, ad_id, 'category', 1, day, CASE "
    "WHEN ad_id::int %% 10 < 2 THEN 'lamp' WHEN ad_id::int %% 10 = 2 "
    "THEN split_part(category, '/', 1) "
    "ELSE category END, 0.8, '{}', 'r' FROM lalafo.ads",
    "INSERT INTO lalafo.predictions (release, catalog, ad_id, task, revision, day, label, score, "
    "details, run_id) SELECT %(release)s, catalog, ad_id, 'price', 1, day, 'x', 0.8, "
    "jsonb_build_object('share', 0.8, 'position', CASE WHEN ad_id::int %% 5 = 0 THEN 'above' "
    "ELSE 'within' END), 'r' FROM lalafo.ads",
)


def fill(database: Database) -> None:
    """A week of ads, whose answers are right in eight of ten, and priced within in four of five."""
    manifest = {"taxonomy": {"category": ["bag", "lamp"]}, "heads": {"price": {}}}
    register(database, RegisteredRelease(RELEASE, "d" * 64, BACKBONE, manifest))
    make_live(database, RELEASE)
    with database.cursor() as cursor:
        for name, model in {"category": CategoryAnswer, "price": Price}.items():
            cursor.execute(
                "INSERT INTO lalafo.tasks (name, asset, description, answer) "
                "VALUES (%s, %s, '', %s)",
                (name, f"ad_{name}", Jsonb(answer_schema(model))),
            )
        for statement in FILL:
            cursor.execute(statement, {"ads": ADS, "release": RELEASE})


def test_the_blocks_find_what_was_filled_in(
    database: Database,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
):
    """In their order, in one namespace: the accuracy, the calibration, positions, days."""
    fill(database)
    settings = Settings(
        home=tmp_path / "home",
        database_url=database.url.render_as_string(),
        kafka_bootstrap="127.0.0.1:9",
        gateway_auth="off",
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LALAFO_HOME", str(settings.home))
    monkeypatch.setenv("LALAFO_DATABASE_URL", settings.database_url)
    matplotlib.use("Agg")
    names: dict[str, Any] = {}
    with live_gateway(settings) as gateway:
        monkeypatch.setenv("LALAFO_GATEWAY_URL", gateway.url)
        for block in (step.block for step in PLAN if step.run is Run.ANALYSIS):
            if block.language == "sh":
                done = CliRunner().invoke(app, shlex.split(block.text)[1:])
                assert done.exit_code == 0, (done.output, done.exception)
                assert f"{ADS:,} ads of 7 days" in done.output
            else:
                exec(compile(block.text, block.document, "exec"), names)
    assert len(names["ads"]) == ADS and len(names["newest"]) == 100
    assert set(names["newest"].columns) == set(names["ads"].columns)
    assert names["agrees"].mean() == pytest.approx(0.8)
    assert names["error"] == pytest.approx(0, abs=1e-6)
    assert (tmp_path / "calibration.png").stat().st_size > 1_000
    assert names["positions"].sum().to_dict() == {"above": ADS // 5, "within": ADS - ADS // 5}
    daily: pd.DataFrame = names["daily"]
    assert daily["ads"].tolist() == [ADS // 7] * 7
    assert "spring" in capsys.readouterr().out
