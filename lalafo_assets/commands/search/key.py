"""The argument CATALOG/ID of commands about one ad, and the option --gateway."""

from typing import Annotated

import typer

from ops.errors import ConfigurationError

PATIENCE_S = 5.0

Ad = Annotated[str, typer.Argument(metavar="CATALOG/ID", help="The ad.")]
JsonOnly = Annotated[
    bool, typer.Option("--json", help="Print one JSON document, the gateway's answer.")
]
Gateway = Annotated[
    str | None,
    typer.Option(
        metavar="URL",
        help="URL of the gateway. Default: LALAFO_GATEWAY_URL, otherwise the gateway of the "
        "running stack. The API key is read from LALAFO_GATEWAY_KEY.",
    ),
]


def split_key(ad: str) -> tuple[str, str]:
    """The catalog and the id; raises ConfigurationError if one of them is missing."""
    catalog, separator, ad_id = ad.partition("/")
    if separator == "" or ad_id == "":
        raise ConfigurationError(f"{ad!r} is not CATALOG/ID")
    return catalog, ad_id
