"""The templates of pages, each of which escapes every value that it is given, and the files of pages."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_latentseg.utils.atomic import atomic_path, ensure_writable_folder

if TYPE_CHECKING:
    from jinja2 import Environment, Template

__all__ = ["load_template", "write_page"]


def load_template(name: str) -> Template:
    """A template of this folder, by its file name."""
    return _environment().get_template(name)


def write_page(path: Path, text: str) -> None:
    """Write a page as a file; one that is there is replaced as a whole.

    Raises
    ------
    BadInput
        If it cannot be written.
    """
    ensure_writable_folder(path.absolute().parent)
    with atomic_path(path) as temporary:
        temporary.write_text(text, "utf-8")


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
