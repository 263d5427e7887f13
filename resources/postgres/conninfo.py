"""Connection strings: LALAFO_DATABASE_URL in any form, as the parameters of libpq.

Accepts what libpq accepts (postgresql:// addresses and keyword=value strings), and addresses with
the name of a driver, as SQLAlchemy writes them. Everything that connects gets its string from here,
so nothing is quoted twice. No message contains a part of a string that could hold a password.
Connects to nothing, and does not depend on SQLAlchemy.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Self
from urllib.parse import parse_qsl, quote, unquote, urlencode

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from ops.errors import ConfigurationError

URL_SETTING = "LALAFO_DATABASE_URL"
DIRECT_URL_SETTING = "LALAFO_DATABASE_DIRECT_URL"
DEFAULTS: Mapping[str, str] = {
    "connect_timeout": "5",
    # A peer that vanished without closing is noticed in half a minute, not in two hours.
    "keepalives_idle": "10",
    "keepalives_interval": "5",
    "keepalives_count": "3",
    "tcp_user_timeout": "20000",
}
"""Parameters of every connection, unless the connection string has them."""

_SCHEME = re.compile(r"([A-Za-z][\w.-]*)(\+[\w.-]*)?://(.*)", re.S)
# The authority as SQLAlchemy reads it: a password may contain everything but "@".
_SQLALCHEMY = re.compile(r"(?:([^:/@]*)(?::([^@]*))?@)?([^@?]*)(?:\?(.*))?", re.S)
_HOST_AND_PORT = re.compile(r"([A-Za-z0-9.-]*|\[[0-9A-Fa-f:.]*\]):(\d*)")
_EXPECTED = (
    "expected postgresql://user:password@host:5432/database, with every special character of the "
    "password percent-encoded, or host=… port=… user=… password='…' dbname=…"
)
# How libpq's messages begin; what follows may be a part of a password, and is left out.
_REASONS: Mapping[str, str] = {
    "invalid percent-encoded token": "a % is not followed by two hex digits: write a % as %25",
    "forbidden value %00": "it contains %00, which PostgreSQL does not allow",
    "invalid connection option": "it has a parameter that libpq does not know",
    "invalid URI query parameter": "it has a parameter after ? that libpq does not know",
    "unterminated quoted string": "a quoted value does not end",
    "missing": "a parameter has no =, or a value with a space is not quoted",
}


@dataclass(frozen=True, slots=True)
class Conninfo:
    """The parameters of a connection, as given. Its `repr` shows no password."""

    parameters: Mapping[str, str] = field(repr=False)

    @classmethod
    def parse(cls, text: str, setting: str = URL_SETTING) -> Self:
        """Parse a connection string.

        Args:
            setting: the setting that it comes from, for messages.

        Raises:
            ConfigurationError: it is not one of PostgreSQL, or can't be read. The message has no
                part of it.
        """
        text = text.strip(" \t\r\n")  # a secret that was read from a file ends with a newline
        try:
            return cls(_checked(_parsed(text)))
        except ValueError as error:
            raise ConfigurationError(
                f"{setting} is not a PostgreSQL connection string: {error}; {_EXPECTED}"
            ) from None

    def text(self, application: str = "lalafo", **parameters: str) -> str:
        """The string for libpq (psycopg), with the project's defaults.

        Args:
            application: shown in `pg_stat_activity`, unless the connection string has a name.
            parameters: replace those of the connection string.
        """
        name = {"fallback_application_name": application}
        return make_conninfo(**{**DEFAULTS, **name, **self.parameters, **parameters})

    def psycopg2_url(self) -> str:
        """The address for SQLAlchemy with psycopg 2, which Dagster's storage uses.

        libpq gets the parameters as one string, so that SQLAlchemy interprets none of them. The
        password stands in its own place, where SQLAlchemy hides it.
        """
        others = {**DEFAULTS, **self.parameters}
        password = others.pop("password", None)
        dsn = urlencode({"dsn": make_conninfo(**others)}, quote_via=quote)
        secret = "" if password is None else f":{quote(password, safe='')}@"
        return f"postgresql+psycopg2://{secret}/?{dsn}"

    @property
    def shown(self) -> str:
        """Host and database for log messages: no secret."""
        values = self.parameters
        if "service" in values:
            return f"the service {values['service']}"
        host = values.get("host", values.get("hostaddr", "its default host"))
        return f"{host}/{values.get('dbname', '')}"

    def __str__(self) -> str:
        return self.shown


def _parsed(text: str) -> dict[str, str]:
    scheme = _SCHEME.fullmatch(text)
    if scheme is None:
        if "=" not in text:
            raise ValueError("it is neither an address nor a list of parameters")
        return _by_libpq(text)
    name, driver, rest = scheme.groups()
    if name not in ("postgresql", "postgres"):
        raise ValueError(f"it names {name}, and only PostgreSQL is supported")
    if driver is not None:
        return _by_libpq(_from_sqlalchemy(rest))
    if "@" in rest.partition("?")[0].partition("/")[2]:
        raise ValueError("there is an @ behind a /: write them as %40 and %2F in a password")
    return _by_libpq(f"postgresql://{rest}")


def _by_libpq(text: str) -> dict[str, str]:
    if "\0" in text:
        raise ValueError("it contains a NUL character")
    try:
        return {name: str(value) for name, value in conninfo_to_dict(text).items()}
    except (psycopg.Error, UnicodeError) as error:
        said = str(error)
        for begin, reason in _REASONS.items():
            if said.startswith(begin):
                raise ValueError(reason) from None
        raise ValueError("libpq can't read it") from None


def _from_sqlalchemy(rest: str) -> str:
    """The same address for libpq, which does not read "+" as a space, and takes a host once."""
    match = _SQLALCHEMY.fullmatch(rest)
    if match is None:
        raise ValueError("there is an @ in the password: write it as %40")
    user, password, place, query = match.groups()
    secret = "" if password is None else f":{quote(unquote(password), safe='')}"
    account = "" if user is None else f"{quote(unquote(user), safe='')}{secret}@"
    values = parse_qsl(query or "", keep_blank_values=True)
    parameters = {name: value for name, value in values if name != "host"}
    parameters.update(_hosts([value for name, value in values if name == "host"]))
    return f"postgresql://{account}{place}?{urlencode(parameters, quote_via=quote)}"


def _hosts(values: list[str]) -> dict[str, str]:
    """Hosts as SQLAlchemy takes them: `host` several times, each with its port."""
    split = [_HOST_AND_PORT.fullmatch(value) for value in values]
    if values == []:
        return {}
    if len(values) == 1 and split[0] is None:
        return {"host": values[0]}
    hosts = [v if m is None else m[1].strip("[]") for v, m in zip(values, split, strict=True)]
    ports = ["" if m is None else m[2] for m in split]
    return {"host": ",".join(hosts), **({"port": ",".join(ports)} if any(ports) else {})}


def _checked(parameters: dict[str, str]) -> dict[str, str]:
    """Refuse what a password that is not encoded turns into: libpq's messages would show it."""
    hosts = parameters.get("host", "").split(",")
    if any("@" in host[1:] for host in hosts if not host.startswith("/")):
        raise ValueError("there is an @ in the host: write an @ of the password as %40")
    ports = parameters.get("port", "").split(",")
    if any(port != "" and not port.isdecimal() for port in ports):
        raise ValueError("the port is not a number: write a / or : of the password as %2F or %3A")
    return parameters
