"""Shared by the commands: the consoles, common options, and access to a running stack.

Results go to standard output, everything else to standard error. How progress, tables, log records,
help pages and exit statuses look is in `terminal/`.
"""

import json
import os
import sys
import time
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import urlsplit

import typer
from rich.console import Console
from rich.text import Text

from lalafo_assets.commands.terminal.logs import use_home
from ops.errors import LalafoError

if TYPE_CHECKING:
    from resources.postgres.database import Database

DEFAULT_HOME = Path(".lalafo")
ANSWER_S = 3.0
"""How long a command waits for a gateway's first answer."""
PIPED_WIDTH = 200
_PAUSE_S = 0.2

Home = Annotated[
    Path,
    typer.Option(
        envvar="LALAFO_HOME",
        help="Folder of all local state.",
        metavar="DIR",
        callback=use_home,
    ),
]
AsJson = Annotated[
    bool, typer.Option("--json", help="Print one JSON document instead, and nothing else.")
]
Gateway = Annotated[
    str | None,
    typer.Option(
        metavar="URL",
        help="URL of the gateway. Default: LALAFO_GATEWAY_URL, otherwise the gateway of the "
        "running stack. The API key is read from LALAFO_GATEWAY_KEY.",
    ),
]


def new_console(*, stderr: bool = False) -> Console:
    """Return a console on standard output, or on standard error.

    When piped, lines are as long as they need to be, unless COLUMNS says how wide they may be.
    """
    stream = sys.stderr if stderr else sys.stdout
    width = None if stream.isatty() or "COLUMNS" in os.environ else PIPED_WIDTH
    return Console(width=width, stderr=stderr)


def say(text: str) -> None:
    """Print a line with rich's markup, without wrapping it."""
    new_console().print(text, highlight=False, soft_wrap=True)


def print_json(document: object) -> None:
    """Print a command's result for programs: one JSON document on one line of standard output."""
    line = json.dumps(document, ensure_ascii=False, separators=(",", ":"), default=_json)
    print(line)  # noqa: T201 - the result


def _json(value: Any) -> str:
    if isinstance(value, Text):
        return value.plain
    return value.isoformat() if isinstance(value, date) else str(value)


def use_running_stack(home: Path) -> None:
    """Set the environment variables of the stack that runs on this home, where unset."""
    from lalafo_assets.stack.supervisor import running_stack

    stack = running_stack(home)
    for name, value in ({} if stack is None else stack.exports).items():
        os.environ.setdefault(name, value)


def gateway_url(home: Path, given: str | None, *, otherwise: str = "") -> str:
    """Return the URL of the gateway that a command speaks to, once it has answered.

    Args:
        given: the option --gateway; None takes LALAFO_GATEWAY_URL, then the running stack's.
        otherwise: what else a person could do, for the message.

    Raises:
        LalafoError: there is none, or it does not answer within ANSWER_S.
    """
    from gateway.client.plans import url_and_key
    from resources.settings import load_settings

    use_running_stack(home)
    settings = load_settings()
    url = settings.gateway_url if given is None else given
    if url == "":
        raise LalafoError(
            "no gateway is configured: start one with `lalafo serve` (or a whole stack with "
            "`lalafo up`), or give its address with --gateway URL or LALAFO_GATEWAY_URL"
            f"{otherwise}"
        )
    url, _ = url_and_key(url, settings.gateway_key)
    reason = _why_silent(url)
    if reason is not None:
        raise LalafoError(
            f"the gateway {_without_secrets(url)} does not answer ({reason}). Start it with "
            "`lalafo up` or `lalafo serve`, or give the address of another with --gateway URL or "
            f"LALAFO_GATEWAY_URL{otherwise}"
        )
    return url


def _why_silent(url: str) -> str | None:
    """Return why no gateway answers; None as soon as one does, whatever it says."""
    import httpx

    deadline = time.monotonic() + ANSWER_S
    while True:
        try:
            httpx.get(f"{url}/healthz", timeout=ANSWER_S)
            return None
        except (httpx.ConnectError, httpx.RemoteProtocolError, httpx.ReadError) as error:
            if time.monotonic() > deadline:  # until then it may be restarting
                return str(error)
            time.sleep(_PAUSE_S)
        except httpx.HTTPError as error:
            return str(error) or type(error).__name__


def _without_secrets(url: str) -> str:
    """Scheme, host and port; the rest may contain a password."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"


def open_database(home: Path) -> "Database":
    """Open the database that the environment names, otherwise that of the running stack.

    Raises:
        LalafoError: neither exists, or the database can't be used.
    """
    from resources.postgres.database import Database
    from resources.settings import load_settings

    use_running_stack(home)
    settings = load_settings()
    if settings.database_url == "":
        raise LalafoError(
            f"no stack is running on {home.resolve()}: start one with `lalafo up` or `make demo`, "
            "give its folder with --home or LALAFO_HOME, or set LALAFO_DATABASE_URL"
        )
    database = Database.from_settings(settings)
    database.check()
    return database


Port = Annotated[
    int | None,
    typer.Option(
        min=1, max=65_535, help="Port of Dagster's UI. Default: the first free one from 3000 on."
    ),
]
GatewayPort = Annotated[
    int | None,
    typer.Option(
        min=1,
        max=65_535,
        help="Port of the gateway and its page. Default: LALAFO_GATEWAY_PORT, otherwise the first "
        "free one from 8080 on.",
    ),
]
