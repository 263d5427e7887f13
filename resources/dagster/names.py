"""Names in Dagster that several modules use: assets, pools, jobs, tags."""

import dagster as dg

ADS_TOPIC = dg.AssetKey(["kafka", "ads"])
AD_PHOTOS = dg.AssetKey("ad_photos")
PHOTO_EMBEDDINGS = dg.AssetKey("photo_embeddings")
MODEL_RELEASE = dg.AssetKey("model_release")
RELEASE_SCORES = dg.AssetKey("release_scores")
RELEASE_DIFF = dg.AssetKey("release_diff")
CATALOGUE_EXPORT = dg.AssetKey("catalogue_export")
SIMILARITY_INDEX = dg.AssetKey("similarity_index")
AD_DUPLICATES = dg.AssetKey("ad_duplicates")

POOL_STREAM = "gpu_stream"
POOL_BACKFILL = "gpu_backfill"

SESSION_JOB = "score_new_ads"
INDEX_JOB = "index_vectors"
DUPLICATES_JOB = "find_duplicates"
ROLE_TAG = "lalafo/role"
"""On a session's run: starting, live with its partitions, standby, leaving, ended or dead."""

CODE_TAG = "lalafo/code"
"""On a session's run: the code version that the sensor started it for."""

RELEASE_TAG = "lalafo/release"
"""On a run: the release that its assets score for; without the tag, the live release. A session's
run gets it for people: the live release that it scores with."""

HOST_TAG, STREAM_TAG, METRICS_TAG = "lalafo/host", "lalafo/stream", "lalafo/metrics"
"""On a session's run: its machine, the id of the stream that it reads, its metrics' URL."""

RESCORE_TAG = "lalafo/rescore"
"""On a re-score's runs: the id of its backfill. `dagster.yaml` limits how many run at once."""

OWNERS = ["team:photo-understanding"]
