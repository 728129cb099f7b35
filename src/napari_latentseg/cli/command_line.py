"""What holds for the command line of every command, checked before the command sees it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from napari_latentseg.errors import BadInput

__all__ = ["VERBOSE", "read_command_line"]

VERBOSE = "--verbose"
"""The option that may stand anywhere."""


def read_command_line(group: Any, arguments: Sequence[str]) -> list[str]:
    """Check the values of options, and take out what belongs to no single command.

    Parameters
    ----------
    group
        The application, a group of commands.
    arguments
        The command and its arguments.

    Returns
    -------
    list of str
        Without ``--verbose``, which may stand anywhere.

    Raises
    ------
    BadInput
        If the value of an option begins with a dash: it is another option, and the value was forgotten.
    """
    end = list(arguments).index("--") if "--" in arguments else len(arguments)
    options, rest = list(arguments[:end]), list(arguments[end:])
    options = [argument for argument in options if argument != VERBOSE]
    command = _find_command(group, options)
    is_path = {
        name: "Path" in parameter.bare_type()
        for parameter in getattr(command, "params", ())
        if parameter.param_type_name == "option" and not (parameter.is_flag or parameter.count)
        for name in parameter.opts
    }
    if options[:1] == ["evaluate"]:
        _refuse_json_file(options)
    for position, argument in enumerate(options):
        name, equals, value = argument.partition("=")
        if name not in is_path:
            continue
        value = value if equals else (options[position + 1] if position + 1 < len(options) else "")
        is_negative_number = not is_path[name] and re.match(r"-\.?\d", value)  # refused by its own range
        if value.startswith("-") and not is_negative_number:
            why = f"needs a value, and {value!r} looks like an option"
            raise BadInput(name, why, "write a path that begins with a dash as ./-name")
    return options + rest


def _find_command(group: Any, arguments: Sequence[str]) -> Any:
    """The command that arguments name, or the group as far as they name it."""
    command = group
    for argument in arguments:
        if argument not in getattr(command, "commands", {}):
            break
        command = command.commands[argument]
    return command


def _refuse_json_file(options: Sequence[str]) -> None:
    """Tell those who still write ``evaluate --json FILE`` what it is called now."""
    for argument, following in zip(options, [*options[1:], "-"], strict=True):
        if argument.startswith("--json=") or (argument == "--json" and not following.startswith("-")):
            file = argument.partition("=")[2] or following
            raise BadInput("--json", "takes no file: it prints JSON", f"write --out {file} for a file")
