"""`lalafo topics`: the pipeline's topics as they are and as they should be; creates missing ones.

Owns the options and the output. `resources/kafka/topic_settings.py` has the settings.
"""

from typing import TYPE_CHECKING, Annotated

import typer
from rich.text import Text

from lalafo_assets.commands.console import (
    DEFAULT_HOME,
    AsJson,
    Home,
    new_console,
    print_json,
    use_running_stack,
)
from lalafo_assets.commands.terminal.help_pages import help_page
from lalafo_assets.commands.terminal.tables import Col, print_facts, print_table

if TYPE_CHECKING:
    from resources.kafka.topic_settings import FoundTopic, TopicSettings

_DAY_MS = 86_400_000


@help_page(
    ("lalafo topics", "each topic, and the command that corrects it"),
    ("lalafo topics --create --partitions 8", "create those that are missing"),
    ("lalafo topics --asyncapi > asyncapi.yaml", "the contract: keys, headers, schemas"),
    reads="Kafka: the topics and their settings",
    writes="Kafka: missing topics, with --create",
    settings=("kafka_bootstrap", "kafka_config", "ads_topic", "dlq_topic"),
    failure="a topic is missing or differs, or Kafka is unreachable",
)
def topics(
    create: Annotated[
        bool,
        typer.Option("--create", help="Create the topics that are missing, with their settings."),
    ] = False,
    partitions: Annotated[
        int,
        typer.Option(
            min=1,
            help="Partitions of a new topic: at most so many sessions read `ads` at once. The dead "
            "letters' topic gets one.",
        ),
    ] = 4,
    asyncapi: Annotated[
        bool,
        typer.Option(
            "--asyncapi",
            help="Print the contract instead: topics, keys, headers and schemas, as AsyncAPI 3.",
        ),
    ] = False,
    as_json: AsJson = False,
    home: Home = DEFAULT_HOME,
) -> None:
    """Compare Kafka's topics with what the pipeline needs, and create those that are missing.

    `ads` has the ads to score, `ads.feedback` people's labels, `ads.scored` the results, `ads.dlq`
    records that are no events. LALAFO_ADS_TOPIC and LALAFO_DLQ_TOPIC name them.

    Existing topics are never changed: a difference is printed with the command that removes it.
    """
    from lalafo_assets.commands.kafka.contract import as_yaml, document
    from resources.kafka.connection import StreamConfig
    from resources.kafka.topic_settings import wanted_topics
    from resources.kafka.topics import AdStream
    from resources.settings import load_settings

    use_running_stack(home)
    settings = load_settings()
    if asyncapi:
        names = StreamConfig("", None, "", settings.ads_topic, settings.dlq_topic)
        contract = document(names, settings.event_limits)
        print(as_yaml(contract), end="")  # noqa: T201 - the result
        return
    with AdStream.from_settings(settings) as stream:
        wanted = wanted_topics(stream.config, partitions)
        before = {topic.name for topic in wanted if stream.found_topic(topic.name) is None}
        if create and before:
            stream.ensure_topics(partitions)
        found = {topic.name: stream.found_topic(topic.name) for topic in wanted}
    created = {name for name in before if found[name] is not None}
    rows = [_row(topic, found[topic.name], topic.name in created) for topic in wanted]
    todo = [
        command
        for topic in wanted
        for command in _todo(topic, found[topic.name], stream.config.bootstrap)
    ]
    if as_json:
        print_json({"topics": rows, "to_correct": list(dict.fromkeys(todo))})
    else:
        _print(rows, todo)
    if todo:
        raise typer.Exit(1)


def _row(topic: "TopicSettings", found: "FoundTopic | None", created: bool) -> dict[str, str]:
    """One topic: as it is, else as it should be."""
    state = "created" if created else "ok"
    if found is None:
        state = "missing"
    elif differences := topic.differences(found):
        state = "; ".join(differences)
    names = ("partitions", "replicas", "max_bytes", "days")
    figures = dict(zip(names, _figures(topic, found), strict=True))
    return {"topic": topic.name, **figures, "state": state, "holds": topic.holds}


def _todo(topic: "TopicSettings", found: "FoundTopic | None", bootstrap: str) -> list[str]:
    """The commands that give a topic what it lacks."""
    if found is None:
        return ["lalafo topics --create"]
    return _commands(topic, found, bootstrap) if topic.differences(found) else []


def _print(rows: list[dict[str, str]], todo: list[str]) -> None:
    console = new_console()
    figures = [Col(name, "right") for name in ("partitions", "replicas", "record, bytes", "days")]
    print_table(
        console,
        ["topic", *figures, Col("state", prose=True)],
        [[text for name, text in row.items() if name != "holds"] for row in rows],
    )
    console.print()
    print_facts(console, [(row["topic"], row["holds"]) for row in rows])
    for command in dict.fromkeys(todo):
        console.print(Text(f"To correct it: {command}"), soft_wrap=True)


def _figures(topic: "TopicSettings", found: "FoundTopic | None") -> tuple[str, str, str, str]:
    """Partitions, replicas, bytes and days: of the topic as it is, else as it should be."""
    configs = topic.configs if found is None else found.configs
    partitions = topic.partitions if found is None else found.partitions
    replicas = "" if found is None else str(found.replicas)
    kept = configs.get("retention.ms")
    days = "?" if kept is None else "all" if kept == "-1" else f"{int(kept) / _DAY_MS:g}"
    return str(partitions), replicas, configs.get("max.message.bytes", "?"), days


def _commands(topic: "TopicSettings", found: "FoundTopic", bootstrap: str) -> list[str]:
    """Kafka's own commands that give a topic its settings."""
    to = f"--bootstrap-server {bootstrap} --topic {topic.name}"
    commands = []
    if found.partitions < topic.partitions:
        commands.append(f"kafka-topics.sh {to} --alter --partitions {topic.partitions}")
    different = [
        f"{name}={value}"
        for name, value in topic.configs.items()
        if any(text.startswith(f"{name} ") for text in topic.differences(found))
    ]
    if different:
        named = f"--bootstrap-server {bootstrap} --entity-type topics --entity-name {topic.name}"
        commands.append(f"kafka-configs.sh {named} --alter --add-config {','.join(different)}")
    return commands
