"""The headings under which the help of a command with many options lists them."""

from __future__ import annotations

__all__ = ["OPTION_GROUPS", "group_of"]

_SAMPLES = (
    "Model and samples",
    ("--samples", "--sampling", "--threshold", "--tolerance", "--seed", "--codec"),
)
_IMAGE = ("Which image", ("--series", "--channel", "--spacing"))
_PART = ("Which part of it", ("--plane", "--slices", "--roi", "--classes"))
_CLEANING = ("Cleaning the mask", ("--min-size", "--fill-holes", "--keep-largest"))
_FILES = (
    "What is written",
    (
        "--format", "--agreement", "--doubt", "--contours", "--band", "--table", "--report", "--append-to",
        "--append-objects", "--deidentify", "--case", "--overwrite", "--skip-existing", "--layout",
    ),
)  # fmt: skip
_COMPUTING = ("Computing", ("--device", "--threads", "--precision", "--engine"))
_OUTPUT = ("Output", ("--events", "--json", "--quiet", "--help"))

OPTION_GROUPS: dict[str, tuple[tuple[str, tuple[str, ...]], ...]] = {
    "segment": (
        ("Needed", ("--model", "--out")),
        _SAMPLES,
        _IMAGE,
        _PART,
        (
            "Pointing at a structure (models that take prompts)",
            ("--point", "--not", "--around", "--structure-size", "--prompts", "--through"),
        ),
        ("Hints (any model with samples)", ("--hint", "--hint-not")),
        _CLEANING,
        _FILES,
        _COMPUTING,
        _OUTPUT,
    ),
    "batch": (
        ("Needed", ("--model", "--out")),
        ("Which cases", ("--list", "--resume", "--fail-fast", "--dry-run")),
        ("Several processes", ("--parts", "--part", "--workers", "--scheduler")),
        _SAMPLES,
        ("Which images", ("--channel", "--spacing")),
        ("Which part of them", ("--plane", "--classes")),
        _CLEANING,
        _FILES,
        _COMPUTING,
        _OUTPUT,
    ),
    "evaluate": (
        ("Needed", ("--model", "--data")),
        ("Which images", ("--subset", "--split", "--labels", "--readers", "--patients", "--images")),
        _SAMPLES,
        (
            "What is scored",
            ("--protocol", "--stability", "--objects", "--against", "--clicks", "--reconstruction"),
        ),
        ("What is written", ("--out", "--report", "--worst-images", "--overwrite")),
        _COMPUTING,
        _OUTPUT,
    ),
    "train": (
        ("Needed", ("--data", "--out")),
        ("Images and masks", ("--classes", "--labels", "--readers", "--split", "--select-on")),
        ("Method", ("--method", "--config", "--name", "--codec", "--download", "--begin-from", "--resume")),
        ("In place of the configuration's", ("--epochs", "--batch-size", "--accumulate", "--seed")),
        (
            "Members (samples from several predictors)",
            ("--members", "--member-parts", "--member-epochs", "--members-of"),
        ),
        ("Files of single methods", ("--pretrained-unet", "--perceptual", "--class-texts")),
        _COMPUTING,
        _OUTPUT,
    ),
}  # fmt: skip
"""Of each command the headings in their order, each with its options; an option that is missing here goes
under the heading Options, at the end."""


def group_of(command: str, names: list[str]) -> str:
    """The heading of an option.

    Parameters
    ----------
    command
        The command's name.
    names
        All names of the option: ``["--out", "-o"]``.
    """
    groups = OPTION_GROUPS.get(command, ())
    return next((title for title, options in groups if set(options) & set(names)), "Options")
