"""`lalafo publish`: publishes events from a file or a pipe.

Owns the options, the progress bar, the summary and the exit status; `publishing.py` and
`kafka/publishing.py` publish.
"""

from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, BinaryIO

import typer
from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
)
from rich.text import Text

from lalafo_assets.commands.console import (
    DEFAULT_HOME,
    Gateway,
    Home,
    gateway_url,
    new_console,
    use_running_stack,
)
from lalafo_assets.commands.terminal.bars import Bars
from lalafo_assets.commands.terminal.help_pages import help_page

if TYPE_CHECKING:
    from lalafo_assets.commands.publishing import Published

MAX_REPORTED = 100
"""Refused lines that are printed; all are counted."""


@help_page(
    ("lalafo publish events.jsonl", "through the gateway, which checks each line"),
    ("zcat events.gz | lalafo publish -", "from a pipe"),
    ("lalafo publish events.jsonl --kafka", "to the topic directly, unchecked"),
    reads="a file of events, or standard input",
    writes="the gateway's POST /v1/ads, or Kafka's topic of ads",
    settings=("gateway_url", "gateway_key", "kafka_bootstrap", "ads_topic"),
    failure="a line was refused, which does not stop the others, or nothing can be reached",
)
def publish(
    file: Annotated[
        typer.FileBinaryRead,
        typer.Argument(help="File of events of schema 1, one JSON object per line. '-': stdin."),
    ],
    gateway: Gateway = None,
    kafka: Annotated[
        bool,
        typer.Option(
            "--kafka",
            help="Publish to the Kafka topic directly. Lines are not checked: an invalid event "
            "becomes a dead letter.",
        ),
    ] = False,
    home: Home = DEFAULT_HOME,
) -> None:
    """Publish events through the gateway, or to the topic `ads` directly.

    Goes on after a line that can't be published, and ends with a summary: how many events were
    accepted, and the lines that were not, with their reasons. The status is then 1.
    """
    from lalafo_assets.commands.kafka.publishing import publish_to_topic
    from lalafo_assets.commands.publishing import Published, publish_lines
    from resources.settings import load_settings

    if kafka and gateway is not None:
        raise typer.BadParameter("--kafka and --gateway exclude each other: give one of them")
    use_running_stack(home)
    console = new_console()
    # Asked first: a line would be retried for PATIENCE_S, in which nobody sees what is wrong.
    url = "" if kafka else gateway_url(home, gateway, otherwise="; --kafka publishes to the topic")
    settings = load_settings()
    done = Published()
    try:
        with _progress(file) as progress:
            bar = progress.add_task("publishing", total=_size(file))

            def on_progress(now: Published) -> None:
                nonlocal done
                done = now
                progress.update(bar, description=_short(now))

            lines = _counted(file, progress, bar)
            if kafka:
                done = publish_to_topic(settings, lines, on_progress=on_progress)
            else:
                done = publish_lines(
                    lines, url=url, key=settings.gateway_key, on_progress=on_progress
                )
    except BaseException:  # after Ctrl-C too: what was published stays so
        if done.lines:
            _print_summary(done, console)
        raise
    _print_summary(done, console)
    if done.refused:
        raise typer.Exit(1)


def _progress(file: BinaryIO) -> Bars:
    # No bar where the lines are typed at the terminal: it would mix with them.
    return Bars(
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        DownloadColumn(),
        TimeElapsedColumn(),
        console=new_console(stderr=True),
        transient=True,
        enabled=not file.isatty(),
        counts=False,
    )


def _size(file: BinaryIO) -> int | None:
    """Return a file's size in bytes; None for a pipe."""
    name = getattr(file, "name", "")
    path = Path(name) if isinstance(name, str) else None
    return path.stat().st_size if path is not None and path.is_file() else None


def _counted(file: Iterable[bytes], progress: Bars, bar: TaskID) -> Iterator[bytes]:
    for line in file:
        progress.advance(bar, len(line))
        yield line


def _short(done: "Published") -> str:
    refused = f", {len(done.refused)} refused" if done.refused else ""
    return f"{done.accepted} accepted{refused}"


def _print_summary(done: "Published", console: Console) -> None:
    err = new_console(stderr=True)
    for line in sorted(done.refused, key=lambda line: line.number)[:MAX_REPORTED]:
        message = f"line {line.number}: {line.reason}: {line.detail}"
        err.print(Text(message, style="red"), soft_wrap=True)
    if len(done.refused) > MAX_REPORTED:
        err.print(f"… and {len(done.refused) - MAX_REPORTED} more lines", style="red")
    for reason, count in Counter(line.reason for line in done.refused).most_common():
        err.print(f"{count:>8}  {reason}", style="red", highlight=False, markup=False)
    message = f"{done.accepted} events accepted"
    if done.superseded:
        message += f", {done.superseded} of them superseded by a higher revision"
    if done.waiting:
        message += f"; {done.waiting} pending in PostgreSQL until Kafka is available"
    if done.refused:
        message += f"; {len(done.refused)} lines not published"
    text = f"{message}; `lalafo results` shows their results"
    console.print(text, highlight=False, soft_wrap=True)
