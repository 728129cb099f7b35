"""`calibrate`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from napari_latentseg.cli.console import exit_partial, print_json, print_line, progress_bar
from napari_latentseg.cli.options import (
    AnnotatedFolder,
    CodecOption,
    Device,
    FormerModelArgument,
    JsonOutput,
    LabelsOption,
    OptionalModel,
    Quiet,
    Samples,
    SamplingSource,
    Seed,
    Threads,
    model_given,
    use_threads,
)
from napari_latentseg.core.percent import percent
from napari_latentseg.utils.counts import count_text

if TYPE_CHECKING:
    from napari_latentseg.models.card import ModelCard

__all__ = ["register"]

_FIGURES = {
    "name", "temperature", "temperature_fit", "threshold", "reliability", "volume_interval", "contour_band",
    "expected_dice", "bfloat16",
}  # fmt: skip


def register(app: typer.Typer) -> None:
    """Add the command of this file."""
    app.command()(calibrate)


def calibrate(
    data: AnnotatedFolder,
    name: FormerModelArgument = None,
    model: OptionalModel = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            "-o",
            help="Write a copy of the model with the new card here; the model itself is not changed.",
        ),
    ] = None,
    samples: Samples = None,
    sampling: SamplingSource = None,
    coverage: Annotated[
        float, typer.Option(help="The share of true volumes that the intervals should contain.")
    ] = 0.9,
    seed: Seed = 0,
    device: Device = "auto",
    threads: Threads = None,
    subset: Annotated[
        str, typer.Option(help="validation: the model's own validation images; or all.")
    ] = "validation",
    labels: LabelsOption = None,
    codec: CodecOption = None,
    as_json: JsonOutput = False,
    quiet: Quiet = False,
) -> None:
    """Measure how reliable a model's probabilities and volumes are, and write that into its card.

    The images must be new to the model, or its own validation images.
    """
    from napari_latentseg import api

    chosen_model, quiet = model_given(model, name), quiet or as_json
    use_threads(threads)
    left_out: list[str] = []
    with progress_bar("calibrating", quiet=quiet) as progress:
        card = api.calibrate(
            chosen_model, data, samples=samples, source=sampling, seed=seed, level=coverage, device=device,
            subset=subset, labels=labels, codec=codec, out=out,
            on_note=lambda text: print_line(text, quiet=quiet), on_left_out=left_out.append,
            progress=progress,
        )  # fmt: skip
    if as_json:
        print_json(card.model_dump(mode="json", include=_FIGURES))
        exit_partial(left_out)
        return
    if (reliability := card.reliability) is not None:
        ensemble = f"{count_text(reliability.samples, 'sample')} from {reliability.source}"
        print_line(f"calibration error {reliability.ece:.4f}  ({reliability.data}; {ensemble})", quiet=quiet)
        if reliability.ece_unsure is not None:
            first, last = reliability.uncertain_range
            print_line(f"  {reliability.ece_unsure:.4f} for means from {first:g} to {last:g}", quiet=quiet)
    if card.temperature is not None and (gain := card.temperature_fit) is not None:
        print_line(f"temperature {card.temperature.describe()}: error {gain.describe()}", quiet=quiet)
        print_line(f"  threshold {card.threshold:.2f}, which gives the same masks as before", quiet=quiet)
    if card.fit is not None:
        print_line(f"compares images with {card.fit.images} training images", quiet=quiet)
    if (interval := card.volume_interval) is not None:
        for name, measured in interval.coverage.items():
            line = f"{name}: {percent(interval.level)} intervals held in {percent(measured)}"
            print_line(f"{line} of {interval.tested_on} other images", quiet=quiet)
    if (check := card.bfloat16) is not None:
        print_line(f"bfloat16 {check.describe()}", quiet=quiet)
    for line in _figure_lines(card):
        print_line(line, quiet=quiet)
    exit_partial(left_out)


def _figure_lines(card: ModelCard) -> list[str]:
    """What the contours and the expected Dice of a card are worth, one line each."""
    lines = []
    if (band := card.contour_band) is not None:
        for name, fit in band.classes.items():
            line = f"{name}: the true edge lay between the {percent(band.level)} contours"
            lines.append(f"{line} in {percent(fit.coverage)} of {fit.cases} images, each left out in turn")
    if (expected := card.expected_dice) is not None:
        for name, dice_fit in expected.classes.items():
            lines.append(f"{name}: expected Dice is off by {dice_fit.mean_error:.2f} on average")
            line = f"{name}: the Dice was at least the {percent(expected.level)} bound"
            lines.append(f"{line} in {percent(dice_fit.coverage)} of {dice_fit.cases} images")
        if expected.worst_fifth is not None:
            lines.append(expected.worst_fifth.describe())
    return lines
