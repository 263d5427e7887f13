"""Every form of connection string connects every client: real log-ins, TLS, hosts and files."""

import asyncio
import socket
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.parse import quote

import psycopg
import psycopg2
import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from psycopg import sql
from psycopg2.extensions import make_dsn

from gateway.backends.database import GatewayDatabase
from ops.errors import RetryableError
from resources.embedded.postgres import EmbeddedPostgres
from resources.postgres.connections import open_connections
from resources.postgres.conninfo import Conninfo
from resources.postgres.database import Database
from tests.support.certificates import Certificates, make_certificates
from tests.support.pgbouncer import pgbouncer
from tests.support.tcp_relay import tcp_relay

WHO = "SELECT session_user::text"
USER = "o'Neil @/?:#[]%"
PASSWORDS = st.text(st.characters(exclude_characters="\0", exclude_categories=("Cs",)), min_size=1)


@pytest.fixture(scope="module")
def server() -> Iterator[EmbeddedPostgres]:
    """A server that asks for passwords, in a folder with a space and Cyrillic."""
    with TemporaryDirectory(prefix="lalafo-test-") as folder:
        Path(folder).chmod(0o755)
        rules = Path(folder) / "hba.conf"
        rules.write_text("local all postgres trust\nlocal all all scram-sha-256\n")
        rules.chmod(0o644)
        server = EmbeddedPostgres(
            Path(folder) / "моя папка", overrides={"hba_file": str(rules), "fsync": "off"}
        )
        server.start()
        with psycopg.connect(Conninfo.parse(server.url()).text(), autocommit=True) as admin:
            admin.execute(sql.SQL("CREATE ROLE {} LOGIN").format(sql.Identifier(USER)))
        yield server
        server.stop()


@pytest.fixture(scope="module")
def admin(server: EmbeddedPostgres) -> Iterator[psycopg.Connection]:
    with psycopg.connect(Conninfo.parse(server.url()).text(), autocommit=True) as admin:
        yield admin


@pytest.fixture(scope="module")
def socket_path(server: EmbeddedPostgres) -> str:
    parameters = Conninfo.parse(server.url()).parameters
    return f"{parameters['host']}/.s.PGSQL.{parameters['port']}"


@pytest.fixture(scope="module")
def port(socket_path: str) -> Iterator[int]:
    with tcp_relay(socket_path) as port:
        yield port


def set_password(admin: psycopg.Connection, password: str) -> None:
    statement = sql.SQL("ALTER ROLE {} PASSWORD {}")
    admin.execute(statement.format(sql.Identifier(USER), sql.Literal(password)))


def by_engine(text: str) -> str:
    with closing(Database(text)) as database, database.begin() as connection:
        return str(connection.execute(sa.text(WHO)).scalar_one())


def by_sqlalchemys_url(text: str) -> str:
    with closing(Database(text)) as database:
        return by_engine(database.url.render_as_string(hide_password=False))


def by_worker(text: str) -> str:
    """As worker processes get it: written, and parsed again."""
    with closing(Database(text)) as database:
        return by_engine(database.conninfo.text("worker"))


def by_own_connection(text: str) -> str:
    """As a session's membership connects."""
    with closing(Database(text)) as database:
        connection = database.connect_directly("test")
        with closing(connection):
            return str(connection.execute(WHO).fetchall()[0][0])


def by_dagster(text: str) -> str:
    """As Dagster's storage connects: SQLAlchemy with psycopg 2."""
    engine = sa.create_engine(Conninfo.parse(text).psycopg2_url(), poolclass=sa.NullPool)
    with engine.connect() as connection:
        return str(connection.execute(sa.text(WHO)).scalar_one())


def by_gateway(text: str) -> str:
    async def ask() -> str:
        async with GatewayDatabase(text, size=2) as database:
            listener = await database.listener()
            assert listener is not None
            await listener.close()
            async with database.connection() as connection:
                return str((await (await connection.execute(WHO)).fetchall())[0][0])

    return asyncio.run(ask())


def by_thread(text: str) -> str:
    """As the gateway's relay and statistics connect."""
    database = GatewayDatabase(text, size=2).blocking()
    with closing(database), database.cursor() as cursor:
        return str(cursor.execute(WHO).fetchall()[0][0])


CLIENTS = [
    *(by_engine, by_sqlalchemys_url, by_worker, by_own_connection, by_dagster),
    *(by_gateway, by_thread),
]


@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(password=PASSWORDS)
@example(password=r"p@ss/w:o?r#d%20 '\"+&=[]")
@example(password="пароль 密码")
@example(password=" leading and trailing ")
def test_any_password_logs_in_over_tcp(password: str, admin: psycopg.Connection, port: int) -> None:
    """By SCRAM, as an address and as keywords."""
    set_password(admin, password)
    given = {"host": "127.0.0.1", "port": port, "user": USER, "password": password}
    account = f"{quote(USER, safe='')}:{quote(password, safe='')}"
    for text in (
        make_dsn(**given, dbname="lalafo"),
        f"postgresql://{account}@127.0.0.1:{port}/lalafo",
        f"postgresql+psycopg://{account}@127.0.0.1:{port}/lalafo",
    ):
        for client in (by_engine, by_dagster):
            assert client(text) == USER


@pytest.mark.parametrize("client", CLIENTS, ids=lambda client: client.__name__)
def test_every_client_connects_by_every_form(
    client: Callable[[str], str],
    admin: psycopg.Connection,
    server: EmbeddedPostgres,
    socket_path: str,
    port: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Sockets below any folder, TCP, IPv6, several hosts, service and password files."""
    password = r"p@ss/w:o?r#d%20 '\"+&=[]"
    set_password(admin, password)
    user, secret = quote(USER, safe=""), quote(password, safe="")
    folder = str(Path(socket_path).parent)
    name = USER.replace("'", r"\'")
    word = password.replace("\\", r"\\").replace("'", r"\'")
    escaped = [text.replace("\\", r"\\").replace(":", r"\:") for text in (USER, password)]
    passwords = tmp_path / "pass words"
    passwords.write_text(f"*:*:*:{':'.join(escaped)}\n")
    passwords.chmod(0o600)
    services = tmp_path / "services"
    services.write_text(f"[shop]\nhost={folder}\nuser={USER}\npassword={password}\ndbname=lalafo\n")
    monkeypatch.setenv("PGSERVICEFILE", str(services))
    with socket.create_server(("127.0.0.1", 0)) as unused:
        closed = unused.getsockname()[1]
    forms = [
        f"postgresql://{user}:{secret}@/lalafo?host={quote(folder, safe='')}",
        f"postgresql://{user}:{secret}@{quote(folder, safe='')}/lalafo",
        f"postgresql+psycopg2://{user}:{secret}@/lalafo?host={folder.replace(' ', '+')}",
        f"host='{folder}' user='{name}' password='{word}' dbname=lalafo",
        f"postgresql://{user}:{secret}@127.0.0.1:{closed},127.0.0.1:{port}/lalafo"
        "?target_session_attrs=read-write",
        f"postgresql+psycopg://{user}:{secret}@/lalafo"
        f"?host=127.0.0.1:{closed}&host=127.0.0.1:{port}",
        f"host=127.0.0.1 port={port} user='{name}' dbname=lalafo passfile='{passwords}'",
        "service=shop",
    ]
    for text in forms:
        assert client(text) == USER, text
    if _has_ipv6():
        with tcp_relay(socket_path, "::1") as sixth:
            assert client(f"postgresql://{user}:{secret}@[::1]:{sixth}/lalafo") == USER


def _has_ipv6() -> bool:
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        return False
    return True


@pytest.mark.parametrize("client", CLIENTS, ids=lambda client: client.__name__)
def test_a_refused_log_in_shows_no_password(
    client: Callable[[str], str],
    admin: psycopg.Connection,
    port: int,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Neither the error with its causes, nor the log, nor a process's output has it."""
    set_password(admin, "right")
    caplog.set_level("DEBUG")
    text = f"postgresql://{quote(USER, safe='')}:hunter2@127.0.0.1:{port}/lalafo"
    with pytest.raises((RetryableError, sa.exc.OperationalError, psycopg2.Error)) as refused:
        client(text)
    error: BaseException | None = refused.value
    while error is not None:
        assert "hunter2" not in f"{error} {error!r} {error.args}"
        error = error.__cause__ or error.__context__
    shown = "".join(capsys.readouterr()) + caplog.text
    assert "hunter2" not in shown


@pytest.fixture(scope="module")
def tls(server: EmbeddedPostgres) -> Iterator[tuple[int, Certificates]]:
    """The server behind TLS; the wheel's PostgreSQL has none, so PgBouncer ends it."""
    with TemporaryDirectory(prefix="lalafo-test-") as folder:
        Path(folder).chmod(0o755)
        made = make_certificates(Path(folder))
        for file in Path(folder).iterdir():
            file.chmod(0o644)
        options = {
            "client_tls_sslmode": "require",
            "client_tls_key_file": str(made.key),
            "client_tls_cert_file": str(made.certificate),
        }
        with pgbouncer(server, mode="session", settings=options) as port:
            yield port, made


@pytest.mark.parametrize(
    "client", [by_engine, by_worker, by_own_connection, by_dagster], ids=lambda c: c.__name__
)
def test_tls_is_checked_as_the_connection_string_says(
    client: Callable[[str], str], tls: tuple[int, Certificates], tmp_path: Path
) -> None:
    """sslmode=verify-full accepts the authority and the host's name, and nothing else."""
    port, made = tls
    folder = tmp_path / "свои ключи"
    folder.mkdir()
    trusted, other = folder / "ca 1.pem", make_certificates(folder).authority
    trusted.write_bytes(made.authority.read_bytes())
    base = f"port={port} user=postgres dbname=lalafo sslmode=verify-full"
    assert client(f"host=localhost {base} sslrootcert='{trusted}'") == "postgres"
    address = f"postgresql://postgres@localhost:{port}/lalafo?sslmode=verify-full"
    assert client(f"{address}&sslrootcert={quote(str(trusted))}") == "postgres"
    for wrong in (
        f"host=127.0.0.1 {base} sslrootcert='{trusted}'",
        f"host=localhost {base} sslrootcert='{other}'",
        f"host=localhost port={port} user=postgres dbname=lalafo sslmode=disable",
    ):
        with pytest.raises((RetryableError, sa.exc.OperationalError)):
            client(wrong)


def test_connections_are_counted_until_they_are_closed(database: Database) -> None:
    """The number that the metrics show is that of open connections."""
    before = open_connections()
    with closing(database.connect_directly("test")), database.begin():
        assert open_connections() == before + 2
    database.close()
    assert open_connections() == before


def test_a_pool_is_bounded(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """One more than `connections` waits, and fails instead of opening another."""
    monkeypatch.setattr("resources.postgres.database.POOL_TIMEOUT_S", 0.1)
    with (
        closing(Database(database_url, connections=2)) as database,
        database.begin(),
        database.begin(),
        pytest.raises(RetryableError, match="became free"),
        database.begin(),
    ):
        pass
