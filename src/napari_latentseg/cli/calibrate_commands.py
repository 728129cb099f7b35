"""`calibrate`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from napari_latentseg.cli.console import print_json, print_line, progress_bar
from napari_latentseg.cli.run_commands import Device, Quiet, Samples, Seed, Source

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    """Add the command of this file."""
    app.command()(calibrate)


def calibrate(
    model: Annotated[str, typer.Argument(help="The name of a model, or its folder.")],
    data: Annotated[Path, typer.Option(help="Holds images/ and masks/.")],
    out: Annotated[
        Path | None,
        typer.Option(help="Folder for a copy of the model with what was found; else it goes into its card."),
    ] = None,
    samples: Samples = None,
    source: Source = None,
    level: Annotated[float, typer.Option(help="How often an interval is to hold.")] = 0.9,
    seed: Seed = 0,
    device: Device = "auto",
    subset: Annotated[
        str, typer.Option(help="validation: the images that the model's split kept apart; or all.")
    ] = "validation",
    as_json: Annotated[bool, typer.Option("--json", help="What was found, as JSON.")] = False,
    quiet: Quiet = False,
) -> None:
    """Judge a model's doubt on images that it never learned from, and write that into its card."""
    from napari_latentseg import api

    quiet = quiet or as_json
    with progress_bar("judging", quiet=quiet) as progress:
        card = api.calibrate(
            model, data, samples=samples, source=source, seed=seed, level=level, device=device,
            subset=subset, out=out, on_note=lambda text: print_line(text, quiet=quiet), progress=progress,
        )  # fmt: skip
    if as_json:
        print_json(card.model_dump(mode="json", include={"name", "reliability", "volume_interval"}))
        return
    if (reliability := card.reliability) is not None:
        ensemble = f"{reliability.samples} samples from {reliability.source}"
        print_line(f"calibration error {reliability.ece:.4f}  ({reliability.data}; {ensemble})", quiet=quiet)
        if reliability.ece_unsure is not None:
            print_line(f"  {reliability.ece_unsure:.4f} where the mean lies in [0.05, 0.95]", quiet=quiet)
    if (interval := card.volume_interval) is not None:
        for name, coverage in interval.coverage.items():
            line = f"{name}: {interval.level:.0%} intervals held in {coverage:.0%}"
            print_line(f"{line} of {interval.tested_on} other images", quiet=quiet)
