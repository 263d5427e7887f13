"""What is known of duplicates, and what a run of the finder reports of it."""

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import dagster as dg
import pytest

from lalafo_assets.assets.ad_duplicates import CHECK
from lalafo_assets.jobs.find_duplicates import Reports
from resources.dagster.names import AD_DUPLICATES
from resources.duplicates.figures import figures, groups_of_day, raised_on
from resources.duplicates.finder import Counts, Finder
from tests.support.duplicate_ads import Shop

Find = Callable[[], Finder]


def test_the_figures_follow_the_catalogue(shop: Shop, find: Find) -> None:
    """Pairs, groups and their ads; changes wait until they are looked at."""
    for ad_id, photo in (("1", "p1"), ("2", "p1"), ("3", "p2"), ("4", "p2"), ("5", "p1")):
        shop.put(ad_id, photo)
    assert figures(shop.database).waiting == 5
    find()
    found = figures(shop.database)
    assert (found.pairs, found.groups, found.grouped) == (4, 2, 5)
    assert (found.waiting, found.oldest_s, found.common_photos) == (0, 0, 0)
    photos = groups_of_day(shop.database, datetime.now(UTC).date(), groups=9, ads=2)
    captions = {caption.partition("\n")[2] for _, caption in photos}
    assert captions == {"1", "2", "3", "4"}
    assert {sha256 for sha256, _ in photos} == {shop.sha256("p1"), shop.sha256("p2")}


def test_photos_of_two_sellers_are_of_the_day(shop: Shop, find: Find) -> None:
    """Their number, and the latest ones."""
    for number in range(3):
        shop.put(f"{number}", "p1", seller=f"s-{number}")
    find()
    count, pairs = raised_on(shop.database, datetime.now(UTC).date(), pairs=2)
    assert (count, len(pairs)) == (3, 2)
    assert {(it.catalog, it.verdict) for it in pairs} == {("kg", "exact")}
    assert raised_on(shop.database, datetime(2020, 1, 1, tzinfo=UTC).date(), pairs=2) == (0, [])


@pytest.mark.parametrize("sellers", [("s-1", "s-1"), ("s-1", "s-2")])
def test_a_run_reports_what_it_has_found(
    shop: Shop,
    find: Find,
    sellers: tuple[str, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A materialization with a picture of the day's groups, and the check."""
    monkeypatch.setenv("LALAFO_HOME", str(tmp_path))
    for number, seller in enumerate(sellers):
        shop.put(f"{number}", "p1", seller=seller)
    find()

    @dg.op
    def work(context: dg.OpExecutionContext) -> None:
        reports = Reports(context, shop.database, shop.store, Counts())
        reports.report_if_due()  # nothing was looked at by this run
        reports.report()

    @dg.job
    def finder() -> None:
        work()

    result = finder.execute_in_process()
    (event,) = result.asset_materializations_for_node("work")
    assert event.asset_key == AD_DUPLICATES
    assert event.metadata["groups"].value == 1
    assert "data:image/jpeg" in str(event.metadata["latest_groups"].value)
    (check,) = result.get_asset_check_evaluations()
    assert (check.check_name, check.passed) == (CHECK, sellers[0] == sellers[1])
    assert check.severity == dg.AssetCheckSeverity.WARN
