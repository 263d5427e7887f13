"""`lalafo similar`: the ads whose photos are most similar to an ad's, from the gateway.

Owns the table. `gateway/search/` answers.
"""

from typing import TYPE_CHECKING, Annotated

import typer

from lalafo_assets.commands.console import DEFAULT_HOME, Home, gateway_url, new_console
from lalafo_assets.commands.search.key import PATIENCE_S, Ad, Gateway, JsonOnly, split_key
from lalafo_assets.commands.terminal.help_pages import help_page
from lalafo_assets.commands.terminal.tables import Col, print_table

if TYPE_CHECKING:
    from gateway.schemas.similar import SimilarOut


@help_page(
    ("lalafo similar kg/1", "the ads most similar to this one"),
    ("lalafo similar kg/1 --limit 5 --other-sellers", "of other sellers"),
    ("lalafo similar kg/1 --category shoes --json | jq '.ads[0]'", "for programs"),
    reads="the gateway, GET /v1/ads/CATALOG/ID/similar",
    writes="nothing",
    settings=("gateway_url", "gateway_key"),
    failure="the ad has no vector, no index is ready, or no gateway is reachable",
)
def similar(
    ad: Ad,
    limit: Annotated[int, typer.Option(min=1, max=200, help="Maximum number of ads.")] = 20,
    category: Annotated[
        str | None, typer.Option(help="Only ads of this category, or one below it.")
    ] = None,
    seller: Annotated[str | None, typer.Option(help="Only ads of this seller.")] = None,
    other_sellers: Annotated[
        bool, typer.Option("--other-sellers", help="Leave out the ads of the ad's seller.")
    ] = False,
    min_similarity: Annotated[
        float, typer.Option(min=-1.0, max=1.0, help="The least similarity.")
    ] = -1.0,
    json_only: JsonOnly = False,
    gateway: Gateway = None,
    home: Home = DEFAULT_HOME,
) -> None:
    """Show the ads whose photos are most similar to those of an ad, the most similar first.

    Needs an index of vectors: with LALAFO_SIMILAR_ADS=true the stack keeps one.
    """
    from gateway.client import LalafoClient
    from resources.settings import load_settings

    catalog, ad_id = split_key(ad)
    url, key = gateway_url(home, gateway), load_settings().gateway_key
    with LalafoClient(url, key=key or None, patience_s=PATIENCE_S) as client:
        page = client.similar(
            *(catalog, ad_id),
            limit=limit,
            category=category,
            seller=seller,
            other_sellers=other_sellers,
            min_similarity=min_similarity,
        )
    if json_only:
        print(page.model_dump_json())  # noqa: T201 - the result
        return
    print_table(
        new_console(),
        ["ad", Col("similarity", "right"), "category", "price", Col("title", prose=True)],
        [_row(found) for found in page.ads],
    )


def _row(ad: "SimilarOut") -> list[str]:
    price = "" if ad.price is None else f"{ad.price} {ad.currency or ''}".strip()
    return [f"{ad.catalog}/{ad.ad_id}", f"{ad.similarity:.3f}", ad.category or "", price, ad.title]
