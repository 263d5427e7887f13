"""Where things are found: paths below the gateway's own address, and pages of Dagster's UI.

Decides how a key becomes part of a path. A path is the same whoever asks, so answers may be kept.
"""

from urllib.parse import quote

from ops.types import AdKey


def ad_path(key: AdKey) -> str:
    """An ad's path; '/' in its id stays, since the route takes the rest of the path."""
    return f"/v1/ads/{quote(key.catalog, safe='')}/{quote(key.ad_id)}"


def ad_links(key: AdKey) -> dict[str, str]:
    """What `schemas.Links` holds."""
    path = ad_path(key)
    return {"self": path, "feedback": f"{path}/feedback"}


def run_prefix(dagster_url: str) -> str | None:
    """What a run's id is put behind to get its page in Dagster; None without Dagster's address."""
    return f"{dagster_url.rstrip('/')}/runs/" if dagster_url else None


def release_page(dagster_url: str) -> str | None:
    """Where Dagster shows the releases; None without Dagster's address."""
    return f"{dagster_url.rstrip('/')}/assets/model_release" if dagster_url else None
