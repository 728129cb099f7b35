"""`demo`."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Annotated

import typer

from napari_latentseg.cli.console import print_line
from napari_latentseg.cli.options import Quiet, Samples
from napari_latentseg.errors import BadInput

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    """Add the command of this file."""
    app.command()(demo)


def demo(
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="Also write the result and a screenshot into this folder."),
    ] = None,
    samples: Samples = None,
    quiet: Quiet = False,
) -> None:
    """Open napari with a fundus photograph and segment its vessels; with --out, write the result and close.

    Without a display, xvfb-run gives a virtual one where it is installed.
    """
    has_display = sys.platform in ("win32", "darwin") or bool(
        os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
    )
    if not has_display:
        _run_under_xvfb(out, samples, quiet)
        return
    from napari_latentseg.widgets.demo import run_demo

    for path in run_demo(out, samples=samples):
        print_line(str(path), quiet=quiet)


def _run_under_xvfb(out: Path | None, samples: int | None, quiet: bool) -> None:
    xvfb_run = shutil.which("xvfb-run")
    if xvfb_run is None or out is None:
        raise BadInput(
            "demo",
            "there is no display",
            "give --out FOLDER to have the result written"
            if xvfb_run
            else "log in at a desktop, or install xvfb",
        )
    command = [
        xvfb_run,
        "-a",
        "-s",
        "-screen 0 1920x1200x24",
        sys.executable,
        "-P",  # a file in the current folder must not be imported in place of a module
        "-m",
        "napari_latentseg",
        "demo",
    ]
    command += [
        "--out",
        str(out),
        *(["--samples", str(samples)] if samples else []),
        *(["--quiet"] if quiet else []),
    ]
    settings = os.environ | {"LIBGL_ALWAYS_SOFTWARE": "1", "QT_QPA_PLATFORM": "xcb"}
    if code := subprocess.run(command, env=settings, check=False).returncode:
        raise typer.Exit(code)
