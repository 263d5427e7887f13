"""`lalafo keys`: make, rotate, revoke and list the gateway's API keys.

Owns the options; `gateway/edge/keys.py` owns the rows. A key is printed once and is alone on
standard output, so that it can be piped into a secret store; messages go to standard error.
"""

import re
from contextlib import closing
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from lalafo_assets.commands.console import (
    DEFAULT_HOME,
    AsJson,
    Home,
    new_console,
    open_database,
    print_json,
)
from lalafo_assets.commands.terminal.help_pages import LalafoCommand, LalafoGroup, help_page
from lalafo_assets.commands.terminal.tables import Col, print_table

if TYPE_CHECKING:
    from gateway.edge.keys import ApiKey

UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}
TAKES_EFFECT = "This takes effect in a running gateway within 5 s."

keys = typer.Typer(
    cls=LalafoGroup,
    help="Manage the API keys of the HTTP gateway: who may send ads, read, and give feedback.",
    no_args_is_help=True,
)

Name = Annotated[str, typer.Argument(help="Name of the key's owner, such as `shop-backend`.")]


@keys.command("make", cls=LalafoCommand)
@help_page(
    ("lalafo keys make shop > shop.key", "the key alone goes to the file"),
    ("lalafo keys make shop --scopes ingest,read --catalogs kg --expires 90d", "with limits"),
    reads="nothing",
    writes="PostgreSQL: the key's hash; the key to standard output",
    settings=("home", "database_url"),
    failure="a scope is unknown, or the database can't be used",
)
def make_key(
    name: Name,
    scopes: Annotated[
        str,
        typer.Option(
            help="Permissions, separated by commas: ingest, read, feedback, or admin (all of them)."
        ),
    ] = "ingest,read,feedback",
    catalogs: Annotated[
        str | None,
        typer.Option(
            help="Catalogs that the key may access, separated by commas. Default: all catalogs."
        ),
    ] = None,
    rate: Annotated[
        float,
        typer.Option(
            min=0, help="Requests per second that each gateway process allows. 0: no limit."
        ),
    ] = 50.0,
    expires: Annotated[
        str | None,
        typer.Option(help="Lifetime, such as 12h or 90d. Default: the key does not expire."),
    ] = None,
    home: Home = DEFAULT_HOME,
) -> None:
    """Make a key and print it. Store it: it can't be shown again."""
    from gateway.edge import keys as api_keys

    lifetime = None if expires is None else duration(expires)
    with closing(open_database(home)) as database:
        key = api_keys.make(
            database,
            name,
            scopes=_listed(scopes),
            catalogs=None if catalogs is None else _listed(catalogs),
            requests_per_s=rate,
            expires_at=None if lifetime is None else datetime.now(UTC) + lifetime,
        )
    _say(f"the key {key.id} of {escape(name)}; store it now, it is not shown again:")
    print(key.text)  # noqa: T201 - the result


@keys.command("rotate", cls=LalafoCommand)
@help_page(
    ("lalafo keys rotate shop > shop.key", "the old key stays valid for a day"),
    ("lalafo keys rotate shop --grace 0s > shop.key", "the old key expires at once"),
    reads="PostgreSQL: the owner's keys",
    writes="PostgreSQL: the new key's hash, the old one's end; the key to standard output",
    settings=("home", "database_url"),
    failure="there is no such key, or several",
)
def rotate_key(
    name: Name,
    grace: Annotated[
        str, typer.Option(help="How long the old key stays valid, such as 0s, 30m or 24h.")
    ] = "24h",
    home: Home = DEFAULT_HOME,
) -> None:
    """Make and print a new key with the same permissions; the old one expires after --grace."""
    from gateway.edge import keys as api_keys

    grace_period = duration(grace)
    with closing(open_database(home)) as database:
        key = api_keys.rotate(database, name, grace=grace_period)
    end = datetime.now(UTC) + grace_period
    _say(
        f"the new key {key.id} of {escape(name)}; the old one expires at {end:%F %H:%M} UTC at the "
        "latest. Store the new key now, it is not shown again:"
    )
    print(key.text)  # noqa: T201 - the result


@keys.command("revoke", cls=LalafoCommand)
@help_page(
    ("lalafo keys revoke shop", "all keys of this owner"),
    reads="PostgreSQL: the keys",
    writes="PostgreSQL: when each was revoked",
    settings=("home", "database_url"),
    failure="there is no such key",
)
def revoke_key(
    name: Annotated[
        str, typer.Argument(help="An owner's name, to revoke all its keys, or the id of one key.")
    ],
    home: Home = DEFAULT_HOME,
) -> None:
    """Revoke keys at once."""
    from gateway.edge import keys as api_keys

    with closing(open_database(home)) as database:
        revoked = api_keys.revoke(database, name)
    for key in revoked:
        _say(f"revoked {key.id} of {escape(key.name)}")
    _say(TAKES_EFFECT)


@keys.command("list", cls=LalafoCommand)
@help_page(
    ("lalafo keys list", "all keys, without their secrets"),
    ("lalafo keys list --json | jq .", "for programs"),
    reads="PostgreSQL: the keys",
    writes="nothing",
    settings=("home", "database_url"),
)
def list_keys(
    as_json: AsJson = False,
    home: Home = DEFAULT_HOME,
) -> None:
    """List all keys: owner, state, permissions and last use.

    The secrets themselves are not stored and can't be listed.
    """
    from gateway.edge import keys as api_keys

    with closing(open_database(home)) as database:
        found = api_keys.keys(database)
    now = datetime.now(UTC)
    if as_json:
        print_json([_fields(key, now) for key in found])
    elif not found:
        _say("there are no keys yet: `lalafo keys make NAME` makes one")
    else:
        _print(found, now)


def _fields(key: "ApiKey", now: datetime) -> dict[str, object]:
    return {
        "name": key.name,
        "id": key.id,
        "state": key.state(now),
        "scopes": list(key.scopes),
        "catalogs": None if key.catalogs is None else list(key.catalogs),
        "requests_per_s": key.requests_per_s,
        "created_at": key.created_at,
        "expires_at": key.expires_at,
        "last_used_at": key.last_used_at,
    }


def _print(found: "list[ApiKey]", now: datetime) -> None:
    names = ("name", "id", "state", "scopes", "catalogs", "rate/s", "created", "expires", "used")
    print_table(
        new_console(),
        [Col(name, prose=name in ("scopes", "catalogs")) for name in names],
        [
            (
                key.name,
                key.id,
                key.state(now),
                ", ".join(key.scopes),
                "all" if key.catalogs is None else ", ".join(key.catalogs),
                "no limit" if key.requests_per_s == 0 else f"{key.requests_per_s:g}",
                _formatted(key.created_at),
                _formatted(key.expires_at),
                _formatted(key.last_used_at),
            )
            for key in found
        ],
    )


def _formatted(moment: datetime | None) -> str:
    return "never" if moment is None else f"{moment.astimezone(UTC):%F %H:%M}"


def duration(text: str) -> timedelta:
    """Parse a length of time such as 90s, 30m, 24h or 7d.

    Raises:
        BadParameter: the text has another form.
    """
    matched = re.fullmatch(r"(\d{1,6})([smhd])", text.strip())
    if matched is None:
        raise typer.BadParameter(f"{text!r}: expected a length of time such as 90s, 30m, 24h, 7d")
    return timedelta(**{UNITS[matched[2]]: int(matched[1])})


def _listed(text: str) -> list[str]:
    return list(dict.fromkeys(part.strip() for part in text.split(",") if part.strip() != ""))


def _say(text: str) -> None:
    new_console(stderr=True).print(text, highlight=False, soft_wrap=True)
