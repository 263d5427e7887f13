"""The environment and pool limits that a stack computes before it starts anything."""

from pathlib import Path

from lalafo_assets.stack.environment import (
    external_databases,
    external_kafka,
    gateway_environment,
    pictures_environment,
    pool_limits,
    without_passwords,
)
from resources.dagster.names import POOL_STREAM
from resources.embedded.postgres import EmbeddedPostgres

BOOTSTRAP = "LALAFO_KAFKA_BOOTSTRAP"


def test_the_stream_pool_has_slots_for_a_handover_of_every_session():
    assert pool_limits(1)[POOL_STREAM] == 3
    assert pool_limits(2)[POOL_STREAM] == 5


def test_an_external_kafka_is_used():
    assert external_kafka({BOOTSTRAP: "kafka:9092", "PATH": "/bin"}) == {BOOTSTRAP: "kafka:9092"}


def test_without_an_address_there_is_no_external_kafka():
    assert external_kafka({}) == {}
    assert external_kafka({BOOTSTRAP: ""}) == {}


def test_exports_of_an_earlier_embedded_broker_are_not_an_external_kafka():
    exports = {
        BOOTSTRAP: "127.0.0.1:41234",
        "LALAFO_KAFKA_API_VERSION": "2.0",
        "LALAFO_STREAM_ID": "embedded-6f1c",
    }
    assert external_kafka(exports) == {}


def test_a_kafka_with_a_log_in_is_exported_without_its_passwords(tmp_path: Path):
    """Exports are printed and written to a file; the children inherit the passwords. Files are
    named absolutely, since the children have another working folder."""
    environment = {
        BOOTSTRAP: "kafka:9093",
        "LALAFO_KAFKA_SECURITY_PROTOCOL": "SASL_SSL",
        "LALAFO_KAFKA_SASL_USERNAME": "shop",
        "LALAFO_KAFKA_SASL_PASSWORD": "s3cret",
        "LALAFO_KAFKA_SASL_OAUTHBEARER_CLIENT_SECRET": "s3cret",
        "LALAFO_KAFKA_SSL_KEY_PASSWORD": "s3cret",
        "LALAFO_KAFKA_SSL_CA_LOCATION": "ca.pem",
    }
    assert external_kafka(environment) == {
        BOOTSTRAP: "kafka:9093",
        "LALAFO_KAFKA_SECURITY_PROTOCOL": "SASL_SSL",
        "LALAFO_KAFKA_SASL_USERNAME": "shop",
        "LALAFO_KAFKA_SSL_CA_LOCATION": str(Path("ca.pem").absolute()),
    }


def test_a_properties_file_names_an_external_kafka(tmp_path: Path):
    """Its bootstrap.servers is the address, where no variable has one."""
    file = tmp_path / "client.properties"
    file.write_text("bootstrap.servers=kafka:9093\nsasl.password=s3cret\n")
    config = {"LALAFO_KAFKA_CONFIG": str(file)}
    assert external_kafka(config) == {BOOTSTRAP: "kafka:9093", **config}
    assert external_kafka({**config, BOOTSTRAP: "other:1"}) == {BOOTSTRAP: "other:1", **config}


def test_the_gateway_of_a_stack_requires_no_keys_unless_configured():
    """It stops within seconds, too. The environment overrides both."""
    names = ("LALAFO_GATEWAY_AUTH", "LALAFO_GATEWAY_STOP_S")
    assert gateway_environment({"PATH": "/bin"}) == dict(zip(names, ("off", "2"), strict=True))
    configured = dict(zip(names, ("keys", "30"), strict=True))
    assert gateway_environment(configured) == configured


ADS, DAGSTER = "LALAFO_DATABASE_URL", "LALAFO_DAGSTER_DATABASE_URL"
DIRECT = "LALAFO_DATABASE_DIRECT_URL"


def test_external_databases_are_used(tmp_path: Path) -> None:
    """Each by its own variable, in every form; with the address past a pooler, if there is one."""
    assert external_databases({}, tmp_path) == {}
    assert external_databases({ADS: "", DAGSTER: ""}, tmp_path) == {}
    given = {ADS: "postgresql://u@db/ads", DAGSTER: "host=db dbname=dagster"}
    assert external_databases(given, tmp_path) == {**given, DIRECT: ""}
    pooled = {ADS: "postgresql://u@pool:6432/ads", DIRECT: "postgresql://u@db/ads"}
    assert external_databases(pooled, tmp_path) == pooled


def test_exports_of_an_embedded_server_are_no_external_database(tmp_path: Path) -> None:
    """Those of this home never; those of another home not with those of its broker."""
    own, other = EmbeddedPostgres(tmp_path / "a b"), EmbeddedPostgres(tmp_path / "other")
    assert external_databases(own.exports(), tmp_path / "a b") == {}
    left = {**other.exports(), "LALAFO_STREAM_ID": "embedded-6f1c"}
    assert external_databases(left, tmp_path / "a b") == {}
    assert external_databases({ADS: other.url()}, tmp_path / "a b")[ADS] == other.url()


def test_passwords_are_not_exported() -> None:
    """Exports are printed and written to a file; children inherit the connection string."""
    given = {ADS: "postgresql://u:s3cret@db/ads", DAGSTER: "host=db dbname=d", DIRECT: ""}
    assert without_passwords(given) == {DAGSTER: "host=db dbname=d", DIRECT: ""}


def test_dagsters_pictures_come_from_the_gateway_unless_it_requires_keys():
    """A browser sends no API key with a picture; they are embedded then."""
    url = "http://127.0.0.1:8080"
    assert pictures_environment({}, url) == {"LALAFO_PICTURES_URL": url}
    assert pictures_environment({"LALAFO_GATEWAY_AUTH": "keys"}, url) == {}
    assert pictures_environment({"LALAFO_PICTURES_URL": "https://proxy"}, url) == {}
