"""The command `lalafo results`: shows the latest ads, or one ad, from PostgreSQL."""

from contextlib import closing
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

from lalafo_assets.commands.console import DEFAULT_HOME, Home, new_console, open_database
from ops.errors import ConfigurationError

if TYPE_CHECKING:
    from resources.postgres.database import Database

LATEST = 20


def results(
    ad: Annotated[
        str | None,
        typer.Argument(help="The ad, as catalog/ad_id. Default: list the latest ads."),
    ] = None,
    home: Home = DEFAULT_HOME,
) -> None:
    """List the latest ads, or show one ad: its photos, failures and predictions.

    The Dagster run that wrote each of them is shown too.
    """
    with closing(open_database(home)) as database:
        console = new_console()
        if ad is None:
            print_latest(database, console)
        else:
            print_ad(database, ad, console)


def print_latest(database: "Database", console: Console) -> None:
    """Print the ads that changed last, with their predictions under the live release."""
    with database.cursor() as cursor:
        cursor.execute(
            "SELECT a.catalog || '/' || a.ad_id, a.status, coalesce(a.category, ''), "
            "coalesce(p.label, ''), p.score, a.updated_at FROM lalafo.ads AS a "
            "LEFT JOIN lalafo.active_releases AS f ON true "
            "LEFT JOIN lalafo.predictions AS p ON p.release = f.live AND p.catalog = a.catalog "
            "AND p.ad_id = a.ad_id AND p.task = 'category' "
            "ORDER BY a.updated_at DESC LIMIT %s",
            (LATEST,),
        )
        rows = cursor.fetchall()
    table = Table()
    table.add_column("ad", no_wrap=True)
    for name in ("status", "seller's category", "predicted", "score"):
        table.add_column(name)
    table.add_column("UTC", no_wrap=True)
    for ad, status, category, label, score, at in rows:
        score_text = "" if score is None else f"{score:.2f}"
        table.add_row(ad, status, category, label, score_text, f"{at:%d %H:%M:%S}")
    console.print(table)


def print_ad(database: "Database", name: str, console: Console) -> None:
    """Print everything known about one ad.

    Raises:
        ConfigurationError: there is no such ad.
    """
    catalog, _, ad_id = name.partition("/")
    key = (catalog, ad_id)
    with database.cursor() as cursor:
        cursor.execute(
            'SELECT status, revision, title, category, day, topic, partition, "offset", run_id '
            "FROM lalafo.ads WHERE catalog = %s AND ad_id = %s",
            key,
        )
        ad = cursor.fetchone()
        if ad is None:
            raise ConfigurationError(f"there is no ad {name}; `lalafo results` lists the latest")
        cursor.execute(
            "SELECT position, url, encode(sha256, 'hex'), reason FROM lalafo.ad_photos "
            "WHERE catalog = %s AND ad_id = %s ORDER BY position",
            key,
        )
        photos = cursor.fetchall()
        cursor.execute(
            "SELECT task, label, score, details, release, run_id FROM lalafo.predictions "
            "WHERE catalog = %s AND ad_id = %s ORDER BY release, task",
            key,
        )
        predictions = cursor.fetchall()
        cursor.execute(
            "SELECT photos_ms, embed_ms, predict_ms, "
            "extract(epoch FROM committed_at - kafka_at) * 1000 FROM lalafo.stage_timings "
            "WHERE catalog = %s AND ad_id = %s ORDER BY revision DESC LIMIT 1",
            key,
        )
        timing = cursor.fetchone()
    status, revision, title, category, day, topic, partition, offset, run_id = ad
    facts = Table(show_header=False, title=f"{name}: {title}")
    facts.add_row("status", f"{status}, revision {revision}, day {day}")
    facts.add_row("seller's category", category or "none")
    facts.add_row("source", f"{topic}[{partition}] at offset {offset}, Dagster run {run_id}")
    if timing is not None:
        fetch, embed, predict, total = timing
        total_ms = "unknown" if total is None else f"{total:,.0f}"
        facts.add_row(
            "milliseconds",
            f"photos {fetch:.0f}, embed {embed:.0f}, predict {predict:.1f}; "
            f"Kafka timestamp to committed row {total_ms}",
        )
    for position, url, sha256, reason in photos:
        state = f"[red]{reason}[/]" if sha256 is None else f"sha256 {sha256[:16]}…"
        facts.add_row(f"photo {position}", f"{state}  {url or ''}")
    for task, label, score, details, release, run in predictions:
        top = ", ".join(f"{name} {share:.2f}" for name, share in details.get("top", []))
        facts.add_row(task, f"[bold]{label}[/] {score:.2f}  ({top})\nby {release}, run {run}")
    console.print(facts)
