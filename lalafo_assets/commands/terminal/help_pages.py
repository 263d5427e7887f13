"""What each command's `--help` teaches beyond its options, and the options that all commands have.

`help_page` declares it beside the command: what is read and written, examples, the settings that
matter, and what a failure is. The classes below print it, and are given to Typer for every command.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, TypeVar

import typer
from rich.console import Console
from rich.text import Text
from typer.core import TyperCommand, TyperGroup, TyperOption

from lalafo_assets.commands.terminal.switches import set_color, set_verbosity
from lalafo_assets.commands.terminal.tables import print_facts

Function = TypeVar("Function", bound=Callable[..., Any])
PANEL = "For every command"
_ATTRIBUTE = "help_page"
FAILURE = "it failed; the message says why and what to do"


@dataclass(frozen=True, slots=True)
class HelpPage:
    """The part of a help page that Typer can't know."""

    examples: tuple[tuple[str, str], ...]  # command line, what it does
    reads: str = ""
    writes: str = ""
    settings: tuple[str, ...] = ()  # fields of `Settings`
    failure: str = FAILURE
    until_interrupted: bool = False  # Ctrl-C is how it ends


def help_page(
    *examples: tuple[str, str],
    reads: str = "",
    writes: str = "",
    settings: tuple[str, ...] = (),
    failure: str = FAILURE,
    until_interrupted: bool = False,
) -> Callable[[Function], Function]:
    """Declare the help page of a command.

    Args:
        examples: command lines that work as they stand, and what each does.
        failure: when the status is 1, if not only for an error.
        until_interrupted: the command runs until Ctrl-C, whose status then is 0.
    """
    page = HelpPage(
        examples,
        reads,
        writes,
        settings,
        failure=failure,
        until_interrupted=until_interrupted,
    )

    def declare(function: Function) -> Function:
        function.__dict__[_ATTRIBUTE] = page
        return function

    return declare


def page_of(command: Any) -> HelpPage | None:
    """Return the page that a command declares; Typer's wrapper has the function's attributes."""
    found = getattr(command.callback, _ATTRIBUTE, None)
    return found if isinstance(found, HelpPage) else None


class LalafoCommand(TyperCommand):
    """A command with the common options and its declared help page."""

    def __init__(self, *args: Any, **attributes: Any) -> None:
        super().__init__(*args, **attributes)
        self.params.extend(_common_options())

    def get_params(self, ctx: Any) -> list[Any]:
        """The parameters; a switch takes no value, so its help names no type."""
        return _without_types_of_switches(super().get_params(ctx))

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Print Typer's page, and the declared one."""
        _let_rich_choose_colors()
        super().format_help(ctx, formatter)
        _print_page(page_of(self))


class LalafoGroup(TyperGroup):
    """A group of commands, likewise."""

    def __init__(self, *args: Any, **attributes: Any) -> None:
        super().__init__(*args, **attributes)
        self.params.extend(_common_options())

    def get_params(self, ctx: Any) -> list[Any]:
        """The parameters, as of a command."""
        return _without_types_of_switches(super().get_params(ctx))

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Print Typer's page, and the declared one."""
        _let_rich_choose_colors()
        super().format_help(ctx, formatter)
        _print_page(page_of(self))


def _let_rich_choose_colors() -> None:
    """Typer 0.29 forces colours into files under GITHUB_ACTIONS; rich has one rule for all."""
    from typer import rich_utils

    rich_utils.FORCE_TERMINAL = None


def _common_options() -> list[TyperOption]:
    application = typer.Typer(add_completion=False)
    application.command()(_common)
    found = typer.main.get_command(application).params
    return [option for option in found if isinstance(option, TyperOption)]


def _common(
    verbose: Annotated[
        int,
        typer.Option(
            "--verbose",
            "-v",
            count=True,
            expose_value=False,
            callback=set_verbosity,
            is_eager=True,
            show_default=False,
            help="Show log records on standard error; -vv shows debugging too.",
            rich_help_panel=PANEL,
        ),
    ] = 0,
    no_color: Annotated[
        bool,
        typer.Option(
            "--no-color",
            expose_value=False,
            callback=set_color,
            is_eager=True,
            help="Print without colours, as NO_COLOR=1 does.",
            rich_help_panel=PANEL,
        ),
    ] = False,
) -> None:
    """Hold the options of every command."""


def _without_types_of_switches(params: list[Any]) -> list[Any]:
    for param in params:
        if isinstance(param, TyperOption) and (param.is_flag or param.count):
            param.metavar = ""
        if "--help" in param.opts:
            param.rich_help_panel = PANEL
    return params


def _print_page(page: HelpPage | None) -> None:
    if page is None:
        return
    console = Console()
    both = (("Reads", page.reads), ("Writes", page.writes))
    print_facts(console, [(name, text) for name, text in both if text], indent=1)
    _print_examples(console, page)
    _print_settings(console, page)
    statuses = (
        ("0", "done" + (", also by Ctrl-C" if page.until_interrupted else "")),
        ("1", page.failure),
        ("2", "wrong usage"),
        ("130", "Ctrl-C before it was done"),
    )
    _print_heading(console, "Exit status")
    print_facts(console, statuses, indent=2)
    console.print()


def _print_heading(console: Console, heading: str) -> None:
    console.print(Text(f"\n {heading}", style="bold"), soft_wrap=True)


def _print_examples(console: Console, page: HelpPage) -> None:
    """Print the command lines with what they do beside them, or below where that is too wide."""
    _print_heading(console, "Examples")
    longest = max(len(command) for command, _ in page.examples)
    is_narrow = longest + max(len(does) for _, does in page.examples) + 4 > console.width
    for command, does in page.examples:
        if is_narrow:
            console.print(Text.assemble("  ", (command, "cyan")), soft_wrap=True, highlight=False)
            print_facts(console, [("", Text(does, style="dim"))], indent=4)
        else:
            line = Text.assemble("  ", (command.ljust(longest), "cyan"), "  ", (does, "dim"))
            console.print(line, soft_wrap=True, highlight=False)


def _print_settings(console: Console, page: HelpPage) -> None:
    if not page.settings:
        return
    from resources.settings import Settings

    _print_heading(console, "Settings (`lalafo settings` lists all)")
    described = ((field, Settings.model_fields[field].description or "") for field in page.settings)
    facts = [
        (f"LALAFO_{field.upper()}", text.split(". ")[0].rstrip(".") + ".")
        for field, text in described
    ]
    print_facts(console, facts, indent=2)
