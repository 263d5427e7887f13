"""Shared by the commands: the console, common options, and access to a running stack."""

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from ops.errors import LalafoError

if TYPE_CHECKING:
    from resources.postgres.database import Database

DEFAULT_HOME = Path(".lalafo")

Home = Annotated[
    Path, typer.Option(envvar="LALAFO_HOME", help="Folder of all local state.", metavar="DIR")
]


def new_console() -> Console:
    """Return a console on standard output; when piped, lines are not folded to 80 columns."""
    return Console(width=None if sys.stdout.isatty() or "COLUMNS" in os.environ else 200)


def say(text: str) -> None:
    """Print a line with rich's markup, without wrapping it."""
    new_console().print(text, highlight=False, soft_wrap=True)


def use_running_stack(home: Path) -> None:
    """Set the environment variables of the stack that runs on this home, where unset."""
    from lalafo_assets.stack.supervisor import running_stack

    stack = running_stack(home)
    for name, value in ({} if stack is None else stack.exports).items():
        os.environ.setdefault(name, value)


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
