"""`lalafo backbones`: the networks that a release can have, and how fast they are here."""

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from lalafo_assets.commands.console import AsJson, new_console, print_json
from lalafo_assets.commands.terminal.help_pages import help_page
from lalafo_assets.commands.terminal.steps import Steps
from lalafo_assets.commands.terminal.tables import Col, print_table
from ops.errors import ConfigurationError

if TYPE_CHECKING:
    from resources.training.backbone_facts import BackboneFacts, Speed


@help_page(
    ("lalafo backbones", "suggested ones, and where their weights are"),
    ("lalafo backbones --measure", "and how fast they are on this machine: minutes"),
    ("lalafo backbones 'timm:convnextv2_*'", "every backbone of timm whose name matches"),
    ("lalafo backbones resnet18 --measure --json", "for programs"),
    reads="the installed libraries, and their caches of weights",
    writes="a folder for temporary files, which it removes",
    settings=(),
    failure="a pattern names no backbone",
)
def backbones(
    patterns: Annotated[
        list[str] | None,
        typer.Argument(
            help="Names, or patterns of names; '*' is every backbone of torchvision and timm.",
            metavar="[PATTERN]...",
        ),
    ] = None,
    measure: Annotated[
        bool,
        typer.Option("--measure", help="Measure each on this machine: 10 s or more a backbone."),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """List backbones: length of embeddings, parameters, input size, where weights can be had.

    A backbone's name is `--backbone` of `lalafo train` and `lalafo demo`. Of the weights, package
    and cache are on this machine, starter ships with this program, and download needs a network.
    """
    from resources.training.backbone_facts import chosen_names, describe_backbone

    found: list[tuple[BackboneFacts, Speed | str | None]] = []
    with Steps(new_console(stderr=True)) as on_progress:
        on_progress("reading the lists of torchvision and timm")
        for name in chosen_names(patterns or []):
            on_progress(name)
            facts = describe_backbone(name)
            if facts is not None:
                found.append((facts, _speed(name) if measure else None))
    if as_json:
        print_json([_document(facts, speed) for facts, speed in found])
    else:
        _print(found, measured=measure)


def _speed(name: str) -> "Speed | str":
    """What was measured, or why nothing could be."""
    from resources.training.backbone_facts import measure_backbone

    try:
        return measure_backbone(name)
    except ConfigurationError as error:
        return str(error).splitlines()[0]


def _document(facts: "BackboneFacts", speed: "Speed | str | None") -> dict[str, object]:
    if speed is None:
        return asdict(facts)
    measured = {"not_measured": speed} if isinstance(speed, str) else {"speed": asdict(speed)}
    return {**asdict(facts), **measured}


def _print(found: "list[tuple[BackboneFacts, Speed | str | None]]", *, measured: bool) -> None:
    columns: list[Col | str] = [
        *("backbone", Col("length", "right"), Col("parameters", "right"), Col("input", "right")),
        "weights",
        *([Col("ms a photo: 1, 4, 32 at once", prose=True)] if measured else []),
    ]
    rows = []
    for facts, speed in found:
        row = [
            facts.name,
            str(facts.dimension),
            f"{facts.parameters / 1e6:.1f} M",
            str(facts.size),
            ", ".join(facts.weights) or "file only",
        ]
        if measured:
            row.append(_shown(speed))
        rows.append(row)
    print_table(new_console(), columns, rows)


def _shown(speed: "Speed | str | None") -> str:
    if speed is None or isinstance(speed, str):
        return f"not measured: {speed}"
    times = ", ".join(f"{ms:.1f}" for ms in speed.by_count.values())
    return f"{times} ({speed.engine} {speed.precision})"
