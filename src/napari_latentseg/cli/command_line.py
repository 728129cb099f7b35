"""What holds for the command line of every command, checked before the command sees it."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from napari_latentseg.errors import BadInput

__all__ = ["VERBOSE", "read_command_line"]

VERBOSE = "--verbose"
"""The option that may stand anywhere."""

_HERE = "the folder that you are in is ."


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
        If the value of an option begins with a dash: it is another option, and the value was forgotten. If
        a path or an argument is empty: it would mean the folder that one is in. Or if one begins with ``~/``:
        shells leave it so in ``--data=~/scans`` and in quotes.
    """
    end = list(arguments).index("--") if "--" in arguments else len(arguments)
    options, rest = list(arguments[:end]), list(arguments[end:])
    options = [argument for argument in options if argument != VERBOSE]
    command = _find_command(group, options)
    takes_path = {
        name: "Path" in parameter.bare_type()
        for parameter in getattr(command, "params", ())
        if parameter.param_type_name == "option" and not (parameter.is_flag or parameter.count)
        for name in parameter.opts
    }
    if options[:1] == ["evaluate"]:
        _refuse_json_file(options)
    previous = ""
    for position, argument in enumerate(options):
        name, equals, value = argument.partition("=")
        if name in takes_path:
            is_given = bool(equals) or position + 1 < len(options)
            value = value if equals else options[position + 1] if is_given else ""
            _check_value(name, value, is_path=takes_path[name], is_given=is_given)
        elif not argument and previous not in takes_path:
            raise BadInput("arguments", "one is empty", f"give a path or a name; {_HERE}")
        elif previous not in takes_path:
            _refuse_home("arguments", argument)
        previous = argument
    return options + rest


def _check_value(option: str, value: str, *, is_path: bool, is_given: bool) -> None:
    """Refuse an option as the value of another, and an empty path: a script's variable that is not set."""
    if is_path and is_given and not value.strip():
        raise BadInput(option, "is empty", f"give a path; {_HERE}")
    _refuse_home(option, value)
    is_negative_number = not is_path and re.match(r"-\.?\d", value)  # refused by its own range
    if value.startswith("-") and not is_negative_number:
        why = f"needs a value, and {value!r} looks like an option"
        raise BadInput(option, why, "write a path that begins with a dash as ./-name")


def _refuse_home(what: str, value: str) -> None:
    """Refuse a ``~`` that no shell has replaced by the home folder; a folder of this name may be there."""
    if re.match(r"~(/|\\|$)", value) and not os.path.lexists(Path(value).parts[0]):
        why = f"{value!r} begins with ~, which stands for your folder in a shell alone"
        raise BadInput(what, why, "write the whole path")


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
