"""The names of the files of a result."""

from __future__ import annotations

import errno
import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path

from napari_latentseg.core.classes import ClassInfo
from napari_latentseg.core.contours import CONTOUR_SIDES
from napari_latentseg.errors import BadInput

__all__ = [
    "AGREEMENT_NAME",
    "BAND_NAME",
    "DICOM_FORMATS",
    "DICOM_LABELMAP",
    "DICOM_SEG",
    "DOUBT_NAME",
    "MAX_FRACTIONAL_VALUE",
    "RECORD_NAME",
    "RESULT_SUFFIXES",
    "array_names",
    "check_case_code",
    "check_name_lengths",
    "class_suffixes",
    "name_prefix",
]

AGREEMENT_NAME = "agreement"
"""The name of the agreement of the samples, after the prefix of the result."""

BAND_NAME = "band"
"""The name of both contours in one file (DICOM-SEG), after the prefix of the result."""

DOUBT_NAME = "doubt"
"""The name of the doubt of the mean, after the prefix of the result."""

RECORD_NAME = "run.json"
"""The name of the run record, after the prefix of the result."""

DICOM_SEG = "dicom-seg"
"""The format of results that only a DICOM series can have."""

DICOM_LABELMAP = "dicom-labelmap"
"""As `DICOM_SEG`, with the mask as one label map, which newer readers know, and not a layer a class."""

DICOM_FORMATS = (DICOM_SEG, DICOM_LABELMAP)
"""The formats of results that only a DICOM series can have."""

MAX_FRACTIONAL_VALUE = 255
"""Steps of a probability in DICOM-SEG: the most that the standard allows."""

RESULT_SUFFIXES: dict[str, str] = {
    "nifti": ".nii.gz",
    "tiff": ".tif",
    "ome-tiff": ".ome.tif",
    "nrrd": ".nrrd",
    "metaimage": ".mha",
    "ome-zarr": ".ome.zarr",
    "png": ".png",
}
"""The formats in which any result can be written, whatever its source was, and the suffix of the files."""

_MAX_NAME_LENGTH = 255  # bytes of a file name on Linux and macOS, UTF-16 units on Windows
_MAX_CODE_LENGTH = 64  # characters: longer codes do not fit a column of a table, or a line of the window
_FORBIDDEN_CHARACTERS = re.compile(r'[<>:"/\\|?*\x00-\x1f\x7f]')  # by one of the file systems
_RESERVED_NAMES = {"con", "prn", "aux", "nul"} | {
    f"{port}{number}" for port in ("com", "lpt") for number in "0123456789¹²³"
}  # devices of Windows, with any suffix


def name_prefix(stem: str) -> str:
    """The start of every file name of a result: ``"STEM_"``, or nothing without a stem.

    A layer name may hold slashes; in a file name they would be folders.

    Examples
    --------
    >>> name_prefix("knee"), name_prefix("a/b"), name_prefix("")
    ('knee_', 'a_b_', '')
    """
    return re.sub(r"[/\\\x00]", "_", stem) + "_" if stem else ""


def class_suffixes(classes: Sequence[ClassInfo]) -> list[str]:
    """One file name suffix for each class: ``""`` for a single class, else ``"-NAME"``, all different."""
    if len(classes) == 1:
        return [""]
    names = [_slug(info.name) for info in classes]
    numbered = [f"-{name}-{info.label}" for name, info in zip(names, classes, strict=True)]
    suffixes = [
        f"-{name}" if names.count(name) == 1 else with_number
        for name, with_number in zip(names, numbered, strict=True)
    ]
    # such as "Cyst", "cyst" and "cyst 1": one file would replace another
    return suffixes if len(set(suffixes)) == len(suffixes) else numbered


def array_names(
    classes: Sequence[ClassInfo],
    *,
    with_agreement: bool = False,
    with_doubt: bool = False,
    with_band: bool = False,
) -> list[str]:
    """The names of mask, means and variances, without prefix and suffix; on request those of further maps.

    In DICOM-SEG the agreement of all classes is one file, and so are all contours; these names are included.
    """
    names_in_dicom = [AGREEMENT_NAME] * with_agreement + [BAND_NAME] * with_band
    kinds = ["mean", "variance", *[AGREEMENT_NAME] * with_agreement, *[DOUBT_NAME] * with_doubt]
    kinds += CONTOUR_SIDES if with_band else ()
    names = ["mask", *(f"{kind}{suffix}" for kind in kinds for suffix in class_suffixes(classes))]
    return list(dict.fromkeys([*names, *names_in_dicom]))


def check_case_code(code: str, what: str = "case") -> None:
    """Refuse a case code, or the name of a model, that cannot be part of a file name on every system.

    Parameters
    ----------
    code
        What a person calls the case or the model.
    what
        What the error calls it.

    Raises
    ------
    BadInput
        If it is empty, longer than 64 characters, a reserved name, or holds what a file system refuses.

    Examples
    --------
    >>> check_case_code("study-7 left")
    >>> try:
    ...     check_case_code("7/3")
    ... except BadInput as error:
    ...     print(error)
    case: '7/3' holds '/', which no file name can; use letters, digits, '-' and '_'
    """
    forbidden = _FORBIDDEN_CHARACTERS.search(code)
    if not code.strip():
        why = "is empty"
    elif forbidden is not None:
        why = f"{code!r} holds {forbidden.group()!r}, which no file name can"
    elif code != code.strip(" .") or not code.isprintable():
        why = f"{code!r} begins or ends with a space or a dot, or holds characters that cannot be seen"
    elif code.partition(".")[0].strip().lower() in _RESERVED_NAMES:
        why = f"{code!r} is a name that Windows reserves"
    elif len(code) > _MAX_CODE_LENGTH:
        why = f"has {len(code)} characters, and {_MAX_CODE_LENGTH} are the most"
    else:
        return
    raise BadInput(what, why, "use letters, digits, '-' and '_'")


def check_name_lengths(folder: Path, names: Sequence[str]) -> None:
    """Refuse names that are too long for the file system, before anything is computed.

    Parameters
    ----------
    folder
        Need not exist.
    names
        Of the files that will be written into it.

    Raises
    ------
    BadInput
        If the longest name, or its path, is too long.
    """
    longest = max(names, key=_name_length)
    is_too_long = _name_length(longest) > _MAX_NAME_LENGTH
    if not is_too_long:
        try:
            os.lstat(folder / longest)
        except FileNotFoundError:
            pass
        except OSError as error:  # other errors are found when the folder is tested
            is_too_long = error.errno == errno.ENAMETOOLONG or getattr(error, "winerror", 0) == 206
    if is_too_long:
        raise BadInput(
            "name",
            "is too long for the files of a result",
            "give a short case code (--case), or rename the image",
        )


def _name_length(name: str) -> int:
    return len(name.encode("utf-16-le" if sys.platform == "win32" else "utf-8", "surrogatepass")) // (
        2 if sys.platform == "win32" else 1
    )


def _slug(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9]+", "-", name).strip("-").lower() or "class"
