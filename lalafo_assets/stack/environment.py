"""The environment of a stack's processes: variables, Dagster's home, the limits of its pools."""

from collections.abc import Mapping
from pathlib import Path

from ops.errors import ConfigurationError
from resources.embedded.postgres_state import is_embedded, socket_folder
from resources.kafka_properties import BOOTSTRAP, SECURITY_PROPERTIES, read_properties
from resources.postgres.conninfo import Conninfo

DAGSTER_STORAGE = """
storage:
  custom:
    module: resources.dagster.storage
    class: PostgresStorage
    config:
      postgres_url:
        env: LALAFO_DAGSTER_DATABASE_URL
"""
EMBEDDED_STREAM = "embedded-"  # how a stream id of the embedded broker begins
DATABASE, DAGSTER_DATABASE = "LALAFO_DATABASE_URL", "LALAFO_DAGSTER_DATABASE_URL"
DIRECT_DATABASE = "LALAFO_DATABASE_DIRECT_URL"


def pool_limits(sessions: int) -> dict[str, int]:
    """Return how many ops of each pool may run at once; a handover needs two per session."""
    from resources.dagster.names import POOL_BACKFILL, POOL_STREAM  # brings Dagster

    return {POOL_STREAM: 2 * sessions + 1, POOL_BACKFILL: 1}


def external_kafka(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the exports of the external Kafka that the environment names; {} if it names none.

    The exports of an embedded broker do not count: an earlier stack may have left them in the shell
    or in this process, and that broker ended with its stack. Passwords are not among the exports,
    which are printed and written to a file: children inherit them.
    """
    bootstrap, config = (
        environment.get(f"LALAFO_KAFKA_{it}", "") for it in ("BOOTSTRAP", "CONFIG")
    )
    if bootstrap == "" and config != "":
        bootstrap = read_properties(Path(config)).get(BOOTSTRAP, "")
    if bootstrap == "" or environment.get("LALAFO_STREAM_ID", "").startswith(EMBEDDED_STREAM):
        return {}
    names = ["LALAFO_KAFKA_API_VERSION", "LALAFO_STREAM_ID", "LALAFO_KAFKA_CONFIG"]
    names += [it.variable for it in SECURITY_PROPERTIES if not it.secret]
    found = {name: environment[name] for name in names if name in environment}
    for name, value in found.items():
        if value != "" and name.endswith(("_CONFIG", "_LOCATION")):
            found[name] = str(Path(value).absolute())  # the children have another working folder
    return {"LALAFO_KAFKA_BOOTSTRAP": bootstrap, **found}


def external_databases(environment: Mapping[str, str], home: Path) -> dict[str, str]:
    """Return the external databases that the environment names, by variable; {} if it names none.

    As for Kafka, the exports of an embedded server do not count: they are those of an earlier stack
    on this home, or came with those of its broker.

    Raises:
        ConfigurationError: a connection string can't be read.
    """
    left = environment.get("LALAFO_STREAM_ID", "").startswith(EMBEDDED_STREAM)
    own = str(socket_folder(home / "postgres"))
    found = {}
    for name in (DATABASE, DAGSTER_DATABASE):
        url = environment.get(name, "")
        if url == "":
            continue
        parameters = Conninfo.parse(url, name).parameters
        if not is_embedded(parameters) or not (left or parameters["host"] == own):
            found[name] = url
    if DATABASE in found:
        found[DIRECT_DATABASE] = environment.get(DIRECT_DATABASE, "")
    return found


def without_passwords(databases: Mapping[str, str]) -> dict[str, str]:
    """Return those of the connection strings that have no password, by variable."""
    return {
        name: url
        for name, url in databases.items()
        if url == "" or "password" not in Conninfo.parse(url, name).parameters
    }


def gateway_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the additional environment of the stack's gateway.

    It listens on loopback, so it requires no API keys unless the environment says otherwise. It
    stops faster than behind a load balancer, since Ctrl-C waits for it.
    """
    defaults = {"LALAFO_GATEWAY_AUTH": "off", "LALAFO_GATEWAY_STOP_S": "2"}
    return {name: environment.get(name, value) for name, value in defaults.items()}


def pictures_environment(environment: Mapping[str, str], gateway_url: str) -> dict[str, str]:
    """Return the export of the gateway from which Dagster's UI shows pictures.

    Nothing where the gateway requires keys, which a browser does not send with a picture.
    """
    name = "LALAFO_PICTURES_URL"
    if gateway_environment(environment)["LALAFO_GATEWAY_AUTH"] != "off":
        return {}
    return {} if environment.get(name, "") != "" else {name: gateway_url}


def make_dagster_home(folder: Path, checkout: Path) -> Path:
    """Write Dagster's configuration into a folder, with its storage in PostgreSQL; returns it.

    Raises:
        ConfigurationError: the checkout has no `dagster.yaml`.
    """
    config = checkout / "dagster.yaml"
    if not config.exists():
        raise ConfigurationError(
            f"{config} is missing: run `lalafo` from a checkout of the repository"
        )
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "dagster.yaml").write_text(config.read_text() + DAGSTER_STORAGE)
    return folder
