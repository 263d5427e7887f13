"""What commands share: where they print, the option for the home, and the servers they talk to."""

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
    Path, typer.Option(envvar="LALAFO_HOME", help="Where all local state lives.", metavar="DIR")
]


def new_console() -> Console:
    """Standard output. Piped it is for programs: nothing is folded to 80 columns."""
    return Console(width=None if sys.stdout.isatty() or "COLUMNS" in os.environ else 200)


def say(text: str) -> None:
    """A line for people, with rich's markup, never folded."""
    new_console().print(text, highlight=False, soft_wrap=True)


def use_running_stack(home: Path) -> None:
    """Let a stack that runs on this home fill in what the environment leaves open."""
    from lalafo_assets.stack.supervisor import running_stack

    stack = running_stack(home)
    for name, value in ({} if stack is None else stack.exports).items():
        os.environ.setdefault(name, value)


def open_database(home: Path) -> "Database":
    """The database that the environment names, else that of a stack that runs on this home."""
    from resources.postgres.database import Database
    from resources.settings import load_settings

    use_running_stack(home)
    url = load_settings().database_url
    if url == "":
        raise LalafoError(
            f"no stack runs in {home.resolve()}: start one with `lalafo up` or `make demo`, name "
            "its folder with --home or LALAFO_HOME, or set LALAFO_DATABASE_URL"
        )
    database = Database(url)
    database.check()
    return database


Port = Annotated[
    int | None,
    typer.Option(
        min=1, max=65_535, help="Of Dagster's UI; the first free one from 3000 on if not given."
    ),
]
