"""`lalafo topics`: the pipeline's topics as they are and as they should be; creates missing ones.

Owns the options and the output. `resources/kafka/topic_settings.py` has the settings.
"""

from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table
from rich.text import Text

from lalafo_assets.commands.console import DEFAULT_HOME, Home, new_console, use_running_stack

if TYPE_CHECKING:
    from resources.kafka.topic_settings import FoundTopic, TopicSettings

_DAY_MS = 86_400_000


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
    home: Home = DEFAULT_HOME,
) -> None:
    """Compare Kafka's topics with what the pipeline needs, and create those that are missing.

    `ads` has the ads to score, `ads.feedback` people's labels, `ads.scored` the results, `ads.dlq`
    records that are no events. LALAFO_ADS_TOPIC and LALAFO_DLQ_TOPIC name them.

    Existing topics are never changed: a difference is printed with the command that removes it. The
    status is 1 if a topic is missing or differs.
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
        bootstrap = stream.config.bootstrap
    created = {name for name in before if found[name] is not None}
    if not _print(wanted, found, created, bootstrap):
        raise typer.Exit(1)


def _print(
    wanted: "list[TopicSettings]",
    found: "dict[str, FoundTopic | None]",
    created: set[str],
    bootstrap: str,
) -> bool:
    """Print each topic, and what to do about those that differ; return whether none does."""
    console, todo = new_console(), list[str]()
    table = Table("topic", "partitions", "replicas", "record, bytes", "days", "state")
    for topic in wanted:
        at = found[topic.name]
        if at is None:
            todo.append("lalafo topics --create")
            state = "missing"
        else:
            differences = topic.differences(at)
            state = "; ".join(differences) or ("created" if topic.name in created else "ok")
            todo += _commands(topic, at, bootstrap) if differences else []
        table.add_row(Text(topic.name), *_figures(topic, at), Text(state))
    console.print(table)
    for topic in wanted:
        console.print(Text(f"{topic.name}: {topic.holds}"))
    for command in dict.fromkeys(todo):
        console.print(Text(f"To correct it: {command}"), soft_wrap=True)
    return not todo


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
