"""What commands tell Dagster, where one is configured (DAGSTER_HOME); else they do without."""

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
    """Whether a Dagster instance is configured."""
    return os.environ.get("DAGSTER_HOME", "") != ""


def report_live(known: "RegisteredRelease") -> None:
    """Materialise `model_release`, so that what is downstream shows that it changed."""
    if not has_dagster():
        return
    import dagster as dg

    from lalafo_assets.reports.release import materialisation
    from resources.settings import load_settings
    from resources.storage.releases import ReleaseStore

    try:
        manifest = ReleaseStore(load_settings().resolved_store_url).manifest(known.digest)
        with dg.DagsterInstance.get() as instance:
            instance.report_runless_asset_event(materialisation(manifest, live=True))
    except (LalafoError, OSError) as error:
        say(f"Dagster was not told that {known.name} is live: {error}")


def report_diff(database: "Database", found: "ReleaseDiff") -> None:
    """Materialise `release_diff` with what was just told, and its pictures."""
    if not has_dagster():
        return
    import dagster as dg

    from lalafo_assets.assets.release_diff import diff_metadata
    from resources.dagster.names import RELEASE_DIFF
    from resources.settings import load_settings
    from resources.storage.photos import PhotoStore

    try:
        store = PhotoStore(load_settings().resolved_store_url)
        made = dg.AssetMaterialization(RELEASE_DIFF, metadata=diff_metadata(database, store, found))
        with dg.DagsterInstance.get() as instance:
            instance.report_runless_asset_event(made)
    except (LalafoError, OSError) as error:
        say(f"Dagster was not told what would change: {error}")


def cancel_rescore(database: "Database", row: "Rescore") -> None:
    """End an attempt, with its backfill."""
    from resources.dagster.backfills import cancel

    if not has_dagster():
        cancel(None, database, row)
        return
    import dagster as dg

    with dg.DagsterInstance.get() as instance:
        cancel(instance, database, row)
