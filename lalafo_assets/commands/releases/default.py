"""The release that a new stack gets: the one that ships with the package."""

from contextlib import suppress
from typing import TYPE_CHECKING

from lalafo_assets.commands.releases.dagster_report import report_live
from ops.errors import ConfigurationError

if TYPE_CHECKING:
    from resources.postgres.database import Database


def install_default_release(database: "Database") -> str | None:
    """Install the starter and make it live, unless a release is; takes a fraction of a second.

    Returns:
        The name of the release that is live now, or None if one was before.
    """
    from lalafo_assets.starter import load_starter
    from resources.inference.loading import install
    from resources.releases.active import read_active_releases
    from resources.releases.promotion import make_live
    from resources.settings import load_settings
    from resources.storage.releases import ReleaseStore

    with suppress(ConfigurationError):
        read_active_releases(database)
        return None
    known = install(database, ReleaseStore(load_settings().resolved_store_url), load_starter())
    make_live(database, known.name)
    report_live(known)
    return known.name
