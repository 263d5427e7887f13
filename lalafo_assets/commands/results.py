"""The command `lalafo results`: shows the latest ads, or one ad, from PostgreSQL."""

from collections.abc import Mapping, Sequence
from contextlib import closing
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.text import Text

from lalafo_assets.commands.console import (
    DEFAULT_HOME,
    AsJson,
    Home,
    new_console,
    open_database,
    print_json,
)
from lalafo_assets.commands.terminal.help_pages import help_page
from lalafo_assets.commands.terminal.tables import Cell, Col, print_facts, print_table
from ops.errors import ConfigurationError
from ops.types import SCORE_DIGITS

if TYPE_CHECKING:
    import psycopg

    from resources.postgres.database import Database

LATEST = 20


@help_page(
    ("lalafo results", "the ads that changed last"),
    ("lalafo results kg/42", "one ad, with the run behind each prediction"),
    ("lalafo results kg/42 --json | jq .predictions", "for programs"),
    reads="PostgreSQL: ads, photos, predictions, timings",
    writes="nothing",
    settings=("home", "database_url"),
    failure="there is no such ad, or the database can't be used",
)
def results(
    ad: Annotated[
        str | None,
        typer.Argument(help="The ad, as catalog/ad_id. Default: list the latest ads."),
    ] = None,
    as_json: AsJson = False,
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
                print_json(latest)
            else:
                print_latest(latest, console)
        elif as_json:
            print_json(read_ad(database, ad))
        else:
            print_ad(read_ad(database, ad), console)


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
    if not ads:
        console.print("there are no ads yet: `lalafo publish FILE` sends some", highlight=False)
        return
    print_table(
        console,
        ("ad", "status", "filed", "predicted", Col("score", "right"), "UTC"),
        [
            (
                *(f"{ad['catalog']}/{ad['ad_id']}", ad["status"], ad["category"] or ""),
                *(ad["predicted"] or "", _score(ad["score"]), f"{ad['updated_at']:%d %H:%M:%S}"),
            )
            for ad in ads
        ],
    )
    live = next((ad["release"] for ad in ads if ad["release"] is not None), None)
    if live is not None:
        console.print(f"predicted by {live}, which is live", soft_wrap=True, highlight=False)


_ACTIVE = """
    SELECT p.task, p.label, p.score, p.details, p.release, p.run_id,
        CASE p.release WHEN f.live THEN 'live' WHEN f.candidate THEN 'candidate'
            WHEN f.previous THEN 'previous' ELSE 'superseded' END AS state
    FROM lalafo.predictions_with_details AS p LEFT JOIN lalafo.active_releases AS f ON true
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
            "SELECT catalog, ad_id, status, revision, title, category, price, currency, "
            'seller, attributes, day, topic, partition, "offset", run_id '
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
            "round(extract(epoch FROM committed_at - kafka_at) * 1000, 3)::float8 AS total_ms, "
            "waited_for_session "
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
    source = f"{ad['topic']}[{ad['partition']}] at offset {ad['offset']}"
    facts: list[tuple[str, Cell]] = [
        ("status", f"{ad['status']}, revision {ad['revision']}, day {ad['day']}"),
        ("filed category", ad["category"] or "none"),
        ("source", f"{source}\nDagster run {ad['run_id']}"),
    ]
    timing = ad["timings"]
    if timing is not None:
        total_ms = "unknown" if timing["total_ms"] is None else f"{timing['total_ms']:,.0f}"
        total_ms += ", as it waited for a session to start" if timing["waited_for_session"] else ""
        text = (
            f"photos {timing['photos_ms']:.0f}, embed {timing['embed_ms']:.0f}, predict "
            f"{timing['predict_ms']:.1f}; Kafka timestamp to committed row {total_ms}"
        )
        facts.append(("milliseconds", text))
    for photo in ad["photos"]:
        failed = photo["sha256"] is None
        state = (photo["reason"], "red") if failed else photo["sha256"]
        text_of = Text.assemble(state, "\n", photo["url"] or "uploaded")
        facts.append((f"photo {photo['position']}", text_of))
    for item in ad["predictions"]:
        top = ", ".join(f"{name} {_score(share)}" for name, share in item["details"].get("top", []))
        label = (item["label"], "bold")
        by = f"by {item['release']} ({item['state']})\nDagster run {item['run_id']}"
        facts.append(
            (item["task"], Text.assemble(label, f" {_score(item['score'])}  ({top})\n{by}"))
        )
    print_facts(console, facts, title=f"{ad['catalog']}/{ad['ad_id']}: {ad['title']}")


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
