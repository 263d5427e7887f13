"""The command `lalafo results`: shows the latest ads, or one ad, from PostgreSQL."""

import json
from collections.abc import Mapping, Sequence
from contextlib import closing
from datetime import date
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from lalafo_assets.commands.console import DEFAULT_HOME, Home, new_console, open_database
from ops.errors import ConfigurationError
from ops.types import SCORE_DIGITS

if TYPE_CHECKING:
    import psycopg

    from resources.postgres.database import Database

LATEST = 20


def results(
    ad: Annotated[
        str | None,
        typer.Argument(help="The ad, as catalog/ad_id. Default: list the latest ads."),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object per line, one for each ad.")
    ] = False,
    home: Home = DEFAULT_HOME,
) -> None:
    """List the latest ads, or show one ad: its photos, failures and predictions.

    The list has the predictions of the live release. An ad has those of every release that scored
    it, with the live one first and marked. The Dagster run that wrote each of them is shown too.
    """
    with closing(open_database(home)) as database:
        console = new_console()
        if ad is None:
            latest = read_latest(database)
            if as_json:
                _print_json(latest)
            else:
                print_latest(latest, console)
        elif as_json:
            _print_json([read_ad(database, ad)])
        else:
            print_ad(read_ad(database, ad), console)


def _print_json(ads: Sequence[Mapping[str, Any]]) -> None:
    for ad in ads:
        print(json.dumps(ad, ensure_ascii=False, separators=(",", ":"), default=_json))  # noqa: T201 - the result


def _json(value: object) -> str:
    return value.isoformat() if isinstance(value, date) else str(value)


def read_latest(database: "Database") -> list[dict[str, Any]]:
    """Return the ads that changed last, with their predictions under the live release."""
    with database.cursor() as cursor:
        cursor.execute(
            "SELECT a.catalog, a.ad_id, a.status, a.category, p.label AS predicted, p.score, "
            "p.release, a.updated_at FROM lalafo.ads AS a "
            "LEFT JOIN lalafo.active_releases AS f ON true "
            "LEFT JOIN lalafo.predictions AS p ON p.release = f.live AND p.catalog = a.catalog "
            "AND p.ad_id = a.ad_id AND p.task = 'category' "
            "ORDER BY a.updated_at DESC LIMIT %s",
            (LATEST,),
        )
        return _objects(cursor)


def print_latest(ads: Sequence[Mapping[str, Any]], console: Console) -> None:
    """Print a line for each ad, and which release is live."""
    live = next((ad["release"] for ad in ads if ad["release"] is not None), None)
    table = Table(caption=None if live is None else f"predicted by {live}, which is live")
    table.add_column("ad", no_wrap=True)
    for name in ("status", "seller's category", "predicted", "score"):
        table.add_column(name)
    table.add_column("UTC", no_wrap=True)
    for ad in ads:
        table.add_row(
            *(Text(f"{ad['catalog']}/{ad['ad_id']}"), ad["status"], Text(ad["category"] or "")),
            *(ad["predicted"] or "", _score(ad["score"]), f"{ad['updated_at']:%d %H:%M:%S}"),
        )
    console.print(table)


_ACTIVE = """
    SELECT p.task, p.label, p.score, p.details, p.release, p.run_id,
        CASE p.release WHEN f.live THEN 'live' WHEN f.candidate THEN 'candidate'
            WHEN f.previous THEN 'previous' ELSE 'superseded' END AS state
    FROM lalafo.predictions AS p LEFT JOIN lalafo.active_releases AS f ON true
    WHERE p.catalog = %s AND p.ad_id = %s
    ORDER BY p.release IS DISTINCT FROM f.live, p.release IS DISTINCT FROM f.candidate, p.release,
        p.task
"""


def read_ad(database: "Database", name: str) -> dict[str, Any]:
    """Return everything known about one ad.

    Raises:
        ConfigurationError: there is no such ad.
    """
    catalog, _, ad_id = name.partition("/")
    key = (catalog, ad_id)
    with database.cursor() as cursor:
        cursor.execute(
            "SELECT catalog, ad_id, status, revision, title, category, price, currency, day, "
            'topic, partition, "offset", run_id '
            "FROM lalafo.ads WHERE catalog = %s AND ad_id = %s",
            key,
        )
        found = _objects(cursor)
        if not found:
            raise ConfigurationError(f"there is no ad {name}; `lalafo results` lists the latest")
        cursor.execute(
            "SELECT position, url, encode(sha256, 'hex') AS sha256, reason FROM lalafo.ad_photos "
            "WHERE catalog = %s AND ad_id = %s ORDER BY position",
            key,
        )
        photos = _objects(cursor)
        cursor.execute(_ACTIVE, key)
        predictions = _objects(cursor)
        cursor.execute(
            "SELECT round(photos_ms::numeric, 3)::float8 AS photos_ms, "
            "round(embed_ms::numeric, 3)::float8 AS embed_ms, "
            "round(predict_ms::numeric, 3)::float8 AS predict_ms, "
            "round(extract(epoch FROM committed_at - kafka_at) * 1000, 3)::float8 AS total_ms "
            "FROM lalafo.stage_timings "
            "WHERE catalog = %s AND ad_id = %s ORDER BY revision DESC LIMIT 1",
            key,
        )
        timings = _objects(cursor)
    return {
        **found[0],
        "photos": photos,
        "predictions": predictions,
        "timings": timings[0] if timings else None,
    }


def print_ad(ad: Mapping[str, Any], console: Console) -> None:
    """Print an ad with its photos and predictions."""
    facts = Table(show_header=False, title=Text(f"{ad['catalog']}/{ad['ad_id']}: {ad['title']}"))
    facts.add_row("status", f"{ad['status']}, revision {ad['revision']}, day {ad['day']}")
    facts.add_row("seller's category", Text(ad["category"] or "none"))
    source = f"{ad['topic']}[{ad['partition']}] at offset {ad['offset']}"
    facts.add_row("source", Text(f"{source}, Dagster run {ad['run_id']}"))
    timing = ad["timings"]
    if timing is not None:
        total_ms = "unknown" if timing["total_ms"] is None else f"{timing['total_ms']:,.0f}"
        facts.add_row(
            "milliseconds",
            f"photos {timing['photos_ms']:.0f}, embed {timing['embed_ms']:.0f}, predict "
            f"{timing['predict_ms']:.1f}; Kafka timestamp to committed row {total_ms}",
        )
    for photo in ad["photos"]:
        failed = photo["sha256"] is None
        state = f"[red]{photo['reason']}[/]" if failed else f"sha256 {photo['sha256'][:16]}…"
        facts.add_row(f"photo {photo['position']}", f"{state}  {escape(photo['url'] or '')}")
    for item in ad["predictions"]:
        top = ", ".join(f"{name} {_score(share)}" for name, share in item["details"].get("top", []))
        by = f"by {item['release']} ({item['state']}), run {item['run_id']}"
        facts.add_row(
            item["task"],
            f"[bold]{escape(item['label'])}[/] {_score(item['score'])}  ({escape(top)})\n{by}",
        )
    console.print(facts)


def _score(score: float | None) -> str:
    """A score as people read it: two decimals."""
    return "" if score is None else f"{score:.2f}"


def _objects(cursor: "psycopg.Cursor[Any]") -> list[dict[str, Any]]:
    """The rows as objects; a `real` as the shortest number that PostgreSQL would print for it."""
    names = [column.name for column in cursor.description or ()]
    return [
        {name: _shortest(value) for name, value in zip(names, row, strict=True)}
        for row in cursor.fetchall()
    ]


def _shortest(value: Any) -> Any:
    return round(value, SCORE_DIGITS) if isinstance(value, float) else value
