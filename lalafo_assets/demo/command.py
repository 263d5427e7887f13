"""The command `lalafo demo`: its options."""

from pathlib import Path
from typing import Annotated

import typer

from lalafo_assets.commands.console import DEFAULT_HOME, Home, Port, new_console

WEIGHTS = ("auto", "starter", "pretrained")
console = new_console()


def demo(
    home: Home = DEFAULT_HOME,
    ads: Annotated[int, typer.Option(min=1, help="How many ads to publish.")] = 200,
    photos: Annotated[
        Path | None,
        typer.Option(help="Your own photos, one folder a class; drawn ones if not given."),
    ] = None,
    weights: Annotated[
        str,
        typer.Option(help="Of the backbone: auto, starter, pretrained, or file:PATH.safetensors."),
    ] = "auto",
    backbone: Annotated[str, typer.Option(help="A torchvision name.")] = "mobilenet_v3_small",
    finetune: Annotated[
        bool, typer.Option("--finetune", help="Train the backbone on your photos too (minutes).")
    ] = False,
    exit_at_end: Annotated[
        bool, typer.Option("--exit", help="End by itself; status 0 if every ad is accounted for.")
    ] = False,
    story: Annotated[
        bool,
        typer.Option(help="Go on to train, gate, re-score, diff, promote and roll back a release."),
    ] = True,
    port: Port = None,
) -> None:
    """Start everything on this machine and run the main job once, on labelled ads."""
    from lalafo_assets.demo.options import DemoOptions
    from lalafo_assets.demo.run import run_demo

    if weights not in WEIGHTS and not weights.startswith("file:"):
        raise typer.BadParameter(f"{weights!r}: {', '.join(WEIGHTS)} or file:PATH.safetensors")
    options = DemoOptions(
        home=home,
        ads=ads,
        photos=photos,
        weights=weights,
        backbone=backbone,
        finetune=finetune,
        exit_at_end=exit_at_end,
        story=story,
        port=port,
    )
    if not run_demo(options, console):
        console.print("[red]Not every event is accounted for.[/]")
        raise typer.Exit(1)
