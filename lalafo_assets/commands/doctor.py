"""The command `lalafo doctor`: checks this machine and prints a fix for each problem."""

import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg
import typer
from rich.text import Text

from lalafo_assets.commands.console import AsJson, new_console, print_json
from lalafo_assets.commands.terminal.help_pages import help_page
from lalafo_assets.commands.terminal.tables import print_facts
from ops.errors import ConfigurationError, LalafoError

if TYPE_CHECKING:
    from resources.postgres.database import Database
    from resources.settings import Settings

PYTHON = (3, 11)
JAVA = 17


class Grade(StrEnum):
    OK = "ok"
    DEGRADED = "degraded"  # something works less well, or some tests are skipped
    FAILED = "failed"  # `make demo` will not work


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """The result of one check."""

    subject: str
    grade: Grade
    found: str
    fix: str = ""


@help_page(
    ("lalafo doctor", "a line for each check, with what to do"),
    ("LALAFO_HOME=/mnt/lalafo lalafo doctor", "with another folder for the state"),
    ("lalafo doctor --json | jq '.[] | select(.grade != \"ok\")'", "for programs"),
    reads="this machine; the servers that the environment names",
    writes="a file in the store that LALAFO_STORE_URL names, which it removes",
    settings=("home", "device", "database_url", "kafka_bootstrap", "store_url"),
    failure="the demo can't run here",
)
def doctor(as_json: AsJson = False) -> None:
    """Check this machine and print how to fix what is missing.

    Ends with status 1 if the demo can't run here.
    """
    found = list(diagnose())
    if as_json:
        print_json([asdict(line) for line in found])
    else:
        print_facts(new_console(), [(line.subject, _shown(line)) for line in found])
    if any(line.grade is Grade.FAILED for line in found):
        raise typer.Exit(1)


def _shown(line: Diagnosis) -> Text:
    """The mark and what was found; the fix in a line of its own, so that it can be copied."""
    marks = {Grade.OK: ("✓", "green"), Grade.DEGRADED: ("~", "yellow"), Grade.FAILED: ("✗", "red")}
    text = Text.assemble(marks[line.grade], " ", line.found)
    return text if line.fix == "" else text.append(f"\n  → {line.fix}")


def diagnose() -> Iterator[Diagnosis]:
    """Yield the result of every check, the required ones first."""
    from lalafo_assets.stack.ports import DEFAULT_PORT
    from lalafo_assets.stack.supervisor import running_stack
    from resources.settings import load_settings

    yield _python()
    try:
        settings = load_settings()
    except LalafoError as error:
        yield Diagnosis("settings", Grade.FAILED, str(error), "correct this variable")
        return
    yield Diagnosis("settings", Grade.OK, "every LALAFO_ variable is valid")
    yield from _disk(settings.home)
    stack = running_stack(settings.home)
    if stack is not None:
        where = " ".join(("running (process", f"{stack.pid});", stack.gateway_url, stack.ui_url))
        yield Diagnosis("stack", Grade.OK, where.strip())
    else:
        yield _port(DEFAULT_PORT)
    yield from _device(settings)
    yield _java()
    yield _program("mvn", "the tests on Apache Kafka download it", "apt-get install maven")
    yield _program("chromium", "the browser tests open the UI", "apt-get install chromium")
    yield from diagnose_tasks()
    yield from _servers(settings)
    yield from diagnose_store(settings)
    exports = {} if stack is None else stack.exports
    yield from diagnose_stack(settings_of(exports, settings))


def diagnose_tasks() -> Iterator[Diagnosis]:
    """Name the tasks that need an extra which is not installed here."""
    from ops.tasks import tasks_left_out

    for task, extra in tasks_left_out().items():
        yield Diagnosis(
            f"task {task}",
            Grade.OK,
            "not installed: releases that are made here do without it",
            f"pip install 'lalafo-vision[{extra}]', then `lalafo releases extend`",
        )


def diagnose_store(settings: "Settings") -> Iterator[Diagnosis]:
    """Try the store that the environment names, if it names one; else the home has been checked."""
    from resources.storage.filesystems import shown
    from resources.storage.stores import try_store

    if settings.store_url == "":
        return
    try:
        try_store(settings.store_url)
        yield Diagnosis("store", Grade.OK, shown(settings.store_url))
    except LalafoError as error:
        yield Diagnosis("store", Grade.FAILED, str(error), "correct it, or unset LALAFO_STORE_URL")


def settings_of(exports: "Mapping[str, str]", settings: "Settings") -> "Settings":
    """The settings, with a running stack's database and stream where the environment has none."""
    names = ("database_url", "ads_topic", "stream_id")
    running = {name: exports.get(f"LALAFO_{name.upper()}", "") for name in names}
    unset = {k: v for k, v in running.items() if v and k not in settings.model_fields_set}
    return settings.model_copy(update=unset)


def diagnose_stack(settings: "Settings") -> Iterator[Diagnosis]:
    """Yield what a person should know about the running stack; nothing where there is none."""
    from lalafo_assets.commands.notices import stack_notices

    if settings.database_url == "":
        return
    try:
        found = stack_notices(settings)
    except (LalafoError, psycopg.Error):  # `_servers` says why; or the schema is not migrated
        return
    for notice in found:
        grade = Grade.OK if notice.severity == "info" else Grade.DEGRADED
        subject = notice.code.replace("_", " ")
        yield Diagnosis(subject, grade, notice.message, notice.action or "")


def _python() -> Diagnosis:
    found = ".".join(map(str, sys.version_info[:3]))
    supported = sys.version_info[:2] >= PYTHON
    fix = "" if supported else "install Python 3.11 or later, then run `make clean-venv`"
    return Diagnosis("Python", Grade.OK if supported else Grade.FAILED, found, fix)


def _disk(home: Path) -> Iterator[Diagnosis]:
    from lalafo_assets.stack.disk import DEMO_BYTES, home_space, package_bytes

    space = home_space(home)
    if not space.writable:
        found = f"{space.place} is not a folder that can be written"
        fix = "set LALAFO_HOME to a folder that can be"
        yield Diagnosis("LALAFO_HOME", Grade.FAILED, found, fix)
        return
    needed = f"the demo needs {DEMO_BYTES / 1e9:.0f} GB"
    taken = f"LALAFO_HOME takes {space.taken_bytes / 1e9:.1f} GB so far"
    found = f"{space.free_bytes / 1e9:.0f} GB free at {space.place}; {needed}, {taken}"
    if space.enough:
        yield Diagnosis("disk", Grade.OK, found)
    else:
        fix = "free some space, or set LALAFO_HOME to a folder on another disk"
        yield Diagnosis("disk", Grade.FAILED, found, fix)
    folder, total, cuda = package_bytes()
    found = f"{total / 1e9:.1f} GB at {folder}, of which CUDA takes {cuda / 1e9:.1f} GB"
    yield Diagnosis("packages", Grade.OK, found)


def _port(port: int) -> Diagnosis:
    from lalafo_assets.stack.ports import port_is_free

    if port_is_free(port):
        return Diagnosis("port", Grade.OK, f"{port} is free for Dagster's UI")
    return Diagnosis(
        "port",
        Grade.DEGRADED,
        f"{port} is in use; the next free one will be used",
        "or choose one with --port N",
    )


def _device(settings: "Settings") -> Iterator[Diagnosis]:
    from resources.inference.device import choose_device, describe_device
    from resources.inference.engines import recorded_choices

    try:
        device = choose_device(settings.device)
    except LalafoError as error:
        yield Diagnosis("device", Grade.FAILED, str(error), "set LALAFO_DEVICE=auto")
        return
    facts = describe_device(device)
    precision = "bf16" if facts.bf16 else "fp32 (no bf16 here: about half as fast)"
    compiler = "none" if facts.cpp_compiler is None else facts.cpp_compiler
    found = f"{device}, {facts.threads} threads, {precision}, torch {facts.torch}"
    yield Diagnosis("device", Grade.OK, f"{found}, C++ compiler: {compiler}")
    for name, choice in recorded_choices(settings.home).items():
        yield Diagnosis("engine", Grade.OK, f"{name} runs by {choice.reason}")


def _java() -> Diagnosis:
    consequence = "the tests on Apache Kafka are skipped"
    fix = "apt-get install openjdk-17-jre-headless"
    java = shutil.which("java")
    if java is None:
        return Diagnosis("Java", Grade.DEGRADED, f"not found: {consequence}", fix)
    output = subprocess.run([java, "-version"], capture_output=True, text=True, check=False).stderr
    version = output.split('"')[1] if '"' in output else "unknown"
    major = version.partition(".")[0]
    if not major.isdigit() or int(major) < JAVA:
        found = f"{version}: {consequence}, since they need Java {JAVA} or later"
        return Diagnosis("Java", Grade.DEGRADED, found, fix)
    return Diagnosis("Java", Grade.OK, version)


def _program(name: str, purpose: str, fix: str) -> Diagnosis:
    path = shutil.which(name)
    if path is None:
        return Diagnosis(name, Grade.DEGRADED, f"not found: {purpose} with it, or are skipped", fix)
    return Diagnosis(name, Grade.OK, path)


def _servers(settings: "Settings") -> Iterator[Diagnosis]:
    """Check the servers that the environment names; none is fine, the demo starts its own."""
    from resources.postgres.database import Database

    if settings.database_url != "":
        try:
            with closing(Database.from_settings(settings)) as database:
                database.check()
                yield Diagnosis("PostgreSQL", Grade.OK, database.shown)
                yield from diagnose_pgvector(database)
        except LalafoError as error:
            yield Diagnosis(
                "PostgreSQL", Grade.FAILED, str(error), "start it, or unset LALAFO_DATABASE_URL"
            )
    if settings.kafka_bootstrap != "":
        yield _kafka(settings)


def diagnose_pgvector(database: "Database") -> Iterator[Diagnosis]:
    """Name the faults of the pgvector version, where there is one."""
    from resources.vector_search.indexes import PARALLEL_FROM, SOUND_FROM, pgvector_version

    with database.cursor() as cursor:
        version = pgvector_version(cursor)
    if version == ():
        return  # `lalafo migrate` creates it
    shown = ".".join(str(part) for part in version)
    if version >= SOUND_FROM:
        yield Diagnosis("pgvector", Grade.OK, shown)
        return
    faults = "a vacuum may damage an index of vectors"
    if version < PARALLEL_FROM:
        faults += ", and no index is built in parallel (CVE-2026-3172)"
    yield Diagnosis(
        *("pgvector", Grade.DEGRADED, f"{shown}: {faults}"),
        "install 0.8.4 or later, then: ALTER EXTENSION vector UPDATE",
    )


def _kafka(settings: "Settings") -> Diagnosis:
    """Connect, log in, describe the topics, and ask what the ACLs allow; writes nothing."""
    from resources.kafka.rights import all_operations
    from resources.kafka.topics import AdStream

    try:
        with AdStream.from_settings(settings) as stream:
            partitions = len(stream.partitions())
            stream.check_rights(all_operations(stream.config))
            access = stream.config.access
    except ConfigurationError as error:
        return Diagnosis("Kafka", Grade.FAILED, str(error), "correct it there")
    except LalafoError as error:
        fix = "start it, or unset LALAFO_KAFKA_BOOTSTRAP"
        return Diagnosis("Kafka", Grade.FAILED, str(error), fix)
    login = f", {access.mechanism} as {access.principal}" if access.mechanism else ""
    found = f"{settings.kafka_bootstrap}, {access.protocol}{login}, {partitions} partitions"
    return Diagnosis("Kafka", Grade.OK, found)
