"""Reports of the commands to Dagster; without a configured DAGSTER_HOME nothing is reported."""

import os
from pathlib import Path
from typing import TYPE_CHECKING

from lalafo_assets.commands.console import say
from ops.errors import ConfigurationError, LalafoError

if TYPE_CHECKING:
    from resources.postgres.database import Database
    from resources.releases.registry import RegisteredRelease
    from resources.rescoring.attempts import Rescore


def has_dagster() -> bool:
    """Return whether a Dagster instance is configured.

    Raises:
        ConfigurationError: DAGSTER_HOME is not a folder.
    """
    home = os.environ.get("DAGSTER_HOME", "")
    if home != "" and not Path(home).is_dir():
        raise ConfigurationError(
            f"DAGSTER_HOME={home}: there is no such folder. Create it with a dagster.yaml in it "
            "(docs/deployment.md), or unset the variable"
        )
    return home != ""


def report_live(known: "RegisteredRelease") -> None:
    """Report a materialization of `model_release`, so that Dagster marks downstream as stale."""
    import dagster as dg

    from lalafo_assets.reports.release import materialization
    from resources.settings import load_settings
    from resources.storage.releases import ReleaseStore

    try:
        if not has_dagster():
            return
        manifest = ReleaseStore(load_settings().resolved_store_url).manifest(known.digest)
        with dg.DagsterInstance.get() as instance:
            instance.report_runless_asset_event(materialization(manifest, live=True))
    except (LalafoError, OSError) as error:
        say(f"Could not report to Dagster that {known.name} is live: {error}")


def cancel_rescore(database: "Database", row: "Rescore") -> None:
    """Cancel a re-score and its backfill."""
    from resources.dagster.backfills import cancel

    if not has_dagster():
        cancel(None, database, row)
        return
    import dagster as dg

    with dg.DagsterInstance.get() as instance:
        cancel(instance, database, row)
