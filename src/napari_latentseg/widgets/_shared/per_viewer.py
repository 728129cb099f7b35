"""Objects of which each viewer has one: its session, its corrections, its training."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from functools import wraps
from typing import TYPE_CHECKING, Any, TypeVar

from qtpy.compat import isalive
from qtpy.QtCore import QObject

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
        unwrapped_viewer = getattr(viewer, "__wrapped__", viewer)
        key = id(unwrapped_viewer)
        if key not in _objects:
            _objects[key] = {}
            weakref.finalize(unwrapped_viewer, _objects.pop, key, None)
        existing: _T | None = _objects[key].get(name)
        if existing is None or (isinstance(existing, QObject) and not isalive(existing)):
            existing = make(unwrapped_viewer)
            _objects[key][name] = existing
        return existing

    return object_of


def objects_of(viewer: ViewerModel) -> list[Any]:
    """The objects that a viewer has so far, oldest first."""
    return list(_objects.get(id(getattr(viewer, "__wrapped__", viewer)), {}).values())


def release(viewer: ViewerModel) -> list[Any]:
    """Remove and return the objects of a viewer, which gets new ones on demand."""
    existing = objects_of(viewer)
    _objects.get(id(getattr(viewer, "__wrapped__", viewer)), {}).clear()
    return existing
