"""The templates of pages, each of which escapes every value that it is given, and the files of pages."""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_latentseg.utils.atomic import atomic_path, ensure_writable_folder

if TYPE_CHECKING:
    from collections.abc import Mapping

    from jinja2 import Environment

__all__ = ["PURPOSE", "is_changed_page", "render", "write_page"]


PURPOSE = "For research. Not a medical device."
"""What every page says at its top."""


def render(template: str, values: Mapping[str, Any]) -> str:
    """A page as text, see `write_page`."""
    return _environment().get_template(template).render({"purpose": PURPOSE, **values})


def write_page(path: Path, template: str, values: Mapping[str, Any]) -> Path:
    """Write a page as one HTML file, pictures included, without scripts.

    Parameters
    ----------
    path
        A file name ending in `.html`; a file that is there is replaced as a whole.
    template
        Name of a file of this folder.
    values
        What it shows; it escapes them all. The purpose need not be among them.

    Returns
    -------
    Path
        The file.

    Raises
    ------
    BadInput
        If it cannot be written.
    """
    text = render(template, values)
    text += f"\n<!-- {_hash(text)} -->\n"
    ensure_writable_folder(path.absolute().parent)
    with atomic_path(path) as temporary:
        temporary.write_text(text, "utf-8")
    return path


def is_changed_page(text: str) -> bool:
    """Whether the text of a page is not what `write_page` wrote, or an earlier version wrote it.

    Its last line is a hash of all others. Another line ending is no change.
    """
    page, _, check = text.removesuffix("\n").rpartition("\n")
    return check != f"<!-- {_hash(page)} -->"


def _hash(text: str) -> str:
    lines = "\n".join(text.splitlines())
    return f"sha256:{hashlib.sha256(lines.encode()).hexdigest()}"


@cache
def _environment() -> Environment:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    return Environment(
        loader=PackageLoader("napari_latentseg", "report"),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_keep_percent,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def _keep_percent(value: Any) -> Any:
    """Keep a line of the page from being broken between a number and its percent sign."""
    return value.replace(" %", "\N{NO-BREAK SPACE}%") if type(value) is str else value
