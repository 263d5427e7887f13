"""`lalafo keys`: make, rotate, revoke and list the gateway's API keys.

Decides options and words; the rows are `gateway/edge/keys.py`'s. A key is printed once, alone on
standard output, so that it can be piped into whatever keeps secrets; words go to standard error.
"""

import re
from contextlib import closing
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from lalafo_assets.commands.console import DEFAULT_HOME, Home, new_console, open_database
from ops.errors import ConfigurationError

if TYPE_CHECKING:
    from gateway.edge.keys import ApiKey

UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}
TAKES_EFFECT = "A running gateway knows within 5 s."

keys = typer.Typer(
    help="API keys of the HTTP gateway: who may send, read, and give feedback.",
    no_args_is_help=True,
)

Name = Annotated[str, typer.Argument(help="Whose it is, such as `shop-backend`.")]


@keys.command("make")
def make_key(
    name: Name,
    scopes: Annotated[
        str,
        typer.Option(help="What it may: ingest, read, feedback, admin (which is all), by commas."),
    ] = "ingest,read,feedback",
    catalogs: Annotated[
        str | None, typer.Option(help="The catalogs that it may see, by commas; all if not given.")
    ] = None,
    rate: Annotated[
        float, typer.Option(min=0, help="Requests a second, for each gateway process; 0: no limit.")
    ] = 50.0,
    expires: Annotated[
        str | None, typer.Option(help="It ends after so long: 12h, 90d; never if not given.")
    ] = None,
    home: Home = DEFAULT_HOME,
) -> None:
    """Make a key and print it, this once: it can't be shown again.

    `lalafo keys make shop --scopes ingest,read --catalogs kg --rate 50 > shop.key`
    """
    from gateway.edge import keys as api_keys

    with closing(open_database(home)) as database:
        key = api_keys.make(
            database,
            name,
            scopes=_listed(scopes),
            catalogs=None if catalogs is None else _listed(catalogs),
            requests_per_s=rate,
            expires_at=None if expires is None else datetime.now(UTC) + duration(expires),
        )
    _say(f"the key {key.id} of {escape(name)}; keep it now, it is not shown again:")
    print(key.text)  # noqa: T201 - the result


@keys.command("rotate")
def rotate_key(
    name: Name,
    grace: Annotated[str, typer.Option(help="The old key goes on so long: 0s, 30m, 24h.")] = "24h",
    home: Home = DEFAULT_HOME,
) -> None:
    """Print a new key with the same rights; the old one ends after the grace time."""
    from gateway.edge import keys as api_keys

    pause = duration(grace)
    with closing(open_database(home)) as database:
        key = api_keys.rotate(database, name, grace=pause)
    end = datetime.now(UTC) + pause
    _say(
        f"the new key {key.id} of {escape(name)}; the old one ends at {end:%F %H:%M} UTC at the "
        "latest. Keep it now, it is not shown again:"
    )
    print(key.text)  # noqa: T201 - the result


@keys.command("revoke")
def revoke_key(
    name: Annotated[str, typer.Argument(help="A name: all its keys; or one key's id.")],
    home: Home = DEFAULT_HOME,
) -> None:
    """End keys now."""
    from gateway.edge import keys as api_keys

    with closing(open_database(home)) as database:
        ended = api_keys.revoke(database, name)
    for key in ended:
        _say(f"revoked {key.id} of {escape(key.name)}")
    _say(TAKES_EFFECT)


@keys.command("list")
def list_keys(
    home: Home = DEFAULT_HOME,
) -> None:
    """Every key: whose, what it may, and whether it is in use. Secrets are not stored."""
    from gateway.edge import keys as api_keys

    with closing(open_database(home)) as database:
        found = api_keys.keys(database)
    if not found:
        _say("there are no keys yet: `lalafo keys make NAME` makes one")
        return
    new_console().print(_table(found, datetime.now(UTC)))


def _table(found: "list[ApiKey]", now: datetime) -> Table:
    table = Table()
    for column in ("name", "id", "state", "scopes", "catalogs", "rate/s", "made", "ends", "used"):
        table.add_column(column, no_wrap=column != "catalogs")
    for key in found:
        table.add_row(
            Text(key.name),
            key.id,
            key.state(now),
            ", ".join(key.scopes),
            Text("all" if key.catalogs is None else ", ".join(key.catalogs)),
            "no limit" if key.requests_per_s == 0 else f"{key.requests_per_s:g}",
            _formatted(key.created_at),
            _formatted(key.expires_at),
            _formatted(key.last_used_at),
        )
    return table


def _formatted(moment: datetime | None) -> str:
    return "never" if moment is None else f"{moment.astimezone(UTC):%F %H:%M}"


def duration(text: str) -> timedelta:
    """A length of time such as 90s, 30m, 24h or 7d; ConfigurationError for anything else."""
    matched = re.fullmatch(r"(\d{1,6})([smhd])", text.strip())
    if matched is None:
        raise ConfigurationError(f"{text!r}: expected a length of time such as 90s, 30m, 24h, 7d")
    return timedelta(**{UNITS[matched[2]]: int(matched[1])})


def _listed(text: str) -> list[str]:
    return list(dict.fromkeys(part.strip() for part in text.split(",") if part.strip() != ""))


def _say(text: str) -> None:
    Console(stderr=True).print(text, highlight=False, soft_wrap=True)
