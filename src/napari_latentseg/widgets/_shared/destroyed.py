"""Call something once when a Qt object is destroyed."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

from qtpy.QtCore import QObject

__all__ = ["call_when_destroyed"]

_waiting: set[_Call] = set()


class _Call(QObject):
    """Receives `destroyed`: a bound method of a QObject that outlives the sender.

    A closure connected to `destroyed` may be freed with the sender before it is called.
    """

    def __init__(self, action: Callable[[], Any]) -> None:
        super().__init__()
        self._action = action

    def run(self, sender: object = None) -> None:
        _waiting.discard(self)
        if not sys.is_finalizing():
            self._action()


def call_when_destroyed(sender: QObject, action: Callable[[], Any]) -> None:
    """Call a function when Qt destroys an object.

    Parameters
    ----------
    sender
        The object.
    action
        Must not hold the object, or it is never freed.
    """
    call = _Call(action)
    _waiting.add(call)
    sender.destroyed.connect(call.run)
