"""The command `lalafo export`: ads with their predictions as files for analysts."""

from contextlib import closing
from typing import Annotated

import typer

from lalafo_assets.commands.console import (
    DEFAULT_HOME,
    AsJson,
    Home,
    new_console,
    open_database,
    print_json,
    say,
)
from lalafo_assets.commands.terminal.bars import new_bars
from lalafo_assets.commands.terminal.help_pages import help_page
from resources.exports.formats import Format, parse_days


@help_page(
    ("lalafo export --to exports", "all days, as Parquet, below the folder `exports`"),
    ("lalafo export --to s3://bucket/ads --days 2026-11-01:", "from a day on, to a bucket"),
    ("lalafo export --to exports --format csv --days 2026-11-28", "one day for a spreadsheet"),
    ("lalafo export --to compare --release NAME", "what a candidate predicts"),
    reads="PostgreSQL: ads, photos, labels, predictions; each day in one statement",
    writes="a file a day, TO/day=2026-11-28/part.parquet, each whole or not at all; at the end "
    "TO/_SUCCESS, with the columns and numbers of rows as JSON",
    settings=("home", "database_url", "export_url"),
    failure="the database or the destination can't be used; files that were written stay",
)
def export(
    to: Annotated[
        str | None,
        typer.Option(
            help="A folder, or any fsspec URL (s3://…, gs://…). Default: LALAFO_EXPORT_URL.",
            metavar="FOLDER_OR_URL",
        ),
    ] = None,
    file_format: Annotated[
        Format, typer.Option("--format", help="Parquet has types; CSV is for spreadsheets.")
    ] = Format.PARQUET,
    days: Annotated[
        str,
        typer.Option(
            help="A day (UTC), or the first and the last, of which one may be left out. "
            "Default: all.",
            metavar="DAY[:DAY]",
            show_default=False,
        ),
    ] = ":",
    release: Annotated[
        str | None,
        typer.Option(help="The release whose predictions to export. Default: the live one."),
    ] = None,
    catalog: Annotated[
        list[str] | None,
        typer.Option(help="Only this catalog; may be repeated. Default: all.", metavar="NAME"),
    ] = None,
    raw_text: Annotated[
        bool,
        typer.Option(
            "--raw-text",
            help="In CSV, leave texts that begin with =, +, -, @ or a tab as they are. Otherwise "
            "they begin with an apostrophe, so that no spreadsheet runs a seller's title as a "
            "formula.",
        ),
    ] = False,
    as_json: AsJson = False,
    home: Home = DEFAULT_HOME,
) -> None:
    """Export ads with their predictions as Parquet or CSV, one file for each day.

    A day is the UTC day of an ad's first event. A row has the ad's committed revision, the labels
    that people gave, and the answers of each task of the release, flattened to typed columns
    (`category.label`, `category.score`, `price.low` …). Deleted ads are left out. Memory does not
    grow with the number of ads. `docs/analysis.md` reads such files with pandas.
    """
    from ops.errors import ConfigurationError
    from resources.exports.days import count_ads, days_with_ads, export_days, new_export, summary
    from resources.exports.destination import Destination
    from resources.settings import load_settings

    first, last = parse_days(days)
    url = load_settings().export_url if to is None else to
    if url == "":
        raise ConfigurationError("no destination: give --to FOLDER_OR_URL, or LALAFO_EXPORT_URL")
    with closing(open_database(home)) as database:
        what = new_export(
            database, release, file_format=file_format, catalogs=catalog, guarded=not raw_text
        )
        destination = Destination(url, "--to" if to is not None else "LALAFO_EXPORT_URL")
        found = days_with_ads(database, first, last)
        total = count_ads(database, found)
        with new_bars(new_console(stderr=True), enabled=not as_json) as bars:
            bar = bars.add_task("Ads", total=max(total, 1))
            files = export_days(
                database, what, found, destination, on_rows=lambda rows: bars.advance(bar, rows)
            )
            # Deleted ads were counted and are left out.
            bars.update(bar, completed=max(total, 1))
    done = {**summary(what, files), "url": destination.url()}
    if as_json:
        print_json(done)
        return
    say(
        f"{done['rows']:,} ads of {len(files)} days under {what.release.name}: "
        f"{done['bytes'] / 1e6:,.1f} MB in {destination.url()}"
    )
