"""The argument CATALOG/ID of commands about one ad."""

from typing import Annotated

import typer

from ops.errors import ConfigurationError

PATIENCE_S = 5.0

Ad = Annotated[str, typer.Argument(metavar="CATALOG/ID", help="The ad.")]


def split_key(ad: str) -> tuple[str, str]:
    """The catalog and the id; raises ConfigurationError if one of them is missing."""
    catalog, separator, ad_id = ad.partition("/")
    if separator == "" or ad_id == "":
        raise ConfigurationError(f"{ad!r} is not CATALOG/ID")
    return catalog, ad_id
