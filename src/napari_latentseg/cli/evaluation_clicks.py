"""`evaluate` of a model that is pointed at: its options and lines."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from napari_latentseg.cli.console import print_line, print_table
from napari_latentseg.errors import BadInput
from napari_latentseg.utils.counts import count_text

if TYPE_CHECKING:
    from napari_latentseg.evaluation.click_report import ClickReport

__all__ = ["check_scored_by_clicks", "one_number", "print_clicks"]


def check_scored_by_clicks(options: Mapping[str, object]) -> None:
    """Refuse options that have no meaning for the clicks of a simulated person.

    Parameters
    ----------
    options
        The names of such options, with what was given.

    Raises
    ------
    BadInput
        If one of them was given.
    """
    for name, value in options.items():
        if value is not None and value is not False:  # 0.0 is given, and equal to False
            raise BadInput(name, "is not for a model that is pointed at", "leave it out")


def one_number(samples: str | None) -> int | None:
    """The number of samples; a model that is pointed at has no table of several.

    Raises
    ------
    BadInput
        If it is not a whole number.
    """
    if samples is None:
        return None
    try:
        return int(samples)
    except ValueError as error:
        raise BadInput("samples", f"{samples!r} is not a whole number", "write 8") from error


def print_clicks(report: ClickReport, *, quiet: bool) -> None:
    """Print the Dice after each click.

    Parameters
    ----------
    report
        What was scored.
    quiet
        Whether nothing is printed.
    """
    print_table(report.rows(), quiet=quiet)
    objects = f"{count_text(report.object_count, 'object')} of {count_text(report.image_count, 'image')}"
    print_line(
        f"{objects}, {count_text(report.samples, 'sample')} each; {report.reached:.0%} reached a Dice of 0.9",
        quiet=quiet,
    )
    if report.training_count:
        learnt = count_text(report.training_count, "image")
        print_line(f"the model has learnt from {learnt} of them, so the scores are too high", quiet=quiet)
