"""The command line."""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["main"]


def main(args: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code.

    0 well, 1 a fault of ours, 2 bad input, 3 some of the images could not be used, 130 stopped.
    """
    try:
        from napari_latentseg.cli.app import run

        return run(args)
    except KeyboardInterrupt:  # while the commands are imported
        import sys

        sys.stderr.write("error: stopped\n")
        return 130
