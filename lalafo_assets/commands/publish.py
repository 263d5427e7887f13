"""`lalafo publish`: events from a file or a pipe.

Decides which way they go, what is shown meanwhile, and the exit status.
"""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, BinaryIO

import typer
from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
)

from lalafo_assets.commands.console import DEFAULT_HOME, Home, new_console, use_running_stack
from ops.errors import ConfigurationError

if TYPE_CHECKING:
    from lalafo_assets.commands.publishing import Published

MAX_REPORTED = 100
"""Refused lines that are shown; all are counted."""


def publish(
    file: Annotated[
        typer.FileBinaryRead, typer.Argument(help="Events of schema 1, one a line; '-' for stdin.")
    ],
    gateway: Annotated[
        str | None,
        typer.Option(
            metavar="URL",
            help="Where to; LALAFO_GATEWAY_URL, else that of the running stack, if not given. "
            "The key is LALAFO_GATEWAY_KEY.",
        ),
    ] = None,
    kafka: Annotated[
        bool,
        typer.Option("--kafka", help="To the topic itself: what is no event is the stream's case."),
    ] = False,
    home: Home = DEFAULT_HOME,
) -> None:
    """Publish events by the gateway, or to the topic `ads`; status 1 where a line was refused."""
    from lalafo_assets.commands.publishing import publish_lines, publish_to_topic
    from resources.settings import load_settings

    if kafka and gateway is not None:
        raise typer.BadParameter("--kafka goes past the gateway: give one of the two")
    use_running_stack(home)
    console = new_console()
    settings = load_settings()
    if kafka:
        count = publish_to_topic(settings, file)
        console.print(f"{count} events acknowledged; `lalafo results` shows what becomes of them")
        return
    url = settings.gateway_url if gateway is None else gateway
    if url == "":
        raise ConfigurationError(
            "no gateway is known: start one with `lalafo serve` (or all with `lalafo up`), name "
            "one with --gateway URL or LALAFO_GATEWAY_URL, or publish to the topic with --kafka"
        )
    with _progress(file) as progress:
        bar = progress.add_task("publishing", total=_size(file))
        done = publish_lines(
            _counted(file, progress, bar),
            url=url,
            key=settings.gateway_key,
            on_progress=lambda now: progress.update(bar, description=_short(now)),
        )
    _tell(done, console)
    if done.refused:
        raise typer.Exit(1)


def _progress(file: BinaryIO) -> Progress:
    err = Console(stderr=True)
    # Someone who types the lines needs no bar below them.
    shown = err.is_terminal and not file.isatty()
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=32),
        DownloadColumn(),
        TimeElapsedColumn(),
        console=err,
        transient=True,
        disable=not shown,
    )


def _size(file: BinaryIO) -> int | None:
    """Bytes of a file; None of a pipe."""
    name = getattr(file, "name", "")
    path = Path(name) if isinstance(name, str) else None
    return path.stat().st_size if path is not None and path.is_file() else None


def _counted(file: Iterable[bytes], progress: Progress, bar: TaskID) -> Iterator[bytes]:
    for line in file:
        progress.advance(bar, len(line))
        yield line


def _short(done: "Published") -> str:
    refused = f", {len(done.refused)} refused" if done.refused else ""
    return f"{done.accepted} accepted{refused}"


def _tell(done: "Published", console: Console) -> None:
    err = Console(stderr=True, soft_wrap=True)
    for line in done.refused[:MAX_REPORTED]:
        message = f"line {line.number}: {line.reason}: {line.detail}"
        err.print(message, style="red", highlight=False, markup=False)
    if len(done.refused) > MAX_REPORTED:
        err.print(f"… and {len(done.refused) - MAX_REPORTED} more lines", style="red")
    message = f"{done.accepted} events accepted"
    if done.superseded:
        message += f", {done.superseded} of them of revisions that others have overtaken"
    if done.waiting:
        message += f"; {done.waiting} wait in PostgreSQL for Kafka"
    if done.refused:
        message += f"; {len(done.refused)} lines refused"
    console.print(f"{message}; `lalafo results` shows what becomes of them", highlight=False)
