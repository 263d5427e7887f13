"""Connection strings: every form means what libpq, or SQLAlchemy, says; no message has a secret."""

from urllib.parse import quote

import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st
from psycopg.conninfo import conninfo_to_dict
from psycopg2.extensions import make_dsn, parse_dsn

from ops.errors import ConfigurationError
from resources.postgres.conninfo import DEFAULTS, Conninfo
from resources.postgres.database import Database
from resources.settings import Settings

TEXTS = st.text(st.characters(exclude_characters="\0", exclude_categories=("Cs",)), min_size=1)

FOLDERS = TEXTS.filter(lambda text: "," not in text)  # libpq reads a list of hosts


def parameters(text: str) -> dict[str, str]:
    return dict(Conninfo.parse(text).parameters)


@given(password=TEXTS, user=TEXTS, database=TEXTS, folder=FOLDERS)
def test_any_value_reaches_libpq_unchanged(
    password: str, user: str, database: str, folder: str
) -> None:
    """As an address, as keywords, and through each form that we write ourselves."""
    host = f"/{folder}"
    expected = {"user": user, "password": password, "dbname": database, "host": host}
    parts = {name: quote(value, safe="") for name, value in expected.items()}
    address = f"postgresql://{parts['user']}:{parts['password']}@/{parts['dbname']}"
    parsed = Conninfo.parse(f"{address}?host={parts['host']}")
    assert parsed.parameters == expected
    assert parameters(parsed.text()).items() >= expected.items()
    assert parameters(make_dsn(**expected)) == expected
    assert conninfo_to_dict(parsed.text()).items() >= {**DEFAULTS, **expected}.items()
    assert _psycopg2_arguments(parsed).items() >= expected.items()
    written = Database(parsed.text()).url.render_as_string(hide_password=False)
    assert parameters(written) == parameters(parsed.text())


def _psycopg2_arguments(conninfo: Conninfo) -> dict[str, str]:
    """What Dagster's storage passes to psycopg 2, by way of SQLAlchemy."""
    url = sa.make_url(conninfo.psycopg2_url())
    arguments, named = url.get_dialect()().create_connect_args(url)
    return parse_dsn(make_dsn(*arguments, **named))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("postgresql://h/d", {"host": "h", "dbname": "d"}),
        ("postgres://h:77/d\n", {"host": "h", "port": "77", "dbname": "d"}),
        ("postgresql://u@[::1]:77/d", {"user": "u", "host": "::1", "port": "77", "dbname": "d"}),
        (
            "postgresql://a:1,[fe80::1]:2,c/d?target_session_attrs=read-write",
            {
                "host": "a,fe80::1,c",
                "port": "1,2,",
                "dbname": "d",
                "target_session_attrs": "read-write",
            },
        ),
        ("postgresql:///d?host=/a%20b+c", {"dbname": "d", "host": "/a b+c"}),
        ("postgresql+psycopg:///d?host=/a%20b+c", {"dbname": "d", "host": "/a b c"}),
        (
            "postgresql+psycopg2://u:%zz/?x@/d?host=a:1&host=b:2",
            {"user": "u", "password": "%zz/?x", "dbname": "d", "host": "a,b", "port": "1,2"},
        ),
        (
            "postgresql+psycopg://u@:5432/d?host=/s",
            {"user": "u", "port": "5432", "dbname": "d", "host": "/s"},
        ),
        (
            "postgresql://h/d?sslmode=verify-full&sslrootcert=/a%20b/ca.pem&ssl=true",
            {"host": "h", "dbname": "d", "sslmode": "require", "sslrootcert": "/a b/ca.pem"},
        ),
        ("service=lalafo", {"service": "lalafo"}),
        (
            r"host=/a\ b password='it\'s \\ here' passfile='/x y'",
            {"host": "/a b", "password": r"it's \ here", "passfile": "/x y"},
        ),
        ("host='' dbname=d", {"host": "", "dbname": "d"}),
    ],
)
def test_every_form_is_read_as_its_author_means_it(text: str, expected: dict[str, str]) -> None:
    """libpq's addresses and keywords by libpq's rules, those with a driver by SQLAlchemy's."""
    assert parameters(text) == expected


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("postgresql://u:hunter%2@h/d", "%25"),
        ("postgresql://u:hunter%00two@h/d", "%00"),
        ("postgresql://u:hun@ter2@h/d", "%40"),
        ("postgresql+psycopg://u:hun@ter2@h/d", "%40"),
        ("postgresql://u:hun/ter2@h/d", "%2F"),
        ("postgresql://u:12/hunter2@h/d", "%2F"),
        ("postgresql://hunter2:hunter2/d", "%2F or %3A"),
        ("postgresql://u@h/d?hunter2=1", "does not know"),
        ("host=h password=it's hunter2", "quoted"),
        ("host=h password='hunter2", "does not end"),
        ("hunter2", "neither"),
        ("", "neither"),
        ("mysql://u:hunter2@h/d", "mysql"),
        ("host=h password=hunter\0two", "NUL"),
        ("postgresql://u:hunter2\udcff@h/d", "can't read"),
    ],
)
def test_what_cannot_be_read_is_refused_without_showing_it(text: str, reason: str) -> None:
    """The message says what to correct, and has no part of the string."""
    with pytest.raises(ConfigurationError, match=reason) as refused:
        Conninfo.parse(text, "LALAFO_DATABASE_DIRECT_URL")
    assert "LALAFO_DATABASE_DIRECT_URL" in str(refused.value)
    for part in ("hunter", "ter2"):
        assert part not in str(refused.value)
    assert refused.value.__cause__ is None


def test_given_parameters_win_over_the_defaults() -> None:
    """The project's time limits and names are only used where the string has none."""
    text = Conninfo.parse("postgresql://h/d?connect_timeout=9&application_name=shop").text(
        "lalafo-test"
    )
    found = conninfo_to_dict(text)
    assert (found["connect_timeout"], found["application_name"]) == ("9", "shop")
    assert found["fallback_application_name"] == "lalafo-test"


def test_settings_show_no_connection_string() -> None:
    """A log line or a traceback with the settings has no password."""
    url = "postgresql://u:hunter2@h/d"
    settings = Settings(database_url=url, database_direct_url=url, dagster_database_url=url)
    database = Database.from_settings(settings)
    assert "hunter2" not in f"{settings!r} {settings} {database.shown} {database.engine!r}"
    assert "hunter2" not in f"{database.conninfo!r} {database.engine.url!r} {database.url!r}"
