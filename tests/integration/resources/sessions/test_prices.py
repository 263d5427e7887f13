"""Prices in the stream, in a re-score and over HTTP: attributes arrive, and all agree."""

from dataclasses import replace
from typing import Any

import httpx
import numpy as np

from lalafo_assets.bench.all_tasks.priced_ads import generated_ads
from ops.models.release import Release
from ops.models.release_files import assemble
from ops.tasks import price, task_by_name
from resources.catalogue.stale_photos import Catalogue
from resources.inference.batch_release import load_heads
from resources.releases.active import read_active_releases
from resources.rescoring.embed_and_score import ScoreOptions, score_days
from resources.storage.releases import ReleaseStore
from tests.support.gateway_live import live_gateway
from tests.support.live_session import Live, ad
from tests.support.odd_photos import jpeg, noisy

CHAIR = {"category": "furniture/chairs", "title": "chairs, good", "currency": "KGS"}


def with_prices(release: Release) -> Release:
    """The release with a head that was fitted to generated ads of its embeddings' length."""
    rng = np.random.default_rng(0)
    ads = [
        replace(it, embeddings=rng.normal(size=(1, release.manifest.dimension)).astype(np.float16))
        for it in generated_ads(300, seed=1)
    ]
    head, _ = price.fit_ads(ads, groups=[str(n) for n in range(len(ads))])
    return assemble(
        backbone=release.manifest.backbone,
        weights_source=release.manifest.weights_source,
        preprocessing=release.manifest.preprocessing,
        backbone_state=release.backbone_state,
        heads={**release.heads, "price": head},
        metrics={},
    )


def prices(live: Live) -> list[tuple[Any, ...]]:
    return live.rows(
        "SELECT ad_id, label, round(score::numeric, 6), details "
        "FROM lalafo.predictions_with_details WHERE task = 'price' ORDER BY ad_id"
    )


def test_the_stream_a_rescore_and_the_api_agree(live: Live) -> None:
    """On odd ads too; a refused one is a dead letter, and none is lost."""
    release = read_active_releases(live.database).live
    store = ReleaseStore(live.settings.resolved_store_url)
    live.make_live(with_prices(store.load(release.digest)))
    photos = [live.photo(f"{n}.jpg", jpeg(noisy(90, 70, n))) for n in range(4)]
    live.publish(
        ad("1", photos[:3], **CHAIR, price=5_000, attributes={"width_cm": 60, "year": 2024}),
        ad("2", photos[3:], **CHAIR, price=None, attributes={"year": 2001, "unknown": -1e9}),
        ad("3", photos[:1], **CHAIR | {"currency": "¤"}, attributes=None),
        ad("4", photos[:1], **CHAIR, price=0, attributes={}),
        ad("5", [], **CHAIR),
        ad("6", photos[:1], **CHAIR, attributes={"year": "new"}),
        ad("7", photos[:1], **CHAIR, attributes={f"a{n}": n for n in range(10_000)}),
        ad("8", photos[:1], **CHAIR, price=1e30),
        ad("9", photos[:1], category=None, title="", currency="KGS"),
    )
    total, _ = live.drain()
    assert (total.written, total.unaccounted) == (6, 0)
    assert dict(total.dead_letters) == {"event_wrong_type": 2, "event_too_many_attributes": 1}
    streamed = prices(live)
    assert [(row[0], row[3]["reason"]) for row in streamed] == [
        ("1", None),
        ("2", "no_price"),
        ("3", "unknown_currency"),
        ("4", "price_not_positive"),
        ("9", streamed[4][3]["reason"]),  # by the photos' category, which the head does not know
    ]
    stored = live.rows("SELECT ad_id, attributes FROM lalafo.ads WHERE attributes IS NOT NULL")
    assert sorted(stored) == [
        ("1", {"width_cm": 60.0, "year": 2024.0}),
        ("2", {"year": 2001.0, "unknown": -1e9}),
    ]
    with live.database.cursor() as cursor:
        cursor.execute("DELETE FROM lalafo.predictions WHERE task = 'price'")
    now = read_active_releases(live.database).live
    written = score_days(
        Catalogue(live.database, run_id="again"),
        load_heads(now, store),
        task_by_name("price"),
        [row[0] for row in live.rows("SELECT DISTINCT day FROM lalafo.ads")],
        on_progress=lambda _: None,
        options=ScoreOptions(workers=1),
        store_url=live.settings.resolved_store_url,
    )
    assert written == 5
    assert prices(live) == streamed
    with live_gateway(live.settings.model_copy(update={"gateway_auth": "off"})) as gateway:
        body = httpx.get(f"{gateway.url}/v1/ads/kg/1").raise_for_status().json()
    assert body["attributes"] == {"width_cm": 60.0, "year": 2024.0}
    assert body["predictions"]["price"]["details"] == streamed[0][3]
