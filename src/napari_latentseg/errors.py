"""The one kind of error that a person is shown: what is wrong, where, and what to do."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pydantic import ValidationError

__all__ = ["BadInput", "Cancelled", "first_validation_error"]


class BadInput(ValueError):
    """Something that was given cannot be used.

    Parameters
    ----------
    what
        The thing at fault: a file's name, an option, a field of a card.
    why
        What is wrong with it, in plain words.
    remedy
        What to do about it.

    Notes
    -----
    The message is one line that can be printed anywhere, whatever the file is called, and never carries
    pixel values or header fields of a scan.
    """

    def __init__(self, what: object, why: str, remedy: str = "") -> None:
        # A name may hold a line break, or bytes that are no text at all.
        name = str(what).encode("utf-8", "replace").decode("utf-8")
        self.what = " ".join(name.splitlines())
        self.why = " ".join(str(why).split())
        self.remedy = " ".join(str(remedy).split())
        super().__init__(self.what, self.why, self.remedy)

    def __str__(self) -> str:
        line = f"{self.what}: {self.why}"
        return f"{line}; {self.remedy}" if self.remedy else line


class Cancelled(Exception):
    """The person asked for the work to stop; nothing is wrong."""


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
    "string_too_short": "must have {min_length} letters or more",
    "missing": "is missing",
    "extra_forbidden": "is not known",
    "json_invalid": "is not valid JSON",
}
_TYPE_NAMES = {"int": "a whole number", "float": "a number", "finite": "a number", "bool": "true or false",
           "string": "text", "list": "a list", "tuple": "a list", "dict": "a set of names and values",
           "model": "a set of names and values"}  # fmt: skip


def first_validation_error(error: ValidationError) -> tuple[str, str]:
    """The first field at fault and what is wrong with it, in plain words.

    Parameters
    ----------
    error
        From pydantic, whose own words are for programmers.

    Returns
    -------
    field, why
        The field is empty where the whole is at fault.
    """
    detail = error.errors()[0]
    field = ".".join(str(part) for part in detail["loc"])
    error_type = detail["type"]
    if error_type in _MESSAGES:
        limits = {k: f"{v:g}" if isinstance(v, float) else v for k, v in detail.get("ctx", {}).items()}
        return field, _MESSAGES[error_type].format(**limits)
    if error_type == "value_error":
        return field, str(detail["ctx"]["error"])
    type_name = _TYPE_NAMES.get(error_type.partition("_")[0])
    return field, f"must be {type_name}" if type_name else detail["msg"]
