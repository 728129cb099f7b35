"""The command line application: its commands, its errors and its exit codes."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Sequence
from contextlib import suppress
from functools import cache

import typer

from napari_latentseg import __version__
from napari_latentseg.cli import (
    annotations_commands,
    archive_command,
    batch_command,
    calibrate_commands,
    cases_command,
    change_command,
    codecs_commands,
    compare_command,
    edit_command,
    evaluate_command,
    fill_command,
    finetune_commands,
    models_commands,
    review_commands,
    run_commands,
    scan_commands,
    segment_command,
    train_commands,
)
from napari_latentseg.cli.command_line import VERBOSE, read_command_line
from napari_latentseg.cli.console import print_error, print_line
from napari_latentseg.cli.help_text import tidy_help
from napari_latentseg.cli.interrupt import Terminated, exit_on_termination
from napari_latentseg.cli.options import with_current_names, with_option_name
from napari_latentseg.errors import BadInput, Cancelled, EndedElsewhere, system_failure
from napari_latentseg.utils.device import is_out_of_memory
from napari_latentseg.utils.launcher import says_errors
from napari_latentseg.utils.scratch import remove_abandoned_scratch

__all__ = ["app", "run"]

_OUT_OF_MEMORY = "memory: is too small for this; close other programs, or crop the image"

# What typer raises for a wrong command line. Typer vendors click, so its class is reached through typer.
_UsageError: type[Exception] = typer.BadParameter.__mro__[1]

# How pydantic, by which some versions of typer read values, says what is wrong with one.
_PLAIN_VALUE_ERRORS = {
    "Input should be a valid integer, unable to parse string as an integer": "must be a whole number",
    "Input should be a valid number, unable to parse string as a number": "must be a number, such as 0.5",
    "Input should be greater than or equal to": "must be at least",
    "Input should be less than or equal to": "must be at most",
}

_STOPPED = 130  # as a shell reports Ctrl+C

app = typer.Typer(
    name="napari-latentseg",
    help="Segment medical images with generative models in latent space. For research; not a medical device.",
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
run_commands.register(app)
segment_command.register(app)
batch_command.register(app)
fill_command.register(app)
cases_command.register(app)
scan_commands.register(app)
review_commands.register(app)
compare_command.register(app)
change_command.register(app)
edit_command.register(app)
train_commands.register(app)
finetune_commands.register(app)
evaluate_command.register(app)
calibrate_commands.register(app)
models_commands.register(app)
codecs_commands.register(app)
annotations_commands.register(app)
archive_command.register(app)


def _print_version(is_requested: bool) -> None:
    if is_requested:
        print_line(__version__)
        raise typer.Exit


@app.callback()
def _root(
    version: bool = typer.Option(
        False, "--version", is_eager=True, callback=_print_version, help="Print the version and exit."
    ),
    verbose: bool = typer.Option(
        False, "--verbose", help="Show where an error arose, for bug reports. May be given anywhere."
    ),
) -> None:
    """Has no work of its own: `--version` is handled in its callback, before any command."""


def _say_error(text: str) -> None:
    """Print an error, once for all processes of a training."""
    if says_errors():
        print_error(text)


@cache
def _command() -> typer.core.TyperGroup:
    """The commands, which typer takes long to build from their functions."""
    command = typer.main.get_command(app)
    assert isinstance(command, typer.core.TyperGroup)
    tidy_help(command)
    return command


def run(args: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code; an error is one line on the standard error."""
    arguments = with_current_names(sys.argv[1:] if args is None else args)
    is_verbose = VERBOSE in arguments
    try:
        code = _run_command(arguments)
    except BrokenPipeError:  # the reader of a pipe, such as `head`, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except EndedElsewhere:
        return 1
    except (KeyboardInterrupt, typer.Abort, Cancelled):
        _say_error("stopped")
        # where Ctrl+C came while Python executed a text, as it does to import a dataclass, `python -m`
        # would end itself by the signal, whatever the exit code, unless another text is executed
        exec("")
        return _STOPPED
    except Terminated as error:
        with suppress(OSError):  # the terminal is gone after SIGHUP
            print_error("stopped")
        return int(str(error.code))
    except Exception as error:
        line = _line_for(error, arguments)
        if line is None:
            raise
        _say_error(line)
        if is_verbose:
            traceback.print_exc()
        return 2
    if code == _STOPPED:  # typer turns Ctrl+C into this code, without a word
        print_error("stopped")
    return code


def _run_command(arguments: list[str]) -> int:
    """The exit code of a command, whose errors are raised."""
    command = _command()
    arguments = read_command_line(command, arguments)
    remove_abandoned_scratch()
    with exit_on_termination():
        code = command.main(args=arguments or ["--help"], prog_name="napari-latentseg", standalone_mode=False)
    return int(code or 0)


def _line_for(error: Exception, arguments: Sequence[str]) -> str | None:
    """What a person is told of an error; None for a fault of this program, which needs its traceback."""
    if isinstance(error, BadInput):
        return str(with_option_name(error, arguments))
    if isinstance(error, _UsageError):
        return f"{_plain_usage_error(error)} (see --help)"
    if isinstance(error, OSError):
        failure = system_failure(error)
        return None if failure is None else str(failure)
    return _OUT_OF_MEMORY if is_out_of_memory(error) else None


def _plain_usage_error(error: Exception) -> str:
    """What is wrong with a command line, without the words of a programmer."""
    message = error.format_message() if hasattr(error, "format_message") else str(error)
    context = getattr(error, "ctx", None)
    if message.startswith("Usage: ") and context is not None:  # the whole help
        names = ", ".join(context.command.list_commands(context))
        return f"{context.info_name} needs one of its commands: {names}"
    for programmer, reader in _PLAIN_VALUE_ERRORS.items():
        message = message.replace(programmer, reader)
    return " ".join(message.split())
