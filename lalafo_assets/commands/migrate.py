"""`lalafo migrate`: creates and updates the product's tables in PostgreSQL.

`resources/postgres/schema.py` migrates. Dagster's own tables are in another database, and Dagster
creates them.
"""

from contextlib import closing

from lalafo_assets.commands.console import DEFAULT_HOME, Home, open_database, say
from lalafo_assets.commands.terminal.help_pages import help_page


@help_page(
    ("lalafo migrate", "the running stack's database, or that of LALAFO_DATABASE_URL"),
    reads="PostgreSQL: the revision of the tables",
    writes="PostgreSQL: tables, columns and indexes of the schema lalafo",
    settings=("home", "database_url", "database_direct_url"),
    failure="the database is unavailable, or leads through a pooler only",
)
def migrate(home: Home = DEFAULT_HOME) -> None:
    """Create the tables in the database that LALAFO_DATABASE_URL names, or update them.

    Does nothing if they are those of this version. Sessions and gateways may run meanwhile, and
    several processes may migrate at once. `lalafo up` does the same when it starts.
    """
    with closing(open_database(home)) as database:
        before = database.revision()
        database.migrate()
        after = database.revision()
        if before == after:
            say(f"{database.shown}: nothing to do, the tables are at revision {after}")
        elif before is None:
            say(f"{database.shown}: the tables are created, at revision {after}")
        else:
            say(f"{database.shown}: the tables are at revision {after}; they were at {before}")
