"""The command `lalafo demo` and its options."""

from pathlib import Path
from typing import Annotated

import typer

from lalafo_assets.commands.console import DEFAULT_HOME, GatewayPort, Home, Port, new_console
from lalafo_assets.commands.terminal.help_pages import help_page

WEIGHTS = ("auto", "starter", "pretrained")


@help_page(
    ("lalafo demo", "200 ads of drawn photos, a better release, and the page"),
    ("lalafo demo --photos ~/photos", "your own photos, one folder a class"),
    ("lalafo demo --ads 50 --exit", "ends by itself, as in CI"),
    reads="photos that it draws, or yours; pretrained weights of an installed package",
    writes="all state, photos and logs in LALAFO_HOME",
    settings=("home", "device", "gateway_port"),
    failure="an event is neither an ad nor a dead letter, or a part can't start",
    until_interrupted=True,
)
def demo(
    home: Home = DEFAULT_HOME,
    ads: Annotated[int, typer.Option(min=1, help="How many ads to publish.")] = 200,
    photos: Annotated[
        Path | None,
        typer.Option(
            help="Folder of your own photos, with one subfolder per class, at any depth. Default: "
            "the demo draws photos."
        ),
    ] = None,
    weights: Annotated[
        str,
        typer.Option(
            help="Initial weights of the backbone: auto, starter, pretrained, or file:PATH "
            "(.safetensors or .pth)."
        ),
    ] = "auto",
    backbone: Annotated[
        str,
        typer.Option(
            help="A name of `lalafo backbones`. Default: EfficientNet-Lite0, whose weights are "
            "installed with this package."
        ),
    ] = "auto",
    finetune: Annotated[
        bool,
        typer.Option(
            "--finetune", help="Train the backbone on your photos too. This takes minutes."
        ),
    ] = False,
    exit_at_end: Annotated[
        bool,
        typer.Option(
            "--exit",
            help="Stop the stack at the end instead of waiting for Ctrl-C. The status is 0 if "
            "every ad is accounted for.",
        ),
    ] = False,
    story: Annotated[
        bool,
        typer.Option(
            help="Then train, gate, re-score, compare, promote, roll back and forward a second "
            "release."
        ),
    ] = True,
    port: Port = None,
    gateway_port: GatewayPort = None,
) -> None:
    """Start the whole stack on this machine, publish labelled ads, and show their results.

    Ends with status 1 if an event is neither an ad nor a dead letter.
    """
    from lalafo_assets.demo.options import DemoOptions
    from lalafo_assets.demo.run import run_demo

    if weights not in WEIGHTS and not weights.startswith("file:"):
        raise typer.BadParameter(f"--weights {weights}: expected {', '.join(WEIGHTS)} or file:PATH")
    options = DemoOptions(
        home=home,
        ads=ads,
        photos=None
        if photos is None
        else photos.expanduser(),  # not every shell expands PHOTOS=~/…
        weights=weights,
        backbone=backbone,
        finetune=finetune,
        exit_at_end=exit_at_end,
        story=story,
        port=port,
        gateway_port=gateway_port,
    )
    console = new_console()
    if not run_demo(options, console):
        console.print("[red]Some events are neither ads nor dead letters.[/]")
        raise typer.Exit(1)
