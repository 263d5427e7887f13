"""Ads with the answers of every kind of task, for tests of the page."""

import json
from typing import Any

import httpx
import numpy as np
from psycopg.types.json import Jsonb

from lalafo_assets.synthetic.photos import render
from ops.tasks import Ad
from ops.tasks.contract.answer import as_prediction
from tests.support.document_plan import ADD_A_TASK, PLAN, Run
from tests.support.page_stand import Stand

CATALOG = "judged"
PRICE = {
    **{"low": 9000.0, "middle": 12500.0, "high": 16000.0, "currency": "KGS", "share": 0.8},
    **{"asked": 19000.0, "position": "above", "reason": None, "by": "furniture"},
}
PATH = "Packages/Milk/Arla-Ecological-Medium-Fat-Milk"


def put_judged_ad(stand: Stand, ad_id: str = "1", *, blocked: int | None = 1) -> list[str]:
    """An ad with three photos, scored by the session, and the answers of further tasks.

    Args:
        blocked: the position of the photo that moderation blocks; None: none.

    Returns:
        The SHA-256 of the photos, in their order. The last one is the best.
    """
    form = {"catalog": CATALOG, "ad_id": ad_id, "title": "An armchair", "category": "sofa"}
    form |= {"price": "19000", "currency": "KGS"}
    seeds = [40 + 10 * int(ad_id) + position for position in range(3)]
    files = [
        ("photo", (f"{seed}.jpg", render(("chair", "lamp", "sofa")[n], seed).data, "image/jpeg"))
        for n, seed in enumerate(seeds)
    ]
    with stand.client() as client:
        answer: httpx.Response = client.post(
            "/v1/ads", params={"wait": 20}, data={"ad": json.dumps(form)}, files=files
        )
        assert answer.status_code == 200, answer.text
        photos = [photo["sha256"] for photo in answer.json()["photos"]]
    verdicts = ["block" if n == blocked else "allow" for n in range(len(photos))]
    rated = [
        {"sha256": sha, "position": n, "quality": (0.41, 0.35, 0.93)[n], "flags": flags}
        for n, (sha, flags) in enumerate(zip(photos, (["dark"], ["blurred"], []), strict=True))
    ]
    moderated = [
        {"sha256": sha, "position": n, "verdict": verdict, "nudity": 0.97 if n == blocked else 0.01}
        for n, (sha, verdict) in enumerate(zip(photos, verdicts, strict=True))
    ]
    quality = {"quality": 0.93, "best": rated[2], "flags": ["dark", "blurred"], "photos": rated}
    worst = max(moderated, key=lambda photo: photo["nudity"])
    moderation = {"nudity": worst["nudity"], "photos": moderated}
    write_answer(stand, ad_id, "price", "above", 0.8, PRICE)
    write_answer(stand, ad_id, "quality", "good", 0.93, quality)
    write_answer(stand, ad_id, "moderation", worst["verdict"], worst["nudity"], moderation)
    colours = colours_of(stand)
    write_answer(stand, ad_id, "colours", colours.label, colours.score, colours.details)
    return photos


def colours_of(stand: Stand) -> Any:
    """What the task of docs/add-a-task.md answers for an ad with one photo, as a row."""
    step = next(it for it in PLAN if it.document == ADD_A_TASK and it.run is Run.TASK_PACKAGE)
    module: dict[str, Any] = {"__name__": "ad_colours"}
    exec(compile(step.block.text, "ad_colours.py", "exec"), module)  # the document's
    pixels = np.zeros((1, 64, 64, 3), np.uint8)
    pixels[:, :40] = (200, 30, 30)
    task = module["TASK"]
    head = type("Head", (), {"config": dict(task.config)})()
    (found,) = task.predict_ads([Ad(pixels=pixels)], head)
    return as_prediction(task.name, found)


def write_answer(
    stand: Stand, ad_id: str, task: str, label: str, score: float, details: dict[str, Any]
) -> None:
    """Write an answer of the live release for the committed revision, or replace it."""
    with stand.database.cursor() as cursor:
        cursor.execute(
            "INSERT INTO lalafo.predictions (release, catalog, ad_id, task, revision, day, label, "
            "score, details, run_id) SELECT f.live, a.catalog, a.ad_id, %s, a.revision, a.day, %s, "
            "%s, %s, 'run-page' FROM lalafo.ads AS a, lalafo.active_releases AS f "
            "WHERE a.catalog = %s AND a.ad_id = %s ON CONFLICT (release, catalog, ad_id, task) "
            "DO UPDATE SET label = excluded.label, score = excluded.score, "
            "details = excluded.details, top_labels = NULL",
            (task, label, score, Jsonb(details), CATALOG, ad_id),
        )
