"""Links in responses: paths below the gateway's address, and pages of Dagster's UI.

Owns how an ad's key is encoded in a path. Paths do not depend on the caller, so responses can be
cached.
"""

from urllib.parse import quote

from ops.types import AdKey


def ad_path(key: AdKey) -> str:
    """The path of an ad.

    A '/' in its id is not encoded, since the route takes the whole rest, unless a proxy or a client
    would change the path: they merge empty segments and resolve `.` and `..`.
    """
    plain = not {"", ".", ".."} & set(key.ad_id.split("/"))
    return f"/v1/ads/{quote(key.catalog, safe='')}/{quote(key.ad_id, safe='/' if plain else '')}"


def ad_links(key: AdKey) -> dict[str, str]:
    """The fields of `schemas.ads.Links`."""
    path = ad_path(key)
    return {"self": path, "feedback": f"{path}/feedback"}


def run_prefix(dagster_url: str) -> str | None:
    """The prefix of a run's page in Dagster's UI, before the run id; None without a Dagster URL."""
    return f"{dagster_url.rstrip('/')}/runs/" if dagster_url else None


def release_page(dagster_url: str) -> str | None:
    """The page of the releases in Dagster's UI; None without a Dagster URL."""
    return f"{dagster_url.rstrip('/')}/assets/model_release" if dagster_url else None
