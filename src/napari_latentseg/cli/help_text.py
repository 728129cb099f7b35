"""How the help names arguments, and the line of each command in the list of commands.

Versions of typer differ in how they write arguments: the newest put a required one in braces, as others
write a choice. Here it is ``SCAN...`` and ``[IN]`` with every version, and so in the errors that name them.
"""

from __future__ import annotations

import re
from functools import partial
from typing import Any

from napari_latentseg.cli.help_groups import OPTION_GROUPS, group_of

__all__ = ["SHORT_HELP", "tidy_help"]

SHORT_HELP = {
    "demo": "Open napari and segment a fundus photograph.",
    "segment": "Segment images or volumes: mask, mean and variance.",
    "batch": "Segment many scans, with a table; can be continued.",
    "fill": "Fill a structure between the slices that are labelled.",
    "cases": "List cases for readers, those that most need a look first.",
    "info": "Format, size and geometry of an image; does a model fit?",
    "convert": "Write an image in another format, with its geometry.",
    "measure": "Measure classes and objects of a result.",
    "rank": "List the most uncertain slices or objects of a result.",
    "report": "Write a report on a result, one HTML page.",
    "compare": "Compare masks, of two files or of several readers.",
    "change": "Compare the sizes of one patient at two dates.",
    "edit": "Correct a mask: fill, smooth, grow, remove islands.",
    "finetune": "Fine-tune a model on a few corrected images.",
    "add-replay": "Give a model patches to keep when it is fine-tuned.",
    "calibrate": "Measure how reliable probabilities and volumes are.",
    "methods": "The methods: papers, configurations, sampling sources.",
    "doctor": "What this machine has, what is missing, how to fix it.",
    "annotations": "Approved annotations: list, verify and export them.",
    "archive": "Find and store series in an archive (PACS, DICOMweb).",
    "models compile": "Compile a model for this processor ahead of its use.",
    "models remove": "Remove an installed model, or one of its versions.",
    "models candidates": "Fine-tuned models to adopt or discard, and what to resume.",
    "models export": "Write a model as one zip file, to install elsewhere.",
    "codecs add": "Keep a codec, so that every model that needs it finds it.",
    "codecs remove": "Remove a kept codec; the files that it came from stay.",
    "archive find": "List the series that match.",
}
"""One line of at most 61 letters, where the first sentence of a command's help is longer: the list of
commands would cut it off on a terminal of 80 columns."""

_TYPES = {
    "<list[Path]>": "<path>...",
    "<list[str]>": "<str>...",
    "int range>": "int>",
    "float range>": "float>",
}


def tidy_help(group: Any, path: tuple[str, ...] = ()) -> None:
    """Name arguments in capitals and without braces in a group of commands, and give the short help.

    Parameters
    ----------
    group
        The application, or a group of its commands; is changed.
    path
        The names of the groups above it.
    """
    for name, command in group.commands.items():
        here = (*path, name)
        if (line := SHORT_HELP.get(" ".join(here))) is not None:
            command.short_help = line
        for parameter in command.params:
            if parameter.param_type_name == "argument":
                parameter.metavar = parameter.metavar or parameter.name.upper()
            parameter.get_help_record = partial(_help_record, parameter.get_help_record)
        command.collect_usage_pieces = partial(_usage_pieces, command.collect_usage_pieces)
        if " ".join(here) in OPTION_GROUPS:
            command.format_options = partial(_format_options, command, " ".join(here))
        if hasattr(command, "commands"):
            tidy_help(command, here)


def _usage_pieces(original: Any, context: Any) -> list[str]:
    pieces = (re.sub(r"[{}]", "", piece) for piece in original(context))
    return [re.sub(r"(\.\.\.)+", "...", piece) for piece in pieces]


def _format_options(command: Any, name: str, context: Any, formatter: Any) -> None:
    """Write arguments and options as typer does, the options under the headings of their groups."""
    records: dict[str, list[tuple[str, str]]] = {"Arguments": []}
    records |= {title: [] for title, _ in OPTION_GROUPS[name]} | {"Options": []}
    for parameter in command.get_params(context):
        record = parameter.get_help_record(context)
        if record is not None:
            is_argument = parameter.param_type_name == "argument"
            title = "Arguments" if is_argument else group_of(name, parameter.opts)
            records[title].append(record)
    for title, lines in records.items():
        if lines:
            with formatter.section(title):
                formatter.write_dl(lines)


def _help_record(original: Any, context: Any) -> tuple[str, str] | None:
    record: tuple[str, str] | None = original(context)
    if record is None:
        return None
    name, text = record
    for programmer, reader in _TYPES.items():
        name = name.replace(programmer, reader)
    return name, text
