"""Objects of which each viewer has one: its session, its corrections, its training."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from functools import wraps
from typing import TYPE_CHECKING, Any, TypeVar

from qtpy.compat import isalive
from qtpy.QtCore import QObject

from napari_latentseg.widgets._shared.unwrapped_viewer import unwrapped_viewer

if TYPE_CHECKING:
    from napari.components import ViewerModel

__all__ = ["objects_of", "per_viewer", "release"]

_T = TypeVar("_T")

_objects: dict[int, dict[str, Any]] = {}
"""Name of the function that made it -> object, by the id of the viewer, which cannot be hashed."""


def per_viewer(make: Callable[[ViewerModel], _T]) -> Callable[[ViewerModel], _T]:
    """Decorate a function that makes an object for a viewer, so that it makes one for each viewer.

    Parameters
    ----------
    make
        Called once for each viewer, with the viewer itself and not the proxy that napari gives to plugins.
        What it returns must not hold a strong reference to the viewer, or neither is ever freed.

    Returns
    -------
    callable
        Returns the object of a viewer (or of its proxy); it is released with the viewer.
    """
    name = f"{make.__module__}.{make.__qualname__}"

    @wraps(make)
    def object_of(viewer: ViewerModel) -> _T:
        original = unwrapped_viewer(viewer)
        key = id(original)
        if key not in _objects:
            _objects[key] = {}
            weakref.finalize(original, _objects.pop, key, None)
        existing: _T | None = _objects[key].get(name)
        if existing is None or (isinstance(existing, QObject) and not isalive(existing)):
            existing = make(original)
            _objects[key][name] = existing
        return existing

    return object_of


def objects_of(viewer: ViewerModel) -> list[Any]:
    """The objects that a viewer has so far, oldest first."""
    return list(_objects.get(id(unwrapped_viewer(viewer)), {}).values())


def release(viewer: ViewerModel) -> list[Any]:
    """Remove and return the objects of a viewer, which gets new ones on demand."""
    existing = objects_of(viewer)
    _objects.get(id(unwrapped_viewer(viewer)), {}).clear()
    return existing
