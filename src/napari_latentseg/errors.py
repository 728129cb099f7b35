"""The error that a person is shown: what cannot be used, why, and what to do about it."""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pydantic import ValidationError

__all__ = [
    "DISK_ERRORS",
    "FULL_DISK_ERRORS",
    "BadInput",
    "Cancelled",
    "EndedElsewhere",
    "choose_from",
    "first_validation_error",
    "printable",
    "system_failure",
]


# control characters but tab and line feed, with which a text could write into the terminal or its title, and
# the marks that turn the direction of what follows them
_UNPRINTABLE = dict.fromkeys(
    (*range(9), *range(11, 32), *range(127, 160), *range(0x202A, 0x202F), *range(0x2066, 0x206A)), "\ufffd"
)

# user and password in an address, also where `Path` has taken it for a path and left one slash
_CREDENTIALS = re.compile(r"(?<![\w.+-])([A-Za-z][\w.+-]+:/{1,2})[^/\s@]*@")
# what an archive is asked for: the patient, or a token
_QUERY = re.compile(r"(?<![\w.+-])([A-Za-z][\w.+-]+:/{1,2}[^\s?#]*)[?#].*")
_QUERY_IN_TEXT = re.compile(_QUERY.pattern.removesuffix(".*") + r"[^\s'\"]*")


def printable(text: str) -> str:
    r"""A text without what a terminal would take for a command.

    Examples
    --------
    >>> printable("red \x1b[31mtitle")
    'red �[31mtitle'
    """
    return text.translate(_UNPRINTABLE)


class BadInput(ValueError):
    """Something that was given cannot be used.

    Parameters
    ----------
    what
        What cannot be used: the name of a file, an option, a field of a model card.
    why
        The reason, in plain words.
    remedy
        What to do about it.

    Attributes
    ----------
    what, why, remedy
        As given, each on one line.

    Notes
    -----
    The message is one line that can be printed anywhere, whatever the name of the file, and never contains
    pixel values or header fields of a scan, nor the password or the query of an address.

    Examples
    --------
    >>> from napari_latentseg import BadInput, load_model
    >>> try:
    ...     load_model("no-such-model")
    ... except BadInput as error:
    ...     print(f"{error.what}: {error.why}")
    model: no model 'no-such-model'
    """

    def __init__(self, what: object, why: str, remedy: str = "") -> None:
        # the name of a file may contain line breaks, commands for a terminal, or bytes that are not text
        name = str(what).encode("utf-8", "replace").decode("utf-8")
        self.what = printable(_QUERY.sub(r"\1", _CREDENTIALS.sub(r"\1", " ".join(name.splitlines()))))
        without_passwords = _CREDENTIALS.sub(r"\1", " ".join(str(why).split()))
        self.why = printable(_QUERY_IN_TEXT.sub(r"\1", without_passwords))
        self.remedy = printable(" ".join(str(remedy).split()))
        super().__init__(self.what, self.why, self.remedy)

    def __str__(self) -> str:
        line = f"{self.what}: {self.why}"
        return f"{line}; {self.remedy}" if self.remedy else line


class Cancelled(Exception):
    """The work was stopped on request, before there was a result.

    Examples
    --------
    >>> from napari_latentseg import Cancelled, train
    >>> from napari_latentseg.sample_data import write_annotated_phantoms
    >>> try:
    ...     train(write_annotated_phantoms("phantoms"), "model", codec="embedded", should_stop=lambda: True)
    ... except Cancelled:
    ...     print("stopped")
    stopped
    """


class EndedElsewhere(Exception):
    """Another process of the same training has ended early and says why; this one ends without a word."""


_MAX_NAMES_BESIDE = 12  # names beside one that is alike; more would hide it


def choose_from(value: object, choices: Iterable[str]) -> str:
    """What to do about a name that is not known: the most alike first in the sentence, and the known ones.

    A long list of known names is left out where one of them is alike.

    Parameters
    ----------
    value
        What was given.
    choices
        The known names.

    Examples
    --------
    >>> choose_from("axail", ["axial", "coronal"])
    "did you mean 'axial'? (axial, coronal)"
    >>> choose_from("x", ["axial", "coronal"])
    'use one of axial, coronal'
    """
    import difflib

    names = list(choices)
    # the default cutoff of difflib, which is meant for typing errors
    similar = difflib.get_close_matches(str(value).lower(), names, n=1)
    known = ", ".join(names)
    if not similar:
        return f"use one of {known}"
    return f"did you mean {similar[0]!r}?" + (f" ({known})" if len(names) <= _MAX_NAMES_BESIDE else "")


# pydantic's kinds of error, in plain words; the words in braces are pydantic's own names for the limits
_MESSAGES = {
    "greater_than": "must be more than {gt}",
    "greater_than_equal": "must be {ge} or more",
    "less_than": "must be less than {lt}",
    "less_than_equal": "must be {le} or less",
    "multiple_of": "must be a multiple of {multiple_of}",
    "literal_error": "must be {expected}",
    "string_pattern_mismatch": "must look like {pattern}",
    "too_short": "must hold {min_length} or more",
    "too_long": "must hold {max_length} or fewer",
    "string_too_short": "must have {min_length} letters or more",
    "missing": "is missing",
    "extra_forbidden": "is not known",
    "json_invalid": "is not valid JSON",
}
_PATTERNS = {"^#[0-9a-fA-F]{6}$": "a colour such as #ffb000"}
_TYPE_NAMES = {"int": "a whole number", "float": "a number", "finite": "a number", "bool": "true or false",
           "string": "text", "list": "a list", "tuple": "a list", "dict": "a set of names and values",
           "model": "a set of names and values"}  # fmt: skip


def _numbers(names: str) -> frozenset[int]:
    """Numbers of errors of the system, of those that this system has."""
    return frozenset(getattr(errno, name) for name in names.split() if hasattr(errno, name))


# errors of the system, by what a person can do about them
_NAME_ERRORS = _numbers("ENAMETOOLONG ELOOP EILSEQ")
FULL_DISK_ERRORS = _numbers("ENOSPC EDQUOT")
"""Numbers of `OSError` where a disk or a quota is used up."""
DISK_ERRORS = FULL_DISK_ERRORS | _numbers("EFBIG EROFS")
"""What only writing fails with: also a file that is too large, and a disk that is read-only."""
_REACH_ERRORS = _numbers(
    "EIO ENXIO ENODEV ESTALE ENOTCONN ETIMEDOUT EHOSTDOWN EHOSTUNREACH ENETDOWN ENETUNREACH ENETRESET"
    " ECONNABORTED ECONNRESET"
)


def system_failure(error: OSError) -> BadInput | None:
    """What a person is told where the system does not let a file or folder be used.

    Parameters
    ----------
    error
        From the system.

    Returns
    -------
    BadInput or None
        None for an error that says nothing of the system, but of a fault in a program.

    Examples
    --------
    >>> print(system_failure(PermissionError(13, "Permission denied", "scans/locked")))
    scans/locked: cannot be read or written by this user; ask for access, or choose another place
    >>> print(system_failure(OSError(5, "Input/output error", "scans/a.nii")))
    scans/a.nii: cannot be reached (Input/output error); check the disk, or the connection to it
    """
    name = error.filename or "file"
    if isinstance(error, PermissionError):
        remedy = "ask for access, or choose another place"
        return BadInput(name, "cannot be read or written by this user", remedy)
    if error.errno is None:
        return None
    if error.errno in _NAME_ERRORS:
        return BadInput(name, "is not a possible file name", "choose another name")
    if error.errno in DISK_ERRORS:
        return BadInput(
            name,
            f"cannot be written ({os.strerror(error.errno)})",
            "free some disk space, or choose another place",
        )
    if error.errno in _REACH_ERRORS:
        why = f"cannot be reached ({os.strerror(error.errno)})"
        return BadInput(name, why, "check the disk, or the connection to it")
    return None


def first_validation_error(error: ValidationError) -> tuple[str, str]:
    """The first invalid field and the reason, in plain words.

    Parameters
    ----------
    error
        From pydantic, whose own messages are for programmers.

    Returns
    -------
    field, why
        The field, with dots between its parts; empty where the reason is not about a single field.
    """
    detail = error.errors()[0]
    field = ".".join(str(part) for part in detail["loc"] if part != "[key]")
    error_type = detail["type"]
    if error_type == "string_pattern_mismatch" and detail["ctx"]["pattern"] in _PATTERNS:
        return field, f"must be {_PATTERNS[detail['ctx']['pattern']]}"
    if error_type in _MESSAGES:
        limits = {k: f"{v:g}" if isinstance(v, float) else v for k, v in detail.get("ctx", {}).items()}
        return field, _MESSAGES[error_type].format(**limits)
    if error_type == "value_error":
        return field, str(detail["ctx"]["error"])
    type_name = _TYPE_NAMES.get(error_type.partition("_")[0])
    return field, f"must be {type_name}" if type_name else detail["msg"]
