"""`lalafo settings`: every setting, its value here, its default and what it does.

Owns the output. `resources/settings.py` owns the settings. A secret is never printed.
"""

import os
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Annotated, Any

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
from lalafo_assets.commands.terminal.tables import print_facts

if TYPE_CHECKING:
    from resources.settings import Settings

MASK = "********"


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting, as it is shown."""

    name: str  # of the environment variable
    value: str  # masked, if it is a secret
    default: str
    source: str  # "environment", "running stack", "LALAFO_KAFKA_CONFIG" or "default"
    description: str


@help_page(
    ("lalafo settings --changed", "only those that are not the default"),
    ("lalafo settings gateway", "those with `gateway` in the name"),
    ("lalafo settings --json | jq .", "for programs"),
    reads="the environment, the stack that runs in LALAFO_HOME, the file LALAFO_KAFKA_CONFIG",
    writes="nothing",
    settings=("home", "kafka_config"),
    failure="a variable is invalid or unknown; the message names it",
)
def settings(
    part: Annotated[
        str, typer.Argument(help="Only settings whose name contains this.", metavar="PART")
    ] = "",
    changed: Annotated[
        bool, typer.Option("--changed", help="Only settings that are not the default.")
    ] = False,
    as_json: AsJson = False,
    home: Home = DEFAULT_HOME,
) -> None:
    """List every setting: its value here, where that comes from, its default and its purpose.

    A setting is an environment variable. Secrets are masked.
    """
    from resources.settings import load_settings

    given = set(os.environ)
    use_running_stack(home)
    found = [
        it
        for it in listed(load_settings(), given)
        if part.upper() in it.name and not (changed and it.value == it.default)
    ]
    if as_json:
        print_json([asdict(it) for it in found])
        return
    console = new_console()
    for it in found:
        line = Text.assemble((it.name, "bold"), "=", (it.value, "green" if it.value else ""))
        if it.source != "default":
            line.append(f"  ({it.source}; default: {it.default or 'empty'})", style="dim")
        console.print(line, soft_wrap=True, highlight=False)
        print_facts(console, [("", Text(it.description, style="dim"))], indent=2)


def listed(current: "Settings", given: set[str]) -> list[Setting]:
    """Return all settings in the order in which they are declared.

    Args:
        given: the names of the variables that the caller's environment had.
    """
    found = []
    for field, info in type(current).model_fields.items():
        name = f"LALAFO_{field.upper()}"
        value, default = getattr(current, field), info.get_default(call_default_factory=True)
        if name in given:
            source = "environment"
        elif name in os.environ:
            source = "running stack"
        else:
            source = "default" if value == default else "LALAFO_KAFKA_CONFIG"
        secret = info.repr is False or type(default).__name__ == "SecretStr"
        shown = _masked(name, value) if secret else _text(value)
        found.append(
            Setting(name, shown, "" if secret else _text(default), source, info.description or "")
        )
    return found


def _masked(name: str, value: Any) -> str:
    """A secret's value: where a database is, without the password; else only that it is set."""
    from ops.errors import ConfigurationError
    from resources.postgres.conninfo import Conninfo

    text = value if isinstance(value, str) else str(value.get_secret_value())
    if text == "" or "DATABASE" not in name:
        return MASK if text else ""
    try:
        return Conninfo.parse(text, name).shown
    except ConfigurationError:
        return MASK


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
