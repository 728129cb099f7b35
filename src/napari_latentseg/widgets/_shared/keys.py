"""Keys of the widgets: listed in Preferences > Shortcuts, to be changed there; quiet while no widget is open.

napari binds no keys from a manifest (0.9), so they are registered with its action manager, on the viewer:
where the active layer has the same key, that goes first. These are free in Image and Labels layers.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from napari.components import ViewerModel
from napari.settings import get_settings
from napari.utils.action_manager import action_manager
from qtpy.QtWidgets import QAbstractButton

from napari_latentseg.widgets._shared.session import session_of

if TYPE_CHECKING:
    from qtpy.QtWidgets import QWidget

__all__ = ["ACTIONS", "add_key_to_tooltip", "bind_keys", "key_text"]

_PACKAGE = "napari-latentseg"


@dataclass(frozen=True)
class _Action:
    key: str
    description: str
    is_repeatable: bool = False


ACTIONS: dict[str, _Action] = {
    "segment": _Action("Ctrl+Enter", "segment with what is chosen"),
    "cut_down": _Action(",", "cut lower by 0.05", is_repeatable=True),
    "cut_up": _Action(".", "cut higher by 0.05", is_repeatable=True),
    "next": _Action("N", "next place in the review queue", is_repeatable=True),
    "previous": _Action("Shift+N", "previous place in the review queue", is_repeatable=True),
    "approve": _Action("A", "right as it is: approve"),
    "edit": _Action("Shift+E", "edit a copy of the mask"),
    "variance": _Action("U", "variance on and off"),
    "outlines": _Action("Shift+C", "outlines of the samples on and off"),
}
"""Each action with its key, where the person has chosen no other."""

_registered: set[str] = set()
_open_counts: dict[str, int] = {}


def bind_keys(viewer: ViewerModel, widget: QWidget, actions: dict[str, Callable[[], Any]]) -> None:
    """Bind the keys of some actions while a widget is there.

    Parameters
    ----------
    viewer
        Whose window has the widget.
    widget
        With it the keys go quiet again.
    actions
        What each of `ACTIONS` does, for this viewer.
    """
    handlers = session_of(viewer).handlers
    for name, function in actions.items():
        handlers[name] = function
        _register(name)
        _open_counts[name] = _open_counts.get(name, 0) + 1
        if _open_counts[name] == 1:
            for key in _keys_of(name):
                action_manager.bind_shortcut(_action_id(name), key)

    def unbind() -> None:
        for name, function in actions.items():
            if handlers.get(name) is function:
                del handlers[name]
            _open_counts[name] -= 1
            if not _open_counts[name]:
                action_manager.unbind_shortcut(_action_id(name))

    widget.destroyed.connect(unbind)


def add_key_to_tooltip(name: str, button: QAbstractButton) -> None:
    """Tell the key of an action in the tooltip of its button."""
    button.setToolTip(f"{button.toolTip()} ({key_text(name)})".strip())


def key_text(name: str) -> str:
    """The key of an action, for people."""
    return str(_keys_of(name)[0]) if _keys_of(name) else "no key"


def _action_id(name: str) -> str:
    return f"{_PACKAGE}:{name}"


def _keys_of(name: str) -> list[Any]:
    user_keys = get_settings().shortcuts.shortcuts.get(_action_id(name))
    return list(user_keys) if user_keys is not None else [ACTIONS[name].key]


def _register(name: str) -> None:
    """Once a process: the function finds the widget by the viewer that the key was pressed in."""
    if name in _registered:
        return
    _registered.add(name)

    def call_handler(viewer: Any) -> None:
        handler = session_of(viewer).handlers.get(name)
        if handler is not None:
            handler()

    call_handler.__name__ = f"latentseg_{name}"
    action = ACTIONS[name]
    action_manager.register_action(
        _action_id(name),
        call_handler,
        f"LatentSeg: {action.description}",
        ViewerModel,
        repeatable=action.is_repeatable,
    )
