"""A head-only re-score: exact values, newer rows are never overwritten, and it may end anywhere."""

import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import psutil
import pytest
from psycopg import sql

from lalafo_assets.bench.rescore.fill import BACKBONE, DAYS, bench_release, fill, scored_partition
from ops.errors import CircuitOpenError, ConfigurationError, RetryableError
from ops.scoring.predictions import AdInput, predict_ads
from ops.tasks import Answers, Task, TopLabels, task_by_name
from ops.types import AdKey, EventKind, Prediction
from resources.catalogue.stale_photos import Catalogue
from resources.postgres.database import Database
from resources.releases.coverage import close_complete_days
from resources.releases.promotion import propose
from resources.releases.registry import find_release, write_verdict
from resources.rescoring.embed_and_score import ScoreOptions, ScoreProgress, score_days
from resources.sessions.commits.commit import Holder, ResultWriter
from tests.support.batches import batch, event, outcome
from tests.support.command_lines import command_line
from tests.support.release_steps import left_over
from tests.support.rescore_process import APPLICATION

LIVE, OTHER = bench_release(0), bench_release(1)
CATEGORY = task_by_name("category")
SMALL = ScoreOptions(chunk=40)
TWO = ScoreOptions(chunk=40, workers=2, worth_workers_ads=1)
Rows = dict[str, tuple]


def quiet(_: object) -> None:
    return None


@pytest.fixture
def filled(database: Database) -> Database:
    """400 ads of 1 to 4 photos, two releases, the first of them live."""
    assert fill(database, rows=1_000, photos_per_ad=2.5, on_progress=quiet) == 400
    return database


def score(database: Database, run: str = "r1", release=OTHER, task=CATEGORY, **more) -> int:
    more = {"on_progress": quiet, "options": SMALL, **more}
    return score_days(Catalogue(database, run_id=run), release, task, DAYS, **more)


def fetch(database: Database, query: str, *values: object) -> list[tuple]:
    with database.cursor() as cursor:
        cursor.execute(query, values)
        return cursor.fetchall()


def stored(database: Database, release=OTHER) -> Rows:
    """Every prediction of a release: its values, and `xmin`, which changes with each write."""
    rows = fetch(
        database,
        "SELECT ad_id, p.revision, p.label, p.score::float8, v.details, p.day, p.run_id, "
        "p.scored_at, p.xmin::text FROM lalafo.predictions AS p "
        "JOIN lalafo.predictions_with_details AS v USING (release, catalog, ad_id, task) "
        "WHERE release = %s",
        release.name,
    )
    return {row[0]: row[1:] for row in rows}


def values_of(rows: Rows) -> Rows:
    """The rows without run, time and `xmin`."""
    return {ad: row[:5] for ad, row in rows.items()}


def one_at_a_time(database: Database, release) -> Rows:
    """The stream's predictions of each ad alone, from the same vectors."""
    vectors_by_ad: dict[tuple, list] = {}
    for ad_id, day, _, vector in fetch(
        database,
        "SELECT ap.ad_id, a.day, ap.position, e.embedding::text FROM lalafo.ad_photos AS ap "
        "JOIN lalafo.ads AS a USING (catalog, ad_id) JOIN lalafo.embeddings AS e "
        "ON e.sha256 = ap.sha256 WHERE e.backbone = %s ORDER BY 1, 3",
        BACKBONE,
    ):
        vectors_by_ad.setdefault((ad_id, day), []).append(np.array(eval(vector), np.float16))
    return {
        ad: (1, prediction.label, prediction.score, prediction.details, day)
        for (ad, day), vectors in vectors_by_ad.items()
        for prediction in predict_ads(release, [CATEGORY], [AdInput(AdKey("kg", ad), vectors)])[
            0
        ].predictions
    }


@pytest.mark.parametrize("options", [SMALL, TWO], ids=["alone", "two"])
@pytest.mark.parametrize("release", [LIVE, OTHER], ids=["live", "other"])
def test_predictions_equal_the_streams(filled, release, options):
    """Each ad has the stream's prediction, once, under a live release and under another one."""
    seen: list[ScoreProgress] = []
    assert score(filled, release=release, options=options, progress=seen.append) == 400
    assert values_of(stored(filled, release)) == one_at_a_time(filled, release)
    assert (seen[-1].ads, seen[-1].photos) == (400, 1_000)
    assert score(filled, "r2", release=release, options=options) == 0


def test_arrays_and_objects_are_identical():
    """`predict_many` and `predict` return identical values, so a task may define either."""
    rng = np.random.default_rng(5)
    rows = rng.normal(size=(5_000, 576)).astype(np.float16) / 24
    owner = rng.integers(0, 2_000, 5_000).astype(np.int64)
    head = OTHER.heads["category"]
    plain = replace(CATEGORY, predict_many=None)
    fast, slow = (task.answers(rows, owner, 2_000, head) for task in (CATEGORY, plain))
    assert isinstance(fast, Answers)
    assert fast.ads.tolist() == slow.ads.tolist()
    assert [fast.labels[n] for n in fast.label] == [slow.labels[n] for n in slow.label]
    assert fast.score.tolist() == slow.score.tolist()
    assert isinstance(fast.details, TopLabels)
    texts = [
        json.dumps({"top": [[fast.labels[n], share] for n, share in zip(*top, strict=True)]})
        for top in zip(fast.details.labels.tolist(), fast.details.scores.tolist(), strict=True)
    ]
    assert texts == list(slow.details)


def odd_predict(embeddings, owner, n_ads, head):
    """Return values with characters that JSON and COPY must escape."""
    return [Prediction("category", 'a "шапка"\n', 0.5, {"ключ": ["\\", None, 1e-9]})] * n_ads


def test_a_task_of_one_function_is_enough(filled):
    """A task that defines only `predict` is scored too, and special characters are preserved."""
    odd = Task("category", "ad_odd", "Odd.", odd_predict)
    assert score(filled, task=odd) == 400
    assert {str(row[1:4]) for row in stored(filled).values()} == {
        str(('a "шапка"\n', 0.5, {"ключ": ["\\", None, 1e-9]}))
    }
    assert score(filled, task=replace(odd, name="unknown")) == 0


def poisoned_task(filled, ads: int) -> Task:
    """Raises an exception for a chunk with the first vector of one of these ads."""
    vectors = fetch(
        filled,
        "SELECT e.embedding::text FROM lalafo.ad_photos AS ap JOIN lalafo.embeddings AS e "
        "ON e.sha256 = ap.sha256 WHERE e.backbone = %s AND ap.position = 0 "
        "ORDER BY ap.ad_id LIMIT %s",
        *(BACKBONE, ads),
    )
    poison = {np.array(eval(vector), np.float16).tobytes() for (vector,) in vectors}

    def answers(embeddings, owner, n_ads, head):
        if any(np.ascontiguousarray(row).tobytes() in poison for row in embeddings):
            raise ZeroDivisionError("poison")
        return CATEGORY.answers(embeddings, owner, n_ads, head)

    return replace(CATEGORY, predict_many=answers)


def test_an_exception_for_one_ad_fails_that_ad_alone(filled):
    """It stays stale and is counted; all others have the stream's prediction."""
    seen: list[ScoreProgress] = []
    assert score(filled, task=poisoned_task(filled, 1), progress=seen.append) == 399
    assert (seen[-1].ads, seen[-1].photos, seen[-1].failed) == (399, 1_000, 1)
    expected = one_at_a_time(filled, OTHER)
    (failed,) = expected.keys() - stored(filled).keys()
    assert values_of(stored(filled)) == {ad: row for ad, row in expected.items() if ad != failed}
    assert score(filled, "r2") == 1
    assert values_of(stored(filled)) == expected


def test_an_exception_for_every_ad_ends_the_work(filled):
    """The ads are hardly at fault: not all of a day becomes failures."""
    with pytest.raises(CircuitOpenError, match="ZeroDivisionError"):
        score(filled, task=poisoned_task(filled, 400))
    assert stored(filled) == {}


def test_only_stale_ads_are_touched(filled):
    """An ad of a newer revision and one without prediction are scored; no other row changes."""
    score(filled)
    before = stored(filled)
    with filled.cursor() as cursor:
        cursor.execute("UPDATE lalafo.ads SET revision = 2 WHERE ad_id = '000000007'")
        cursor.execute("DELETE FROM lalafo.predictions WHERE ad_id = '000000009'")
        cursor.execute("UPDATE lalafo.ads SET status = 'received' WHERE ad_id = '000000011'")
        cursor.execute("DELETE FROM lalafo.predictions WHERE ad_id = '000000011'")
    assert score(filled, "r2") == 2
    after = stored(filled)
    changed = {ad for ad in after if after[ad] != before.get(ad)}
    assert changed == {"000000007", "000000009"}
    assert {after[ad][5] for ad in changed} == {"r2"}
    assert after["000000007"][0] == 2
    assert "000000011" not in after


def test_a_repeated_photo_counts_once(filled):
    """An ad with the same photo at two positions is scored as if it had it once."""
    expected = one_at_a_time(filled, OTHER)["000000003"]
    with filled.cursor() as cursor:
        cursor.execute(
            "INSERT INTO lalafo.ad_photos SELECT catalog, ad_id, 9, url, sha256, NULL, 1, 'r' "
            "FROM lalafo.ad_photos WHERE ad_id = '000000003' AND position = 1"
        )
    score(filled)
    assert values_of(stored(filled))["000000003"] == expected


def with_concurrent(action: Callable[[], object]) -> Task:
    """The category task, which runs an action once, after ads were read and before the write."""
    todo = [action]

    def predict_many(embeddings, owner, n_ads, head) -> Answers:
        while todo:
            todo.pop()()
        return CATEGORY.predict_many(embeddings, owner, n_ads, head)

    return replace(CATEGORY, predict_many=predict_many)


def commit(database: Database, ads: dict[str, int], *, deleted: str, both: bool) -> None:
    """Commit as a session does: ads at a revision, one of them deleted, for the active releases."""
    outcomes = []
    for ad, revision in ads.items():
        of = replace(event(ad, revision, photos=0 if ad == deleted else 1), key=AdKey("bench", ad))
        if ad == deleted:
            of = replace(of, kind=EventKind.DELETED)
        answer = (Prediction("category", "from the stream", 0.75, {}),)
        names = (LIVE.name, OTHER.name) if both else (LIVE.name,)
        predictions = {} if ad == deleted else dict.fromkeys(names, answer)
        outcomes.append(replace(outcome(of), predictions=predictions))
    whole = replace(batch(*outcomes, releases=names), partitions=frozenset(), next_offsets={})
    writer = ResultWriter(database, Holder("stream", "s", "ads", "ads.scored"))
    assert len(writer.commit(whole, {}).accepted) == len(ads)


def make_candidate(database: Database) -> None:
    verdict = {"passed": True, "against": LIVE.name, "why": []}
    write_verdict(database, OTHER.name, verdict)
    propose(database, OTHER.name)


@pytest.mark.parametrize("release", [LIVE, OTHER], ids=["live", "candidate"])
def test_a_newer_event_wins(filled, release):
    """Ads that are changed or deleted between the read and the write keep the commit's state."""
    make_candidate(filled)
    ads = {f"{n:09d}": 5 for n in (2, 3, 5)}
    task = with_concurrent(lambda: commit(filled, ads, deleted="000000003", both=True))
    score(filled, release=release, task=task)
    if release is LIVE:  # readers never see a superseded prediction
        assert left_over(filled, LIVE.name) == []
    states = close_complete_days(filled, find_release(filled, release.name), DAYS)
    rows = stored(filled, release)
    for ad in ("000000002", "000000005"):
        assert rows[ad][:2] == (5, "from the stream")
        assert rows[ad][5] == "stream"
    assert "000000003" not in rows
    assert len(rows) == 399
    assert sum(state.unscored for state in states) == 0


def test_a_conflict_replaces_older_rows_only(filled):
    """Rows written since the read stay if they are as new, and are replaced if they are older."""

    def write_some() -> None:
        with filled.cursor() as cursor:
            cursor.execute(
                "INSERT INTO lalafo.predictions SELECT %s, catalog, ad_id, 'category', "
                "CASE ad_id WHEN '000000001' THEN 0 WHEN '000000002' THEN 9 ELSE 1 END, day, "
                "'other', 0.5, '{}', 'other' FROM lalafo.ads WHERE ad_id < '000000004'",
                (OTHER.name,),
            )

    assert score(filled, task=with_concurrent(write_some)) == 397
    rows = stored(filled)
    assert len(rows) == 400
    assert {ad for ad, row in rows.items() if row[5] == "other"} == {
        *("000000000", "000000002", "000000003"),
    }
    assert rows["000000001"][0] == 1


def test_a_commit_has_priority(filled):
    """A chunk that needs a locked row is retried; the holder of the lock is never cancelled."""
    holder = filled.engine.raw_connection()
    with holder.cursor() as cursor:
        cursor.execute(
            sql.SQL(
                "INSERT INTO lalafo.{} SELECT %s, catalog, ad_id, 'category', 1, day, 'x', 0, "
                "'{{}}', 'x' FROM lalafo.ads WHERE ad_id = '000000006'"
            ).format(sql.Identifier(scored_partition())),
            (OTHER.name,),
        )
    timer = threading.Timer(0.8, holder.rollback)
    timer.start()
    assert score(filled) == 400
    timer.join()
    holder.close()
    assert stored(filled)["000000006"][5] == "r1"


def test_ends_between_chunks_and_continues_later(filled):
    """An error of `progress` ends it; committed chunks stay, and the next call scores the rest."""
    for options in (SMALL, TWO):
        with filled.cursor() as cursor:
            cursor.execute("DELETE FROM lalafo.predictions")

        def cancel(state: ScoreProgress) -> None:
            if state.ads >= 30:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            score(filled, progress=cancel, options=options)
        before = stored(filled)
        assert 30 <= len(before) < 400
        assert score(filled, "r2", options=options) == 400 - len(before)
        after = stored(filled)
        assert {ad: after[ad] for ad in before} == before


def test_chunks_are_bounded(filled):
    """No call of the task gets more photos than a chunk and one more ad; ads are never split."""
    sizes: list[int] = []

    def predict_many(embeddings, owner, n_ads, head) -> Answers:
        sizes.append(len(embeddings))
        assert owner[0] == 0
        assert owner[-1] == n_ads - 1
        return CATEGORY.predict_many(embeddings, owner, n_ads, head)

    task = replace(CATEGORY, predict_many=predict_many)
    assert score(filled, task=task, options=ScoreOptions(chunk=10)) == 400
    assert max(sizes) <= 10 + 4
    assert sum(sizes) == 1_000


def test_embeddings_of_another_length_are_refused(filled):
    """A vector of another dimension is an error with a clear message, from every worker."""
    with filled.cursor() as cursor:
        cursor.execute(
            "UPDATE lalafo.embeddings SET embedding = '[1,0,0]' WHERE sha256 = "
            "(SELECT sha256 FROM lalafo.ad_photos WHERE ad_id = '000000390' LIMIT 1)"
        )
    for options in (SMALL, TWO):
        with pytest.raises(ConfigurationError, match="576 dimensions"):
            score(filled, options=options)


def disconnected(database: Database) -> bool:
    """Whether no re-score has a connection any more, so that it can't commit any more."""
    count = fetch(
        database,
        "SELECT count(*) FROM pg_stat_activity WHERE application_name IN (%s, 'lalafo-rescore') "
        "AND datname = current_database()",
        APPLICATION,
    )
    return count == [(0,)]


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 90
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


@pytest.mark.parametrize(("workers", "kills"), [(1, 10), (2, 3)])
def test_killed_at_random_moments(filled, workers, kills):
    """kill -9, repeatedly: the rows equal those of an undisturbed pass, none committed twice."""
    score(filled, release=OTHER)
    expected = values_of(stored(filled))
    with filled.cursor() as cursor:
        cursor.execute("DELETE FROM lalafo.predictions")
    chance = random.Random(4)
    url = filled.url.render_as_string(hide_password=False)
    zygote = subprocess.Popen(
        [sys.executable, "-m", "tests.support.rescore_process", url, str(workers), "800"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    committed: Rows = {}
    partial = 0
    try:
        for number in range(kills + 1):
            zygote.stdin.write("\n")
            zygote.stdin.flush()
            pid = int(zygote.stdout.readline())
            if number < kills:
                if number == 0:  # one kill is certainly between two commits
                    wait_until(lambda: len(stored(filled)) > 0)
                else:
                    time.sleep(chance.uniform(0.0, 0.2) * (1 if workers == 1 else 3))
                os.kill(pid, signal.SIGKILL)
            status = int(zygote.stdout.readline())
            assert status == (-signal.SIGKILL if number < kills else 0)
            wait_until(lambda: disconnected(filled))
            now = stored(filled)
            assert {ad: now[ad] for ad in committed} == committed
            partial += len(committed) < len(now) < 400
            committed = now
    finally:
        zygote.stdin.close()
        zygote.wait()
        zygote.stdout.close()
    assert values_of(committed) == expected
    assert partial >= 1  # kills between two commits of a pass, not before or after it
    assert len({row[5] for row in committed.values()}) >= 2


def test_a_killed_worker_is_reported(filled):
    """Only the chunk of a killed worker is lost; the call raises, and can be repeated."""
    killed: list[int] = []

    def kill_one(_: ScoreProgress) -> None:
        for child in psutil.Process().children():
            if not killed and "resources.rescoring.worker" in command_line(child):
                child.kill()
                killed.append(child.pid)

    with pytest.raises(RetryableError, match="status -9"):
        score(filled, progress=kill_one, options=TWO)
    before = stored(filled)
    assert score(filled, "r2", options=TWO) == 400 - len(before)
    assert {ad: row for ad, row in stored(filled).items() if ad in before} == before
