"""Keyboard shortcuts of the widgets: changed in Preferences > Shortcuts, active while a widget is open.

napari (0.9) binds no keys from a manifest, so they are registered with its action manager, on the viewer.
A key of the active layer takes precedence; these are not used by Image and Labels layers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from napari.components import ViewerModel
from napari.settings import get_settings
from napari.utils.action_manager import action_manager
from qtpy.QtWidgets import QAbstractButton

from napari_latentseg.widgets._shared.destroyed import call_when_destroyed
from napari_latentseg.widgets._shared.session import session_of

if TYPE_CHECKING:
    from napari.layers import Layer
    from qtpy.QtWidgets import QWidget

__all__ = ["ACTIONS", "LAYER_ACTIONS", "add_key_to_tooltip", "bind_keys", "bind_layer_keys", "key_text"]

_PACKAGE = "napari-latentseg"


@dataclass(frozen=True)
class _Action:
    key: str
    description: str
    is_repeatable: bool = False


ACTIONS: dict[str, _Action] = {
    "segment": _Action("Ctrl+Enter", "segment with the current settings, or approve the open case of a list"),
    "threshold_down": _Action(",", "threshold down by 0.05", is_repeatable=True),
    "threshold_up": _Action(".", "threshold up by 0.05", is_repeatable=True),
    "next": _Action("N", "next region in the review queue", is_repeatable=True),
    "previous": _Action("Shift+N", "previous region in the review queue", is_repeatable=True),
    "approve": _Action("A", "approve the mask as it is"),
    "edit": _Action("Shift+E", "edit a copy of the mask"),
    "variance": _Action("U", "variance on and off"),
    "doubt": _Action("Shift+U", "doubt on and off"),
    "contours": _Action("Shift+C", "sample outlines on and off"),
    "flip": _Action("W", "flip between two states of the image, such as mask and correction"),
}
"""Each action with its default key."""

LAYER_ACTIONS: dict[str, _Action] = {
    "accept_object": _Action("Enter", "accept the object that was pointed at"),
    "take_back": _Action("Z", "take the last click back"),
    "smaller": _Action("S", "look for a smaller structure at the same clicks"),
    "larger": _Action("L", "look for a larger structure at the same clicks"),
}
"""Actions of one layer, while it is selected; there, their keys come before those of napari."""

_registered: set[str] = set()
_open_counts: dict[str, int] = {}


def bind_keys(
    viewer: ViewerModel,
    widget: QWidget,
    actions: Mapping[str, Callable[[], Any]],
    asked_first: Mapping[str, Callable[[], bool]] | None = None,
) -> None:
    """Bind the keys of some actions while a widget is open.

    Parameters
    ----------
    viewer
        The viewer of the widget.
    widget
        The keys are unbound when it is destroyed.
    actions
        Names of `ACTIONS`, and the functions to call in this viewer. Of several open widgets the one that was
        opened last is asked.
    asked_first
        Functions that are called before those of other widgets, whichever was opened last; they say whether
        they have used the key.
    """
    first = dict(asked_first or {})
    handlers, first_handlers = session_of(viewer).handlers, session_of(viewer).first_handlers
    for name, function in actions.items():
        handlers.setdefault(name, []).append(function)
    for name, uses_key in first.items():
        first_handlers.setdefault(name, []).append(uses_key)
    for name in (*actions, *first):
        _register(name)
        _open_counts[name] = _open_counts.get(name, 0) + 1
        if _open_counts[name] == 1:
            for key in _keys_of(name):
                action_manager.bind_shortcut(_action_id(name), key)

    def unbind() -> None:
        for name, function in actions.items():
            handlers[name].remove(function)
            if not handlers[name]:
                del handlers[name]
        for name, uses_key in first.items():
            first_handlers[name].remove(uses_key)
        for name in (*actions, *first):
            _open_counts[name] -= 1
            if not _open_counts[name]:
                action_manager.unbind_shortcut(_action_id(name))

    call_when_destroyed(widget, unbind)


def bind_layer_keys(layer: Layer, actions: dict[str, Callable[[], Any]]) -> None:
    """Bind the keys of some actions to a layer, where they act while it is selected.

    Parameters
    ----------
    layer
        The layer.
    actions
        Names of `LAYER_ACTIONS`, and the functions to call.
    """
    for name, function in actions.items():
        layer.bind_key(LAYER_ACTIONS[name].key, _ignoring_layer(function), overwrite=True)


def _ignoring_layer(function: Callable[[], Any]) -> Callable[[Any], None]:
    def call(layer: Any) -> None:
        function()

    return call


def add_key_to_tooltip(name: str, button: QAbstractButton) -> None:
    """Add the key of an action to the tooltip of its button."""
    button.setToolTip(f"{button.toolTip()} ({key_text(name)})".strip())


def key_text(name: str) -> str:
    """The key of an action, as text."""
    if name in LAYER_ACTIONS:
        return LAYER_ACTIONS[name].key
    return str(_keys_of(name)[0]) if _keys_of(name) else "no key"


def _action_id(name: str) -> str:
    return f"{_PACKAGE}:{name}"


def _keys_of(name: str) -> list[Any]:
    user_keys = get_settings().shortcuts.shortcuts.get(_action_id(name))
    return list(user_keys) if user_keys is not None else [ACTIONS[name].key]


def _register(name: str) -> None:
    """Register an action once a process; it calls the handler of the viewer in which the key was pressed."""
    if name in _registered:
        return
    _registered.add(name)

    def call_handler(viewer: Any) -> None:
        session = session_of(viewer)
        if any(uses_key() for uses_key in reversed(session.first_handlers.get(name, []))):
            return
        handlers = session.handlers.get(name)
        if handlers:
            handlers[-1]()

    call_handler.__name__ = f"latentseg_{name}"
    action = ACTIONS[name]
    action_manager.register_action(
        _action_id(name),
        call_handler,
        f"LatentSeg: {action.description}",
        ViewerModel,
        repeatable=action.is_repeatable,
    )
