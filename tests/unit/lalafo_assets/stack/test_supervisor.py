"""What a stack decides before it starts anything."""

from lalafo_assets.stack.environment import external_kafka, gateway_environment, pool_limits
from resources.dagster.names import POOL_STREAM

BOOTSTRAP = "LALAFO_KAFKA_BOOTSTRAP"


def test_a_handover_of_every_session_finds_a_place():
    assert pool_limits(1)[POOL_STREAM] == 3
    assert pool_limits(2)[POOL_STREAM] == 5


def test_a_kafka_that_the_environment_names_is_used():
    assert external_kafka({BOOTSTRAP: "kafka:9092", "PATH": "/bin"}) == {BOOTSTRAP: "kafka:9092"}


def test_without_a_name_there_is_none():
    assert external_kafka({}) == {}
    assert external_kafka({BOOTSTRAP: ""}) == {}


def test_what_an_earlier_embedded_broker_left_in_the_shell_is_none():
    left = {
        BOOTSTRAP: "127.0.0.1:41234",
        "LALAFO_KAFKA_API_VERSION": "2.0",
        "LALAFO_STREAM_ID": "embedded-6f1c",
    }
    assert external_kafka(left) == {}


def test_the_gateway_of_a_stack_asks_for_no_keys_unless_it_is_told_to():
    name = "LALAFO_GATEWAY_AUTH"
    assert gateway_environment({"PATH": "/bin"}) == {name: "off"}
    assert gateway_environment({name: "keys"}) == {name: "keys"}
