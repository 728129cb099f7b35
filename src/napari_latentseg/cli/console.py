"""Output of the command line: lines, progress bars, tables, JSON."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

from napari_latentseg.errors import printable

__all__ = [
    "EXIT_PARTIAL",
    "ShowProgress",
    "exit_partial",
    "is_on_terminal",
    "json_text",
    "print_error",
    "print_json",
    "print_line",
    "print_table",
    "progress_bar",
]

EXIT_PARTIAL = 3
"""Exit code where some of the images could not be used, and the work was done with the others."""


def print_line(text: str, *, quiet: bool = False) -> None:
    """Print one line to the standard output."""
    if not quiet:
        # the encoding of a pipe may lack letters of a file name
        known = getattr(sys.stdout, "encoding", None) or "utf-8"
        sys.stdout.write(printable(text).encode(known, "replace").decode(known) + "\n")
        sys.stdout.flush()


def print_error(text: str) -> None:
    """Print one line to the standard error."""
    sys.stderr.write(f"error: {printable(text)}\n")


def exit_partial(left_out: Sequence[str]) -> None:
    """Say which images could not be used, and leave with the exit code for that; nothing where all could.

    Raises
    ------
    typer.Exit
        With code 3.
    """
    if not left_out:
        return
    import typer

    for reason in left_out:
        print_error(f"left out: {reason}")
    raise typer.Exit(EXIT_PARTIAL)


def print_json(value: Any) -> None:
    """Print indented JSON to the standard output."""
    print_line(json_text(value, indent=2))


def json_text(value: Any, indent: int | None = None) -> str:
    """JSON as the standard defines it: a number that is not finite, which it cannot hold, becomes null."""
    return json.dumps(_finite(value), indent=indent, ensure_ascii=False, allow_nan=False)


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _finite(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def print_table(rows: Sequence[tuple[str, ...]], quiet: bool = False) -> None:
    """Print rows in aligned columns."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    for row in rows:
        print_line(
            "  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip(), quiet=quiet
        )


class ShowProgress(Protocol):
    """Shows how much is done."""

    def __call__(self, done: float, text: str = "") -> None:
        """Show the fraction done, in [0, 1], and what is being done; an empty text leaves the last one."""


def is_on_terminal() -> bool:
    """Whether a person sees both the lines that are printed and the progress bar."""
    return sys.stdout.isatty() and sys.stderr.isatty()


@contextmanager
def progress_bar(title: str, *, quiet: bool = False) -> Iterator[ShowProgress]:
    """Show a progress bar with the time left on the standard error; gives a function that takes the fraction.

    Nothing is shown where the standard error is not a terminal.
    """
    if quiet or not sys.stderr.isatty():
        yield lambda done, text="": None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("about"), TimeRemainingColumn())
    # rich would redirect our own lines to the standard error, where the standard output may be a file
    to_screen = sys.stdout.isatty()
    with Progress(
        *columns, console=Console(stderr=True), transient=True, redirect_stdout=to_screen
    ) as progress:
        task = progress.add_task(title, total=1.0)

        def show(done: float, text: str = "") -> None:
            description = f"{title}, {text}" if text else None
            progress.update(task, completed=done, description=description)

        yield show
