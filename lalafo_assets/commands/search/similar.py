"""`lalafo similar`: the ads whose photos are most similar to an ad's, or to a photo.

Owns the table. `gateway/search/` answers.
"""

from pathlib import Path
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
from lalafo_assets.commands.search.key import PATIENCE_S, split_key
from lalafo_assets.commands.terminal.help_pages import help_page
from lalafo_assets.commands.terminal.tables import Col, print_table
from ops.errors import ConfigurationError

if TYPE_CHECKING:
    from gateway.client.filters import SimilarFilters
    from gateway.schemas.similar import SimilarOut


@help_page(
    ("lalafo similar kg/1", "the ads most similar to this one"),
    ("lalafo similar kg/1 --limit 5 --other-sellers", "of other sellers"),
    ("lalafo similar kg/1 --category shoes --json | jq '.ads[0]'", "for programs"),
    ("lalafo similar --photo chair.jpg", "like a photo that no ad has; or its address"),
    reads="the gateway, GET /v1/ads/CATALOG/ID/similar or POST /v1/search",
    writes="nothing; a photo of --photo is uploaded",
    settings=("gateway_url", "gateway_key"),
    failure="the ad has no vector, no index is ready, or no gateway is reachable",
)
def similar(
    ad: Annotated[str | None, typer.Argument(metavar="[CATALOG/ID]", help="The ad.")] = None,
    photo: Annotated[
        str | None,
        typer.Option(metavar="FILE|URL", help="A photo to search by, instead of an ad."),
    ] = None,
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
    json_only: AsJson = False,
    gateway: Gateway = None,
    home: Home = DEFAULT_HOME,
) -> None:
    """Show the ads whose photos are most similar to those of an ad, or to a photo, the most
    similar first.

    Needs an index of vectors: with LALAFO_SIMILAR_ADS=true the stack keeps one.
    """
    from gateway.client import LalafoClient
    from resources.settings import load_settings

    if (ad is None) == (photo is None):
        raise typer.BadParameter("expected either CATALOG/ID or --photo")
    filters: SimilarFilters = {
        "category": category,
        "seller": seller,
        "other_sellers": other_sellers,
        "min_similarity": min_similarity,
    }
    url, key = gateway_url(home, gateway), load_settings().gateway_key
    with LalafoClient(url, key=key or None, patience_s=PATIENCE_S) as client:
        if photo is None:
            page = client.similar(*split_key(ad or ""), limit=limit, **filters)
        elif photo.startswith(("http://", "https://")):
            page = client.search({"url": photo, "limit": limit, **filters})
        else:
            page = client.search_by_photo(_read(Path(photo)), limit=limit, **filters)
    if json_only:
        print(page.model_dump_json())  # noqa: T201 - the result
        return
    print_table(
        new_console(),
        ["ad", Col("similarity", "right"), "category", "price", Col("title", prose=True)],
        [_row(found) for found in page.ads],
    )


def _read(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise ConfigurationError(f"--photo {file}: {error.strerror}") from error


def _row(ad: "SimilarOut") -> list[str]:
    price = "" if ad.price is None else f"{ad.price} {ad.currency or ''}".strip()
    return [f"{ad.catalog}/{ad.ad_id}", f"{ad.similarity:.3f}", ad.category or "", price, ad.title]
