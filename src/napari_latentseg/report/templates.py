"""The templates of pages; each escapes every value that it is given."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jinja2 import Environment, Template

__all__ = ["load_template"]


def load_template(name: str) -> Template:
    """A template of this folder, by its file name."""
    return _environment().get_template(name)


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
