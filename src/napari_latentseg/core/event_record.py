"""The base of the events that a program reports while it works, as typed records and JSON lines."""

from __future__ import annotations

from typing import Any

from napari_latentseg.core.frozen import FrozenModel

__all__ = ["EventRecord"]


class EventRecord(FrozenModel):
    """An event.

    Attributes
    ----------
    event
        Its kind; a `Literal` in each subclass.
    """

    event: str

    def as_dict(self) -> dict[str, Any]:
        """The content of a JSON line, with the keys in a fixed order."""
        return self.model_dump(mode="json")
