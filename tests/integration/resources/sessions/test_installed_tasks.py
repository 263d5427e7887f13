"""A task from an installed package: the files of docs/add-a-task.md, as they stand.

It is found in the release's manifest, in the stream's rows, in a re-score, in the API and in the
client, without a change to the project. A task that fails never fails an ad.
"""

import ast
import shlex
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest
from typer.testing import CliRunner

from gateway.client import LalafoClient
from lalafo_assets.cli import app
from ops.errors import ConfigurationError
from ops.models.release_files import assemble
from ops.models.task_head import TaskHead
from ops.tasks import all_tasks, task_by_name
from resources.catalogue.stale_photos import Catalogue
from resources.inference.batch_release import load_heads
from resources.postgres.database import Database
from resources.releases.active import read_active_releases
from resources.releases.registry import find_release
from resources.rescoring.embed_and_score import ScoreOptions, score_days
from resources.storage.photos import PhotoStore
from resources.storage.releases import ReleaseStore
from tests.support.document_plan import ADD_A_TASK, PLAN, Run
from tests.support.documents import blocks_of
from tests.support.gateway_live import live_gateway
from tests.support.live_session import Live, ad
from tests.support.odd_photos import jpeg, noisy
from tests.support.random_release import random_release
from tests.support.settings_environment import export
from tests.support.task_package import installed, write_package

STEPS = [step for step in PLAN if step.document == ADD_A_TASK and step.run is Run.TASK_PACKAGE]
FILE, COMMANDS, READ, CLIENT = (step.block.text for step in STEPS)

OLD = 24
"""Ads that were there before the package was installed."""

FIELDS = '''
from pydantic import Field
from ops.tasks import Answer, Inputs, Task

class Words(Answer):
    """The words of an ad's title."""

    words: list[str] = Field(description="The words.")
    price: str | None = Field(description="The price.")
    of: list[str] = Field(description="What other tasks and times say.")

def predict_ads(ads, head):
    if any("poison" in ad.fields.title for ad in ads):
        raise ValueError(ads[0].fields.title)
    return [
        Words(
            label=ad.fields.catalog,
            score=1,
            words=ad.fields.title.split(),
            price=None if ad.fields.price is None else f"{ad.fields.price:.2f}",
            of=[
                ad.answers["colours"].label,
                f"{ad.answers['category'].score:.6f}",
                ad.fields.occurred_at.isoformat(),
                ad.fields.received_at.isoformat(),
            ],
        )
        for ad in ads
    ]

TASK = Task(
    name="a_words",
    asset_name="ad_words",
    description="Words.",
    answer=Words,
    inputs=Inputs(fields=True, answers=("colours", "category")),
    predict_ads=predict_ads,
)
'''


@pytest.fixture
def packages(tmp_path: Path) -> Iterator[None]:
    """The tutorial's package, and one that reads fields and both other tasks' answers."""
    (project,) = (tomllib.loads(block.text) for block in blocks_of(ADD_A_TASK, "toml"))
    ((name, module),) = project["project"]["entry-points"]["lalafo.tasks"].items()
    assert project["tool"]["setuptools"]["py-modules"] == [module]
    folder = tmp_path / "packages"
    write_package(folder, project["project"]["name"], {module: FILE}, f"{name} = {module}")
    write_package(folder, "ad-words", {"ad_words": FIELDS}, "words = ad_words:TASK")
    with installed(folder, module, "ad_words"):
        order = ["category", "colours", "a_words"]
        assert [task.name for task in all_tasks() if task.name in order] == order
        yield


@pytest.fixture
def extended(packages: None, live: Live, monkeypatch: pytest.MonkeyPatch) -> Live:
    """A session's parts; the live release has the tasks, by the commands of the tutorial."""
    export(live.settings, monkeypatch)
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setenv("LALAFO_BACKGROUND_PRIORITY", "normal")  # the re-score is in this process
    monkeypatch.setenv("LALAFO_GATE_MIN_PHOTOS", "1")  # by default 20, and four times as many ads
    monkeypatch.delenv("DAGSTER_HOME", raising=False)
    # The gate judges by the categories of sellers.
    photos = [live.photo(f"old-{n}.jpg", jpeg(noisy(90, 70, 100 + n))) for n in range(OLD)]
    live.publish(
        *(
            ad(str(n), [photo], catalog="old", category=("chair", "lamp")[n % 2])
            for n, photo in enumerate(photos)
        )
    )
    live.drain()
    name = ""
    for line in COMMANDS.splitlines():
        words = [name if word == "colours" else word for word in shlex.split(line)][1:]
        words += ["--in-process"] if words[0] == "rescore" else []
        done = CliRunner().invoke(app, words)
        assert done.exit_code == 0, (words, done.output, done.exception)
        if words[-1] == "extend":
            name = done.output.split()[0]
    assert read_active_releases(live.database).live.name == name
    count = "SELECT count(*) FROM lalafo.predictions WHERE release = %s AND catalog = 'old' "
    count += "AND task IN ('category', 'colours', 'a_words')"
    assert live.rows(count, name) == [(3 * OLD,)]
    return live


def predictions(database: Database, task: str) -> list[tuple[Any, ...]]:
    with database.cursor() as cursor:
        cursor.execute(
            "SELECT ad_id, revision, label, round(score::numeric, 6), details "
            "FROM lalafo.predictions_with_details WHERE task = %s AND catalog = 'kg' "
            "AND release = (SELECT live FROM lalafo.active_releases) ORDER BY ad_id",
            (task,),
        )
        return cursor.fetchall()


def rescored(live: Live, task: str) -> int:
    """Score all days again in a task, from what is stored."""
    release = read_active_releases(live.database).live
    heads = load_heads(release, ReleaseStore(live.settings.resolved_store_url))
    days = [row[0] for row in live.rows("SELECT DISTINCT day FROM lalafo.ads")]
    return score_days(
        Catalogue(live.database, run_id="again"),
        heads,
        task_by_name(task),
        days,
        on_progress=lambda _: None,
        options=ScoreOptions(workers=1),
        store_url=live.settings.resolved_store_url,
    )


def test_a_package_of_someone_else_is_a_task(extended: Live) -> None:
    """In the manifest, the stream's rows, a re-score, the API and the client."""
    live = extended
    photos = [live.photo(f"{n}.jpg", jpeg(noisy(300 + n, 200, n))) for n in range(4)]
    live.publish(
        ad("1", photos[:3], title="red dress", price=12.5),
        ad("2", photos[3:], title="", price=None, currency=None),
        ad("3", [photos[0], photos[0]], title="платье"),
        ad("none", []),
    )
    total, _ = live.drain()
    assert (total.written, total.predictions, total.unaccounted) == (4, 9, 0)
    live.publish(ad("4", photos[1:2]))  # a photo that is stored already
    live.drain()
    manifest = find_release(live.database, read_active_releases(live.database).live.name).manifest
    assert (manifest["heads"]["a_words"], manifest["heads"]["colours"]) == ({}, {"shown": 3})
    streamed = {task: predictions(live.database, task) for task in ("colours", "a_words")}
    assert [row[0] for row in streamed["colours"]] == ["1", "2", "3", "4"]
    assert all(sum(s for _, s in row[4]["top"]) <= 1 for row in streamed["colours"])
    assert streamed["a_words"][0][4]["words"] == ["red", "dress"]
    assert streamed["a_words"][0][4]["price"] == "12.50"
    with live.database.cursor() as cursor:
        cursor.execute("DELETE FROM lalafo.predictions WHERE task <> 'category' AND catalog = 'kg'")
    assert [rescored(live, task) for task in ("colours", "a_words")] == [4, 4]
    assert {task: predictions(live.database, task) for task in streamed} == streamed
    assert [rescored(live, task) for task in ("colours", "a_words")] == [0, 0]
    check_api(live)


def check_api(live: Live) -> None:
    settings = live.settings.model_copy(update={"gateway_auth": "off"})
    with live_gateway(settings) as gateway:
        path = READ.rpartition("URL")[2].strip().strip('"')
        body = httpx.get(f"{gateway.url}{path}").raise_for_status().json()
        found = body["predictions"]["colours"]
        assert (found["task"], found["label"]) == ("colours", found["details"]["top"][0][0])
        schemas = httpx.get(f"{gateway.url}/v1/openapi.json").json()["components"]["schemas"]
        listed = schemas["AdOut"]["properties"]["predictions"]["properties"]
        assert {"a_words", "category", "colours"} <= set(listed)
        schema = schemas["Prediction_colours"]["properties"]
        assert schema["task"]["const"] == "colours"
        assert schema["details"]["properties"]["brightness"]["unit"] == "of 255"
        tasks = httpx.get(f"{gateway.url}/v1/tasks").raise_for_status().json()
        live_tasks = [one["name"] for one in tasks if one["live"]]
        assert {"a_words", "category", "colours"} <= set(live_tasks)
        assert "price" not in live_tasks
        space: dict[str, Any] = {}
        exec(compile(ast.parse(CLIENT), ADD_A_TASK, "exec"), space)
        with LalafoClient(gateway.url) as client:
            answer = space["dominant"](client, "kg", "1")
        assert answer.label == found["label"]
        assert answer.top == [tuple(pair) for pair in found["details"]["top"]]


def test_a_task_that_raises_fails_for_that_ad_alone(extended: Live) -> None:
    """In the stream and in a re-score: a row in `failures`, and no other row is missing."""
    live = extended
    photos = [live.photo(f"{n}.jpg", jpeg(noisy(90, 70, n))) for n in range(12)]
    live.publish(
        *(
            ad(str(n), [photos[n]], title="poison" if n in (3, 7) else "good")
            for n in range(len(photos))
        )
    )
    total, session = live.drain()
    assert (total.written, total.unaccounted) == (12, 0)
    assert sum(total.dead_letters.values()) == 0
    assert len(predictions(live.database, "category")) == 12
    assert len(predictions(live.database, "colours")) == 12
    assert {row[0] for row in predictions(live.database, "a_words")} == {
        str(n) for n in range(12) if n not in (3, 7)
    }
    release = read_active_releases(live.database).live.name
    query = "SELECT subject, reason, detail, ad_id FROM lalafo.failures WHERE kind = 'task'"
    failures = sorted(live.rows(query))
    assert [row[0] for row in failures] == [f"kg/{n}#a_words@{release}" for n in (3, 7)]
    assert all(row[1] == "internal_error" for row in failures)
    assert all("ValueError in ad_words" in row[2] and "poison" not in row[2] for row in failures)
    assert session.session.snapshot().internal_errors == {"task a_words": 2}
    assert rescored(live, "a_words") == 0
    assert len(live.rows(query)) == 2
    with live.database.cursor() as cursor:
        cursor.execute(
            "UPDATE lalafo.ads SET title = 'repaired' WHERE catalog = 'kg' AND ad_id = '3'"
        )
    assert rescored(live, "a_words") == 1
    assert [row[3] for row in live.rows(query)] == ["7"]
    live.publish(ad("7", [photos[7]], revision=2))
    live.drain()
    assert live.rows(query) == []


def test_a_lost_rendition_fails_the_ads_that_show_it(extended: Live) -> None:
    """A re-score of a task that reads pixels goes on with the others."""
    live = extended
    photos = [live.photo(f"{n}.jpg", jpeg(noisy(90, 70, n))) for n in range(3)]
    live.publish(*(ad(str(n), [photos[n]]) for n in range(3)))
    live.drain()
    ((lost,),) = live.rows(
        "SELECT p.rendition_sha256 FROM lalafo.photos AS p JOIN lalafo.ad_photos AS ap "
        "USING (sha256) WHERE ap.catalog = 'kg' AND ap.ad_id = '1'"
    )
    PhotoStore(live.settings.resolved_store_url).delete("renditions", lost)
    with live.database.cursor() as cursor:
        cursor.execute("DELETE FROM lalafo.predictions WHERE task = 'colours' AND catalog = 'kg'")
    assert rescored(live, "colours") == 2
    query = "SELECT ad_id, detail FROM lalafo.failures WHERE kind = 'task'"
    ((ad_id, detail),) = live.rows(query)
    assert ad_id == "1"
    assert "StoredObjectError" in detail


def test_a_live_release_with_a_task_that_is_not_installed(live: Live) -> None:
    """No session starts: its ads would have no such prediction, and no one would notice."""
    plain = random_release()
    live.make_live(
        assemble(
            backbone=plain.manifest.backbone,
            weights_source="random",
            preprocessing=plain.manifest.preprocessing,
            backbone_state=plain.backbone_state,
            heads={**plain.heads, "colours": TaskHead("colours", {}, {"shown": 3})},
            metrics={},
        )
    )
    with pytest.raises(ConfigurationError, match="not installed here: colours"):
        live.drain()


def test_psycopg_refuses_no_kind_of_failure_that_the_code_writes(database: Database) -> None:
    """The table's check knows every kind; another one is refused."""
    insert = (
        "INSERT INTO lalafo.failures (kind, subject, reason, detail, day, stream_id, topic, "
        'partition, "offset", run_id) '
        "VALUES (%s, 's', 'x', '', '2026-01-01', 's', 't', 0, 0, 'r')"
    )
    with database.cursor() as cursor:
        for kind in ("event", "photo", "stream", "task"):
            cursor.execute(insert, (kind,))
    with pytest.raises(psycopg.errors.CheckViolation), database.cursor() as cursor:
        cursor.execute(insert, ("other",))
