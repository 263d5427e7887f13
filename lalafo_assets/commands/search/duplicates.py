"""`lalafo duplicates`: the ads that are the same as an ad, from the gateway.

Owns the table. `gateway/duplicates/` answers.
"""

from typing import TYPE_CHECKING, Annotated

import typer

from lalafo_assets.commands.console import (
    DEFAULT_HOME,
    AsJson,
    Gateway,
    Home,
    gateway_url,
    new_console,
)
from lalafo_assets.commands.search.key import PATIENCE_S, Ad, split_key
from lalafo_assets.commands.terminal.help_pages import help_page
from lalafo_assets.commands.terminal.tables import Col, print_table

if TYPE_CHECKING:
    from gateway.schemas.duplicates import DuplicateOut, DuplicatesPage

_STATES = {
    "decided": "No duplicate was found.",
    "waiting": "The ad was not compared yet: usually within a second of its commit.",
    "off": "Nobody looks for duplicates: set LALAFO_DUPLICATES=true.",
}


@help_page(
    ("lalafo duplicates kg/1", "the ads that are the same as this one"),
    ("lalafo duplicates kg/1 --json | jq '.duplicates[0].photos'", "which photos match where"),
    reads="the gateway, GET /v1/ads/CATALOG/ID/duplicates",
    writes="nothing",
    settings=("gateway_url", "gateway_key"),
    failure="the ad does not exist, or no gateway is reachable",
)
def duplicates(
    ad: Ad,
    limit: Annotated[int, typer.Option(min=1, max=200, help="Maximum number of ads.")] = 20,
    json_only: AsJson = False,
    gateway: Gateway = None,
    home: Home = DEFAULT_HOME,
) -> None:
    """Show the ads that are the same as an ad, the most probable first.

    Needs a finder of duplicates: with LALAFO_DUPLICATES=true the stack keeps one.
    """
    from gateway.client import LalafoClient
    from resources.settings import load_settings

    catalog, ad_id = split_key(ad)
    url, key = gateway_url(home, gateway), load_settings().gateway_key
    with LalafoClient(url, key=key or None, patience_s=PATIENCE_S) as client:
        page = client.duplicates(catalog, ad_id, limit=limit)
    if json_only:
        print(page.model_dump_json())  # noqa: T201 - the result
        return
    _show(page)


def _show(page: "DuplicatesPage") -> None:
    console = new_console()
    if not page.duplicates:
        console.print(_STATES[page.state])
        return
    print_table(
        console,
        ["ad", Col("probability", "right"), "photos", "seller", Col("how", prose=True)],
        [_row(found) for found in page.duplicates],
    )
    if page.group is not None:
        first = page.group.id
        console.print(f"group {first.catalog}/{first.ad_id}: {page.group.ads} ads")


def _row(found: "DuplicateOut") -> list[str]:
    photos = [it for it in found.photos if it.verdict == found.verdict]
    count = "" if found.verdict is None else f"{len(photos)} {found.verdict}"
    changes = dict.fromkeys(change for photo in photos for change in photo.changes)
    how = ["judged by a person"] if found.judged_by_person else []
    return [
        f"{found.catalog}/{found.ad_id}",
        f"{found.probability:.3f}",
        count.replace("_", " "),
        found.seller or "",
        ", ".join([*how, *changes]),
    ]
