"""The options and arguments that several commands share, and the former names of some."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from napari_latentseg.errors import BadInput

__all__ = [
    "AnnotatedFolder",
    "AnnotatedFolders",
    "Channel",
    "CodecOption",
    "Device",
    "FormerModelArgument",
    "JsonOutput",
    "LabelsOption",
    "ModelName",
    "ModelOption",
    "OptionalModel",
    "Overwrite",
    "Quiet",
    "ReaderFolders",
    "Resume",
    "Samples",
    "SamplingSource",
    "ScanPath",
    "Seed",
    "Series",
    "Spacing",
    "SplitOption",
    "Threads",
    "Threshold",
    "check_one_output",
    "model_given",
    "parse_spacing",
    "use_threads",
    "with_current_names",
    "with_option_name",
]

_ANNOTATED_FOLDER_HELP = (
    "Folder of annotated images: images/ and masks/ of the same file names, an nnU-Net raw data set, images"
    " beside their _mask files, or an annotation store"
)


def _model_names(incomplete: str) -> list[str]:
    """The names of models, for the completion of the shell."""
    from napari_latentseg.models.store import model_folders

    return [name for name in model_folders() if name.startswith(incomplete)]


AnnotatedFolder = Annotated[Path, typer.Option(help=f"{_ANNOTATED_FOLDER_HELP}.")]
AnnotatedFolders = Annotated[
    list[Path], typer.Option(help=f"{_ANNOTATED_FOLDER_HELP}; may be given several times.")
]
Channel = Annotated[
    int | None, typer.Option(help="Which channel, from 1, of an image whose channels are not colours.")
]
CodecOption = Annotated[
    str | None,
    typer.Option(
        "--codec",
        metavar="FOLDER",
        help="The model's codec, if it is not kept on this machine: a folder or file, or the name of a kept"
        " codec.",
    ),
]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1 (the second GPU), or mps.")]
JsonOutput = Annotated[
    bool, typer.Option("--json", help="Print JSON on the standard output, and nothing else there.")
]
LabelsOption = Annotated[
    str | None,
    typer.Option(
        "--labels",
        help="What the labels of the masks mean: 17=NAME,53=NAME; any=NAME where all are one class;"
        " #800000=NAME for a colour; or a file of labels.",
    ),
]
ModelOption = Annotated[
    str,
    typer.Option(
        "--model", "-m", help="Name or folder of a model; `models` lists them.", autocompletion=_model_names
    ),
]
ModelName = Annotated[
    str, typer.Argument(help="Name of a model; `models` lists them.", autocompletion=_model_names)
]
OptionalModel = Annotated[
    str | None,
    typer.Option(
        "--model", "-m", help="Name or folder of the model; `models` lists them.", autocompletion=_model_names
    ),
]
# Commands that work with a model on data take it by --model alone in their help; a name without it, as these
# commands took it before, means the same.
FormerModelArgument = Annotated[str | None, typer.Argument(metavar="NAME", hidden=True)]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace a file that already exists.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print nothing but errors.")]
ReaderFolders = Annotated[
    str | None,
    typer.Option(
        "--readers",
        help="Masks of several readers: their folders beside images/, as masks_r1,masks_r2; or auto for all"
        " that are called masks_r1, masks_r2, ...",
    ),
]
Resume = Annotated[
    bool,
    typer.Option(
        "--resume", help="Continue a training that was stopped; all other options must be the same."
    ),
]
Samples = Annotated[
    int | None,
    typer.Option("--samples", "-n", help="Number of samples. Default: the model's."),
]
ScanPath = Annotated[
    Path,
    typer.Argument(
        help="An image or volume: a file, a folder of DICOM or OME-Zarr, or a series of an archive"
        " (dicomweb://HOST/PATH?patient=ID)."
    ),
]
Seed = Annotated[
    int,
    typer.Option(
        help="The same seed gives the same result on the same machine, in bfloat16 with as many threads."
    ),
]
Series = Annotated[
    int | None,
    typer.Option(help="Which image of a file or folder that holds several, from 1; `info` lists them."),
]
SamplingSource = Annotated[
    str | None,
    typer.Option(
        "--sampling",
        help="What makes the samples differ: one of the model's sources, or none for a single pass.",
    ),
]
Spacing = Annotated[
    str | None,
    typer.Option(
        help="Pixel size in mm of an image whose file states none: 0.2, or a number for each axis: 5,0.2,0.2."
    ),
]
SplitOption = Annotated[
    list[Path] | None,
    typer.Option(
        "--split",
        help="A file that names the images of each part: JSON, CSV, a pickle of names, or text such as"
        " train.txt and test.txt; may be given several times.",
    ),
]
Threads = Annotated[
    int | None,
    typer.Option(min=1, max=1024, help="Number of threads. Default: all processor cores."),
]
Threshold = Annotated[
    float | None, typer.Option(help="A voxel belongs to a class where its mean probability is above this.")
]

# By command, the former name of an option, which still works, and the present one. The former names are also
# those of the fields that the options set, so that errors about a field can name the option.
_FORMER_NAMES: dict[str, dict[str, str]] = {
    "segment": {"--smallest": "--min-size", "--box": "--roi", "--source": "--sampling"},
    "batch": {"--smallest": "--min-size", "--source": "--sampling"},
    "evaluate": {"--source": "--sampling"},
    "calibrate": {"--source": "--sampling", "--level": "--coverage"},
}

# By command, fields of which errors speak, and the options that set them.
_FIELDS: dict[str, dict[str, str]] = {
    "train": {
        "batch_size": "--batch-size", "begin_from": "--begin-from", "class_texts": "--class-texts",
        "member_parts": "--member-parts", "member_training": "--member-epochs",
        "member_training.epochs": "--member-epochs", "pretrained_unet": "--pretrained-unet",
        "split.select_on": "--select-on",
    },
}  # fmt: skip


def model_given(option: str | None, argument: str | None) -> str:
    """The model of a command that takes it as an option, and as an argument as it did before.

    Raises
    ------
    BadInput
        If it is given neither way, or both with different names.
    """
    if option is not None and argument is not None and option != argument:
        raise BadInput("model", f"both {argument!r} and {option!r} are given", "give one with --model NAME")
    model = argument if option is None else option
    if model is None:
        raise BadInput("model", "is missing", "give one with --model NAME; `models` lists them")
    return model


def check_one_output(*, events: bool, as_json: bool) -> None:
    """Refuse two kinds of output for programs at once.

    Raises
    ------
    BadInput
        If both are asked for.
    """
    if events and as_json:
        raise BadInput("events", "and --json both print on the standard output", "leave one of them out")


def use_threads(count: int | None) -> None:
    """Compute with so many threads, if a number is given."""
    if count is not None:
        from napari_latentseg.utils.threads import limit_threads

        limit_threads(count)


def parse_spacing(text: str | None) -> list[float] | None:
    """The numbers of ``"0.2"`` or ``"5,0.2,0.2"``.

    Raises
    ------
    BadInput
        If one of them is not a number.
    """
    if text is None:
        return None
    try:
        return [float(part) for part in text.split(",")]
    except ValueError as error:
        raise BadInput(
            "spacing", f"{text!r} is not a list of numbers", "write 0.2, or 5,0.2,0.2 in mm"
        ) from error


def with_current_names(arguments: Sequence[str]) -> list[str]:
    """A command line with former names of options replaced by the present ones.

    Parameters
    ----------
    arguments
        The command and its arguments.
    """
    if not arguments:
        return []
    present_names = _FORMER_NAMES.get(arguments[0], {})
    renamed = []
    for argument in arguments:
        name, equals, value = argument.partition("=")
        renamed.append(f"{present_names.get(name, name)}{equals}{value}")
    return renamed


def with_option_name(error: BadInput, arguments: Sequence[str]) -> BadInput:
    """An error about a field that names the option which sets it.

    Parameters
    ----------
    error
        What was wrong.
    arguments
        The command and its arguments.
    """
    command = arguments[0] if arguments else ""
    option = _FORMER_NAMES.get(command, {}).get(f"--{error.what}") or _FIELDS.get(command, {}).get(error.what)
    return error if option is None else BadInput(option.removeprefix("--"), error.why, error.remedy)
