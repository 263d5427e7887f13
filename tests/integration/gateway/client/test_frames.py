"""A data frame of the client has the ads and the columns of an export of the same tables."""

import asyncio
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq
import pytest

from gateway.client import AsyncLalafoClient, LalafoClient
from ops.answer_columns import AD_COLUMNS
from resources.exports.days import days_with_ads, export_days, new_export
from resources.exports.destination import Destination
from resources.postgres.database import Database
from resources.settings import Settings
from tests.support.exported_ads import put_ads
from tests.support.gateway_live import live_gateway


@pytest.fixture
def url(database: Database, tmp_path: Path):
    put_ads(database)
    settings = Settings(
        home=tmp_path,
        database_url=database.url.render_as_string(),
        kafka_bootstrap="127.0.0.1:9",
        gateway_auth="off",
    )
    with live_gateway(settings) as gateway:
        yield gateway.url


def test_a_frame_has_the_columns_and_values_of_an_export(
    url: str, database: Database, tmp_path: Path
):
    """Of every type; the task that no session has described has no columns in the frame."""
    export_days(
        database, new_export(database), days_with_ads(database), Destination(str(tmp_path), "--to")
    )
    with LalafoClient(url, key="") as client:
        found = client.frame()
    by_day = pq.read_table(tmp_path, partitioning="hive").to_pylist()
    expected = {row["ad_id"]: row for row in by_day}
    assert sorted(found["ad_id"]) == sorted(expected) == ["1", "2", "3"]
    names = {name for name in expected["1"] if not name.startswith("elsewhere.")}
    assert set(found.columns) == names
    assert list(found.columns[: len(AD_COLUMNS)]) == [column.name for column in AD_COLUMNS]
    for row in found.to_dict("records"):
        for name, value in row.items():
            wanted = expected[row["ad_id"]][name]
            if wanted is None:
                assert value is None or pd.isna(value), name
            else:
                assert (str(value) if name == "day" else value) == wanted, name
    kinds = found.dtypes.astype(str)
    assert kinds[["received_at", "revision", "worth.fair", "worth.score"]].tolist() == [
        *("datetime64[us, UTC]", "Int64", "boolean", "float64")
    ]


def test_a_frame_takes_filters_and_a_limit(url: str):
    """Both clients, the newest first; deleted ads only where the status asks for them."""
    with LalafoClient(url, key="") as client:
        assert client.frame(limit=1)["ad_id"].tolist() == ["3"]
        assert client.frame(limit=0)["ad_id"].tolist() == []
        assert client.frame(label="chair", day="2026-05-01")["ad_id"].tolist() == ["1"]
        assert client.frame(status="deleted")["ad_id"].tolist() == ["4"]
        assert client.frame(catalog="uz").columns.tolist() == client.frame().columns.tolist()

    async def by_asyncio() -> pd.DataFrame:
        async with AsyncLalafoClient(url, key="") as client:
            return await client.frame(limit=2)

    assert asyncio.run(by_asyncio())["ad_id"].tolist() == ["3", "2"]


def test_the_client_imports_without_pandas_and_says_what_a_frame_needs():
    """As in the gateway's image; nothing is requested first."""
    program = (
        "import sys; sys.modules['pandas'] = None\n"
        "from gateway.client import LalafoClient\n"
        "from ops.errors import ConfigurationError\n"
        "try: LalafoClient('http://127.0.0.1:9', key='').frame()\n"
        "except ConfigurationError as error: print(error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True
    )
    assert "pip install pandas" in done.stdout
