"""`lalafo segments`: the goods in an ad's photos, and their cut-outs, from the gateway.

Owns the table and the files' names. `gateway/masks/` answers.
"""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

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
from ops.masks.cutout import CutOutFormat

if TYPE_CHECKING:
    from gateway.client import LalafoClient


@help_page(
    ("lalafo segments kg/1", "what was found in the photos of this ad"),
    ("lalafo segments kg/1 --cutouts out", "with a transparent background, as out/0.webp, …"),
    ("lalafo segments kg/1 --json | jq '.[0].counts'", "the masks, as COCO has them"),
    reads="the gateway, GET /v1/photos/SHA256/segments and …/cutout",
    writes="the cut-outs of --cutouts, else nothing",
    settings=("gateway_url", "gateway_key"),
    failure="the ad does not exist, or no gateway is reachable",
)
def segments(
    ad: Ad,
    cutouts: Annotated[
        Path | None,
        typer.Option(file_okay=False, help="A folder for the cut-outs, named by position."),
    ] = None,
    image_format: Annotated[
        CutOutFormat, typer.Option("--format", help="Of the cut-outs.")
    ] = "webp",
    trimmed: Annotated[
        bool, typer.Option("--trimmed", help="Crop the cut-outs to the goods.")
    ] = False,
    json_only: AsJson = False,
    gateway: Gateway = None,
    home: Home = DEFAULT_HOME,
) -> None:
    """Show the goods in the photos of an ad: their masks, and the photos cut out.

    Photos without a mask are left out: sessions find it within seconds of the ad.
    """
    from gateway.client import LalafoClient
    from resources.settings import load_settings

    catalog, ad_id = split_key(ad)
    url, key = gateway_url(home, gateway), load_settings().gateway_key
    with LalafoClient(url, key=key or None, patience_s=PATIENCE_S) as client:
        found = _found(client, catalog, ad_id)
        if cutouts is not None:
            cutouts.mkdir(parents=True, exist_ok=True)
            for photo in found:
                if photo["things"]:
                    file = cutouts / f"{photo['position']}.{image_format}"
                    file.write_bytes(
                        client.cutout(photo["sha256"], image_format=image_format, trimmed=trimmed)
                    )
    if json_only:
        print(json.dumps(found))  # noqa: T201 - the result
        return
    print_table(
        new_console(),
        [Col("photo", "right"), "label", Col("score", "right"), Col("area", "right"), "things"],
        [_row(photo) for photo in found],
    )


def _found(client: "LalafoClient", catalog: str, ad_id: str) -> list[dict[str, Any]]:
    from gateway.client import NotFound

    found = []
    for photo in client.get_ad(catalog, ad_id).photos:
        if photo.sha256 is None:
            continue
        try:
            answer = client.segments(photo.sha256).model_dump(mode="json")
        except NotFound:
            continue
        found.append({"position": photo.position, **answer})
    return found


def _row(photo: dict[str, Any]) -> list[str]:
    boxes = [f"{box[2]} x {box[3]}" for box in (thing["box"] for thing in photo["things"])]
    return [
        str(photo["position"]),
        photo["label"],
        f"{photo['score']:.2f}",
        f"{photo['area']:.0%}",
        ", ".join(boxes),
    ]
