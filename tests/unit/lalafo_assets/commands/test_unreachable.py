"""What a command needs and can't reach is named in one line, with what to do about it."""

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from lalafo_assets.cli import app
from ops.errors import ConfigurationError, LalafoError

CLOSED = "127.0.0.1:9"  # the discard port: nothing listens there
EVENT = (
    '{"schema":1,"event_id":"e-1","kind":"upserted","catalog":"kg","ad_id":"1","revision":1,'
    '"occurred_at":"2026-11-22T10:00:00Z"}\n'
)
ARGUMENTS = {
    "diff": [],
    "dlq list": [],
    "dlq replay": ["1"],
    "dlq show": ["1"],
    "export": ["--to", "files"],
    "keys list": [],
    "keys make": ["shop"],
    "keys revoke": ["shop"],
    "keys rotate": ["shop"],
    "promote": ["--rollback"],
    "migrate": [],
    "publish": ["events.jsonl"],
    "releases check": ["x"],
    "releases extend": [],
    "releases install": ["starter"],
    "releases list": [],
    "releases withdraw": ["x"],
    "rescore": ["x"],
    "results": ["kg/1"],
    "serve": ["--port", "0"],
    "similar": ["kg/1"],
    "duplicates": ["kg/1"],
    "segments": ["kg/1"],
    "stats": [],
    "topics": [],
    "train": [],
}
"""Of every command that uses a running stack, or the servers that the environment names."""
STARTS_ITS_OWN = {"demo", "up", "bench batch", "bench event-log", "bench gateway", "bench rescore"}
STARTS_ITS_OWN |= {
    "bench duplicates",
    "bench engines",
    "bench export",
    "bench growth",
    "bench peers",
    "bench price",
    "bench quality",
    "bench search",
    "bench segments",
    "bench start",
    "bench stream",
}
STARTS_ITS_OWN |= {"backbones", "doctor", "settings"}  # these need nothing


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty folder with one file of events, and no settings."""
    for name in [it for it in os.environ if it.startswith(("LALAFO_", "DAGSTER_"))]:
        monkeypatch.delenv(name)
    (tmp_path / "events.jsonl").write_text(EVENT)
    monkeypatch.chdir(tmp_path)


def commands(group: object, path: tuple[str, ...] = ()) -> Iterator[str]:
    below: dict[str, object] | None = getattr(group, "commands", None)
    if below is None:
        yield " ".join(path)
        return
    for name, command in below.items():
        yield from commands(command, (*path, name))


def test_every_command_is_tried() -> None:
    """A new command gets an entry above."""
    assert set(commands(typer.main.get_command(app))) == set(ARGUMENTS) | STARTS_ITS_OWN


@pytest.mark.parametrize("command", ARGUMENTS)
def test_without_a_stack_a_command_says_how_to_start_one(command: str, tmp_path: Path) -> None:
    """In one line, and it leaves no file behind."""
    message = failed(command)
    assert "lalafo up" in message
    assert [it.name for it in tmp_path.iterdir()] == ["events.jsonl"]


@pytest.mark.parametrize("command", ARGUMENTS)
def test_servers_that_can_t_be_reached_are_named(
    command: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The environment names servers that do not answer: in one line, without a traceback."""
    url = f"postgresql://someone:hunter-2@{CLOSED}/nothing"
    monkeypatch.setenv("LALAFO_DATABASE_URL", url)
    monkeypatch.setenv("LALAFO_KAFKA_BOOTSTRAP", CLOSED)
    monkeypatch.setenv("LALAFO_GATEWAY_URL", f"http://{CLOSED}")
    if command == "serve":
        return  # it starts without them, and serves them as soon as they are there
    message = failed(command)
    assert "127.0.0.1" in message
    assert "hunter-2" not in message


def failed(command: str) -> str:
    """The message with which a command fails, which `main` prints as one line."""
    ended = CliRunner().invoke(app, [*command.split(" "), *ARGUMENTS[command]])
    assert isinstance(ended.exception, LalafoError), (ended.output, ended.exception)
    message = str(ended.exception)
    assert "\n" not in message
    return message


@pytest.mark.parametrize("command", [["publish", "events.jsonl"], ["stats"], ["stats", "--watch"]])
@pytest.mark.parametrize("silent", [False, True], ids=["closed", "silent"])
def test_a_gateway_that_does_not_answer_is_named_soon(
    command: list[str], silent: bool, tmp_path: Path
) -> None:
    """A closed port, and one that accepts and says nothing: asked once, before any line is sent."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = f"127.0.0.1:{listener.getsockname()[1]}" if silent else CLOSED
        ended = subprocess.run(
            [sys.executable, "-m", "lalafo_assets.cli", *command],
            cwd=tmp_path,
            env={
                **os.environ,
                "PYTHONPATH": str(Path(__file__).resolve().parents[4]),
                "LALAFO_GATEWAY_URL": f"http://user:hunter-2@{address}/[x]",
            },
            capture_output=True,
            text=True,
            timeout=200,
        )
    assert (ended.returncode, ended.stdout) == (1, ""), ended.stderr
    assert ended.stderr.count("\n") == 1, ended.stderr
    assert f"the gateway http://{address} does not answer" in ended.stderr
    assert "`lalafo up` or `lalafo serve`" in ended.stderr
    assert "hunter-2" not in ended.stderr


@pytest.mark.parametrize("command", ["up", "demo --exit"])
@pytest.mark.parametrize("home", ["file", "file/below", "/proc/nothing", "/dev/null"])
def test_a_home_that_is_no_folder_is_refused_first(
    command: str, home: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before photos are drawn or servers start."""
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("LALAFO_HOME", str(tmp_path / home))
    ended = CliRunner().invoke(app, command.split(" "))
    assert isinstance(ended.exception, ConfigurationError), (ended.output, ended.exception)
    assert f"LALAFO_HOME={tmp_path / home} can't be written" in str(ended.exception)
