"""A session's metadata: what people see first, and how much of the event log it takes."""

from collections import Counter
from datetime import date

import dagster as dg
import numpy as np
import pytest

from lalafo_assets.reports.metadata import Metadata
from lalafo_assets.reports.pictures import embedded, linked
from lalafo_assets.session.pictures import DayCheck, Drawn
from lalafo_assets.session.reports import day_metadata, embedding_events, report_events
from ops.pictures.previews import bars, confusion_matrix, contact_sheet
from ops.session.tally import Tally
from resources.catalogue.checks import PHOTOS_CHECK, Finding
from resources.dagster.names import AD_PHOTOS
from tests.support.odd_photos import jpeg, noisy

DAY = "2026-11-28"
INLINE_CHARS = 1_000
"""Dagster's UI (1.13) shows shorter Markdown inline, and longer one in a dialog."""

URL = (
    "https://photos.shop.example/lalafo/v1/reports/52fa6e1e-16df-4fda-b540-34b69ed35586/"
    f"{DAY}-ad_categories-confusion_matrix.png"
)


def tally() -> Tally:
    return Tally(
        written=3, photos=7, embedded=6, predictions=3, days=Counter({date.fromisoformat(DAY): 3})
    )


def pictures() -> dict[tuple[str, str], Metadata]:
    titles = {
        "ad_photos": ("contact_sheet", "failures"),
        "ad_categories": ("labels", "scores", "confusion_matrix"),
    }
    return {(a, DAY): {t: linked(t, URL) for t in found} for a, found in titles.items()}


def test_a_linked_picture_is_shown_inline() -> None:
    """And a click on it opens the picture itself."""
    shown = linked("confusion_matrix", URL).value
    assert shown == f"[![confusion_matrix]({URL})]({URL})"
    assert len(shown) < INLINE_CHARS


@pytest.mark.parametrize(
    "image",
    [
        contact_sheet([(jpeg(noisy(300, 300, n)), f"label {n}") for n in range(25)]),
        bars({f"label {n}": n for n in range(29)}, title="Ads by label"),
        confusion_matrix(np.ones((24, 24), np.int64), [f"l {n}" for n in range(24)], title="All"),
    ],
    ids=["photos", "bars", "matrix"],
)
def test_an_embedded_picture_is_small(image: bytes) -> None:
    """At most 20 KB of the event log each, also of 25 photos of noise."""
    shown = embedded(image).value
    assert shown is not None and shown.startswith("![preview](data:image/")
    assert len(shown) <= 20_000


def test_a_day_shows_its_pictures_first_and_links_to_its_ads() -> None:
    finding = Finding(passed=True, description="", figures={"named": 70})
    drawn = Drawn(days={DAY: 3}, checks=[DayCheck("ad_photos", PHOTOS_CHECK, DAY, finding)])
    link = dg.MetadataValue.url(f"http://127.0.0.1:8080/#/ads?day={DAY}")
    found = {
        key.to_user_string(): metadata
        for key, day, metadata in day_metadata(
            tally(), drawn, pictures=pictures(), links={DAY: {"ads_on_the_page": link}}
        )
        if day == DAY
    }
    assert list(found) == ["ad_photos", "photo_embeddings", "ad_categories"]
    assert list(found["ad_photos"])[:3] == [
        *("contact_sheet", "failures"),
        "dagster/partition_row_count",
    ]
    assert found["ad_photos"]["dagster/partition_row_count"].value == 70
    assert list(found["ad_categories"])[:3] == ["labels", "scores", "confusion_matrix"]
    assert all(metadata["ads_on_the_page"] == link for metadata in found.values())


def test_reports_between_two_drawings_show_one_picture() -> None:
    """They are observations: a materialization would make the checks' results obsolete."""
    (photos,) = report_events(tally(), over_s=10, pictures=pictures())
    assert isinstance(photos, dg.AssetObservation) and photos.asset_key == AD_PHOTOS
    assert [t for t in photos.metadata if t in ("contact_sheet", "failures")] == ["contact_sheet"]
    embeddings, categories = embedding_events(tally(), pictures=pictures())
    assert list(categories.metadata) == ["labels", "predictions", "top_labels"]
    assert list(embeddings.metadata) == ["photos_embedded"]
