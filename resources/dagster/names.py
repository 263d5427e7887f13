"""Names that Dagster shows and that others rely on: assets, pools, groups, tags."""

from datetime import date

import dagster as dg

ADS_TOPIC = dg.AssetKey(["kafka", "ads"])
AD_PHOTOS = dg.AssetKey("ad_photos")
PHOTO_EMBEDDINGS = dg.AssetKey("photo_embeddings")
MODEL_RELEASE = dg.AssetKey("model_release")
RELEASE_SCORES = dg.AssetKey("release_scores")
RELEASE_DIFF = dg.AssetKey("release_diff")

POOL_STREAM = "gpu_stream"
POOL_BACKFILL = "gpu_backfill"

SESSION_JOB = "score_new_ads"
ROLE_TAG = "lalafo/role"
"""On a session's run: starting, live with its partitions, standby, leaving, ended, dead."""

CODE_TAG = "lalafo/code"
"""The code version that a session was started for: the sensor's, which alone decides."""

RELEASE_TAG = "lalafo/release"
"""On a run: the release that its assets score for; without it, the live one."""

RESCORE_TAG = "lalafo/rescore"
"""On a re-score's runs: its backfill. `dagster.yaml` limits how many of them run at once."""

FIRST_DAY = date(2026, 1, 1)
"""The first day partition. Kafka timestamps before it fall back to the time of receipt."""

OWNERS = ["team:photo-understanding"]
