"""From labels in the catalogue to a candidate: freeze, train, judge, and report to Dagster."""

from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import dagster as dg
import pytest
from typer.testing import CliRunner

from lalafo_assets.definitions import defs
from lalafo_assets.jobs.asset_jobs import TRAIN_JOB
from ops.errors import ConfigurationError, NotReadyError
from ops.tasks import price
from ops.training.dataset import SplitRule
from ops.types import AdStatus
from resources.postgres.database import Database
from resources.releases.active import read_active_releases
from resources.releases.promotion import propose
from resources.settings import Settings
from resources.training.gate import check_release
from resources.training.train import Trained, TrainingOptions, freeze_training_set, train_release
from tests.support.labelled import (
    GOODS,
    Ad,
    Labelled,
    drawn,
    goods,
    guessing_release,
    sabotaged,
    saved_again,
    sha256,
)
from tests.support.random_release import random_release
from tests.support.settings_environment import export

GATE = ("gate_accuracy", "gate_recall", "gate_calibration", "gate_own_measures", "gate_cost")


def quiet(what: str, done: int, of: int) -> None:
    """Ignore progress."""


@pytest.fixture
def catalogue(database: Database, tmp_path: Path) -> Labelled:
    """Sixty ads of three categories with two photos each; the live release is random."""
    settings = Settings(
        home=tmp_path,
        database_url=database.url.render_as_string(),
        model_mode="eager",
        gate_min_photos=5,
    )
    filled = Labelled(database, settings)
    filled.make_live(guessing_release())
    filled.commit(goods(20))
    return filled


@pytest.fixture
def environment(catalogue: Labelled, monkeypatch: pytest.MonkeyPatch) -> Labelled:
    """The settings of `catalogue` as environment variables."""
    export(catalogue.settings, monkeypatch)
    return catalogue


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as ephemeral:
        yield ephemeral


def run_job(instance: dg.DagsterInstance, **config: object) -> dg.ExecuteInProcessResult:
    job = defs().get_repository_def().get_job(TRAIN_JOB)
    return job.execute_in_process(
        instance=instance,
        run_config={"ops": {"model_release": {"config": config}}},
        raise_on_error=False,
    )


def latest(instance: dg.DagsterInstance, asset: str) -> dict[str, object]:
    event = instance.get_latest_materialization_event(dg.AssetKey(asset))
    assert event is not None and event.asset_materialization is not None
    return {name: v.value for name, v in event.asset_materialization.metadata.items()}


def trained(catalogue: Labelled, **options: object) -> Trained:
    """Train a release on the current labels, and install it."""
    frozen = freeze_training_set(catalogue.database, catalogue.stores, catalogue.settings)
    result = train_release(
        catalogue.database,
        catalogue.stores,
        catalogue.settings,
        frozen.digest,
        TrainingOptions(**options),
        on_progress=quiet,
    )
    catalogue.install(result.made.release)
    return result


def check(catalogue: Labelled, name: str, **settings: object):
    changed = catalogue.settings.model_copy(update=settings)
    return check_release(catalogue.database, catalogue.stores, changed, name, on_progress=quiet)


def test_a_persons_label_wins_and_only_scored_ads_count(catalogue: Labelled) -> None:
    """A person's label replaces the seller's category; other tasks and ads are left out."""
    photos = (drawn("chair", 1), drawn("chair", 2))
    catalogue.commit(
        [
            Ad("misfiled", "lamp", photos),
            Ad("unfiled", None, (drawn("lamp", 3),)),
            Ad("silent", None, (drawn("lamp", 4),)),
            Ad("unscored", "lamp", (drawn("lamp", 5),), status=AdStatus.UNSCORED),
        ]
    )
    catalogue.correct("misfiled", "chair")
    catalogue.correct("unfiled", "lamp")
    catalogue.correct("chair-00", "cheap", task="no_such_task")
    frozen = freeze_training_set(catalogue.database, catalogue.stores, catalogue.settings)
    by_ad = {(e.photo.ad_id, e.photo.label, e.photo.source) for e in frozen.content.examples}
    assert ("misfiled", "chair", "person") in by_ad
    assert ("unfiled", "lamp", "person") in by_ad
    assert ("chair-00", "chair", "seller") in by_ad
    assert len(by_ad) == 62
    assert len(frozen.content.examples) == 123
    few = catalogue.settings.model_copy(update={"training_photos": 10})
    small = freeze_training_set(catalogue.database, catalogue.stores, few)
    assert len(small.content.examples) == 10
    assert {"misfiled", "unfiled"} < {e.photo.ad_id for e in small.content.examples}


def test_a_copy_of_a_photo_is_on_its_side(catalogue: Labelled) -> None:
    """Saved again by another seller, other bytes: one group, by the real embeddings."""
    originals = [drawn(category, 1_000 + n) for category in GOODS for n in range(4)]
    copies = [saved_again(photo) for photo in originals]
    catalogue.commit([Ad(f"copy-{n}", "lamp", (copy,)) for n, copy in enumerate(copies)])
    frozen = freeze_training_set(catalogue.database, catalogue.stores, catalogue.settings)
    group = {e.photo.sha256: e.group for e in frozen.content.examples}
    together = [
        group[sha256(a)] == group[sha256(b)] for a, b in zip(originals, copies, strict=True)
    ]
    assert sum(together) >= 10  # of twelve: similarity is not certain
    assert len(set(group.values())) > 40  # and different photos are in different groups


def test_train_and_gate_as_assets(environment: Labelled, instance: dg.DagsterInstance) -> None:
    """In Dagster: set, release, pictures, five passed checks, a verdict, and a candidate."""
    done = run_job(instance)
    assert done.success
    frozen, release = latest(instance, "training_set"), latest(instance, "model_release")
    assert frozen["photos"] == 120
    assert frozen["train"] + frozen["held_out"] == 120
    assert 10 < frozen["held_out"] < 45
    assert str(frozen["contact_sheet"]).startswith("![preview](data:")
    assert release["training_set"] == frozen["digest"]
    assert release["category_accuracy"] > 0.8
    for name in ("confusion_matrix", "scores", "worst_mistakes"):
        assert str(release[name]).startswith("![preview](data:")
    evaluations = {e.check_name: e for e in done.get_asset_check_evaluations()}
    assert set(evaluations) == set(GATE)
    assert all(e.passed and e.blocking for e in evaluations.values())
    ((gate,),) = environment.rows(
        "SELECT gate FROM lalafo.releases WHERE name = %s", release["name"]
    )
    assert gate["passed"] and gate["against"] == environment.live and gate["why"] == []
    assert gate["not_judged"] == []
    propose(environment.database, str(release["name"]))
    candidate = read_active_releases(environment.database).candidate
    assert candidate is not None and candidate.name == release["name"]


def test_a_check_that_judged_nothing_has_no_tick(
    environment: Labelled, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No category has enough held-out photos for its recall: a warning, and the run goes on."""
    monkeypatch.setenv("LALAFO_GATE_MIN_PHOTOS", "20")
    done = run_job(instance)
    assert done.success
    evaluations = {e.check_name: e for e in done.get_asset_check_evaluations()}
    assert [name for name, e in evaluations.items() if not e.passed] == ["gate_recall"]
    assert evaluations["gate_recall"].severity == dg.AssetCheckSeverity.WARN
    assert "not judged: each of 3 categories" in str(evaluations["gate_recall"].description)
    ((gate,),) = environment.rows(
        "SELECT gate FROM lalafo.releases WHERE name = %s",
        latest(instance, "model_release")["name"],
    )
    assert gate["passed"] and gate["not_judged"] == ["recall"]


def test_the_same_rows_give_the_same_release(
    environment: Labelled, instance: dg.DagsterInstance
) -> None:
    """A repeated run gives the same digests and writes nothing; another seed does not."""
    assert run_job(instance).success
    first = latest(instance, "training_set"), latest(instance, "model_release")
    assert run_job(instance).success
    again = latest(instance, "training_set"), latest(instance, "model_release")
    assert again[0]["digest"] == first[0]["digest"]
    assert again[1]["digest"] == first[1]["digest"]
    assert environment.rows("SELECT count(*) FROM lalafo.releases") == [(2,)]
    assert len(list((environment.settings.home / "store" / "training").glob("*.jsonl"))) == 1
    assert run_job(instance, seed=5).success
    assert latest(instance, "model_release")["digest"] != first[1]["digest"]


def test_a_refused_candidate_fails_its_run(
    environment: Labelled, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Beyond a margin the blocking check has the reason, the run fails, and `propose` refuses."""
    monkeypatch.setenv("LALAFO_GATE_MEMORY_FACTOR", "0.5")
    done = run_job(instance)
    assert not done.success
    refused = [e for e in done.get_asset_check_evaluations() if not e.passed]
    assert [e.check_name for e in refused] == ["gate_cost"]
    assert "more than 0.5 times as much" in str(refused[0].description)
    name = str(latest(instance, "model_release")["name"])
    with pytest.raises(NotReadyError, match="did not pass its gate: its weights take"):
        propose(environment.database, name)


def test_a_sabotaged_candidate_is_refused(catalogue: Labelled) -> None:
    """Against a good live release, confident wrong predictions fail, category by category."""
    good = trained(catalogue)
    catalogue.make_live(good.made.release)
    bad = catalogue.install(sabotaged(good.made.release))
    verdict = check(catalogue, bad)
    assert not verdict.passed
    assert {f.measure for f in verdict.findings if not f.passed} >= {"accuracy", "recall"}
    with pytest.raises(NotReadyError, match="accuracy of 'category' fell from"):
        propose(catalogue.database, bad)
    again = trained(catalogue, seed=3)
    name = again.made.release.manifest.name
    assert check(catalogue, name).passed
    propose(catalogue.database, name)


def test_a_release_from_elsewhere_is_judged_on_stored_photos(catalogue: Labelled) -> None:
    """With another backbone, renditions are embedded and the cost is measured; it is refused."""
    catalogue.make_live(trained(catalogue).made.release)
    foreign = catalogue.install(random_release(backbone_seed=4))
    verdict = check(catalogue, foreign)
    assert not verdict.passed
    figures = verdict.finding("cost").figures
    assert figures["latency_ms"] > 0 and figures["latency_ms (live)"] > 0
    assert any("is not known here" in note for note in verdict.notes)
    assert "recall of 'shoes' fell" in " ".join(verdict.why)  # its own label for them is "shoe"


def test_photos_of_the_live_release_s_training_are_left_out(catalogue: Labelled) -> None:
    """After another split only photos that neither was trained on remain; a note says so."""
    catalogue.make_live(trained(catalogue).made.release)
    other = freeze_training_set(
        catalogue.database, catalogue.stores, catalogue.settings, rule=SplitRule(seed=9)
    )
    made = train_release(
        catalogue.database,
        catalogue.stores,
        catalogue.settings,
        other.digest,
        TrainingOptions(),
        on_progress=quiet,
    )
    name = catalogue.install(made.made.release)
    verdict = check(catalogue, name)
    all_held_out = [e for e in other.content.examples if e.part == "held_out"]
    assert verdict.details["held_out"] < len(all_held_out)
    assert any("was trained on them" in note for note in verdict.notes)


def test_a_fine_tune_makes_another_backbone(catalogue: Labelled) -> None:
    """It is trained on renditions, has a training curve, and its photos are embedded again."""
    made = trained(catalogue, finetune=True, epochs=0.5)
    manifest = made.made.release.manifest
    assert len(made.made.losses) >= 1
    assert manifest.backbone_digest != guessing_release().manifest.backbone_digest
    assert "fine-tuned on training set" in manifest.weights_source
    assert manifest.metrics["photos_gone"] == 0
    # The gate compares it with the same backbone as it was, on the same photos.
    before = manifest.metrics["accuracy_before_tuning"]["category"]
    tuned = manifest.metrics["tasks"]["category"]["held_out"]["accuracy"]
    finding = check(catalogue, manifest.name).finding("accuracy")
    assert f"{tuned:.1%} fine-tuned, {before:.1%} before" in finding.message
    assert any("did not help" in reason for reason in finding.why) == (tuned <= before)


def test_the_first_release_has_nothing_to_beat(database: Database, tmp_path: Path) -> None:
    """If no release is live, it passes, and the verdict says so."""
    settings = Settings(home=tmp_path, database_url=database.url.render_as_string())
    empty = Labelled(database, settings)
    name = empty.install(guessing_release())
    verdict = check(empty, name)
    assert verdict.passed and verdict.against is None
    assert empty.rows("SELECT gate->>'passed' FROM lalafo.releases") == [("true",)]


def test_each_missing_input_has_its_error(database: Database, tmp_path: Path) -> None:
    """No live release, no labelled ad, no such set, an altered set: each has its message."""
    settings = Settings(home=tmp_path, database_url=database.url.render_as_string())
    empty = Labelled(database, settings)
    with pytest.raises(ConfigurationError, match="no release is live"):
        freeze_training_set(database, empty.stores, settings)
    empty.make_live(guessing_release())
    with pytest.raises(NotReadyError, match="no scored ad has a label"):
        freeze_training_set(database, empty.stores, settings)
    with pytest.raises(ConfigurationError, match="not in the store"):
        empty.stores.training.load("0" * 64)
    empty.commit(goods(1))
    frozen = freeze_training_set(database, empty.stores, settings)
    with pytest.raises(ConfigurationError, match="at least two categories"):
        train_release(
            database, empty.stores, settings, frozen.digest, TrainingOptions(), on_progress=quiet
        )
    (file,) = (tmp_path / "store" / "training").glob("*.jsonl")
    file.write_bytes(file.read_bytes().replace(b"chair", b"lamps"))
    with pytest.raises(ConfigurationError, match="damaged or altered"):
        empty.stores.training.load(frozen.digest)


def test_the_command_does_the_same_and_reports_to_dagster(
    environment: Labelled, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """`lalafo train` gives the digest of the asset's run, lineage in Dagster, and the next step."""
    from lalafo_assets.cli import app

    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))
    home = ["--home", str(environment.settings.home)]
    invoked = CliRunner().invoke(app, ["train", *home], catch_exceptions=False)
    assert invoked.exit_code == 0, invoked.output
    with dg.DagsterInstance.get() as instance:
        by_command = latest(instance, "model_release")
        keys = [dg.AssetCheckKey(dg.AssetKey("model_release"), name) for name in GATE]
        checked = instance.event_log_storage.get_asset_check_summary_records(keys)
        records = [record.last_check_execution_record for record in checked.values()]
        assert [r.status.value for r in records if r is not None] == ["SUCCEEDED"] * len(GATE)
        assert run_job(instance).success
        assert latest(instance, "model_release")["digest"] == by_command["digest"]
    assert f"lalafo rescore {by_command['name']}" in invoked.output
    monkeypatch.setenv("LALAFO_GATE_MEMORY_FACTOR", "0.5")
    short = str(by_command["digest"])[:10]
    refused = CliRunner().invoke(app, ["releases", "check", short, *home], catch_exceptions=False)
    assert refused.exit_code == 1
    assert "failed the gate" in refused.output


def priced(count: int) -> list[Ad]:
    """Chairs whose price follows from their age, a photo each; every fourth one is in dollars."""
    return [
        Ad(
            f"priced-{number:03}",
            "chair",
            (drawn("chair", 5_000 + number),),
            more={
                "price": Decimal(round(9_000 * 0.9 ** (number % 13)) + number % 7),
                "currency": "USD" if number % 4 == 0 else "KGS",
                "attributes": {"age": float(number % 13)},
            },
        )
        for number in range(count)
    ]


def test_prices_are_learned_where_a_currency_has_enough_ads(catalogue: Labelled) -> None:
    """From the attributes, by ads that are held out; the other tasks are trained as before."""
    catalogue.commit(priced(100))
    result = trained(catalogue)
    head = result.made.release.heads["price"]
    assert list(head.config["currencies"]) == ["KGS"]
    measures = result.made.release.manifest.metrics["tasks"]["price"]
    assert measures["fit"]["too_few"] == {"USD": measures["fit"]["too_few"]["USD"]}
    assert measures["held_out"]["count"] >= 10
    assert measures["held_out"]["mape"] < 0.1  # the ages alone give the price
    found = check(catalogue, result.made.release.manifest.name)
    finding = found.finding("own_measures")
    assert finding.judged and "price: mape" in finding.message
    catalogue.make_live(result.made.release)
    again = trained(catalogue, seed=1)
    assert again.made.release.manifest.metrics["tasks"]["price"]["held_out"]["mape"] < 0.1
    second = check(catalogue, again.made.release.manifest.name)
    assert "against" in second.finding("own_measures").message


def test_too_few_prices_are_named_and_the_live_head_stays(catalogue: Labelled) -> None:
    """The reason has the number; a release that has learned prices keeps them."""
    assert "needs 50 ads" in trained(catalogue).not_learned["price"]
    catalogue.commit(priced(100))
    taught = trained(catalogue).made.release
    catalogue.make_live(taught)
    with catalogue.database.cursor() as cursor:
        cursor.execute("UPDATE lalafo.ads SET price = NULL")
    later = trained(catalogue)
    assert "none has a price" in later.not_learned["price"]
    assert later.made.release.heads["price"].config == taught.heads["price"].config
    assert "price" in later.made.release.manifest.metrics["heads_kept"]
    assert price.NAME in later.made.release.manifest.tasks
