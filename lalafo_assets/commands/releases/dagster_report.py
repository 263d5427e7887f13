"""Reports of the commands to Dagster; without a configured DAGSTER_HOME nothing is reported."""

import os
from typing import TYPE_CHECKING

from lalafo_assets.commands.console import say
from ops.errors import LalafoError

if TYPE_CHECKING:
    from resources.postgres.database import Database
    from resources.releases.diff import ReleaseDiff
    from resources.releases.registry import RegisteredRelease
    from resources.rescoring.attempts import Rescore


def has_dagster() -> bool:
    """Return whether a Dagster instance is configured."""
    return os.environ.get("DAGSTER_HOME", "") != ""


def report_live(known: "RegisteredRelease") -> None:
    """Report a materialization of `model_release`, so that Dagster marks downstream as stale."""
    if not has_dagster():
        return
    import dagster as dg

    from lalafo_assets.reports.release import materialization
    from resources.settings import load_settings
    from resources.storage.releases import ReleaseStore

    try:
        manifest = ReleaseStore(load_settings().resolved_store_url).manifest(known.digest)
        with dg.DagsterInstance.get() as instance:
            instance.report_runless_asset_event(materialization(manifest, live=True))
    except (LalafoError, OSError) as error:
        say(f"Could not report to Dagster that {known.name} is live: {error}")


def report_diff(database: "Database", diff: "ReleaseDiff") -> None:
    """Report a materialization of `release_diff` with the comparison and its pictures."""
    if not has_dagster():
        return
    import dagster as dg

    from lalafo_assets.assets.release_diff import diff_metadata
    from resources.dagster.names import RELEASE_DIFF
    from resources.settings import load_settings
    from resources.storage.photos import PhotoStore

    try:
        store = PhotoStore(load_settings().resolved_store_url)
        event = dg.AssetMaterialization(RELEASE_DIFF, metadata=diff_metadata(database, store, diff))
        with dg.DagsterInstance.get() as instance:
            instance.report_runless_asset_event(event)
    except (LalafoError, OSError) as error:
        say(f"Could not report the comparison to Dagster: {error}")


def cancel_rescore(database: "Database", row: "Rescore") -> None:
    """Cancel a re-score and its backfill."""
    from resources.dagster.backfills import cancel

    if not has_dagster():
        cancel(None, database, row)
        return
    import dagster as dg

    with dg.DagsterInstance.get() as instance:
        cancel(instance, database, row)
