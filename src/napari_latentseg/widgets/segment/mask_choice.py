"""Which mask an export writes: the one that counts, or the model's own."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtWidgets import QComboBox, QWidget

from napari_latentseg.core.person_mask import describe_mask

if TYPE_CHECKING:
    from napari_latentseg.widgets._shared.session import RunResult

__all__ = ["MaskChoice"]


class MaskChoice(QComboBox):
    """The masks that a result can be exported with; the one on screen comes first.

    Parameters
    ----------
    result
        A finished result.
    parent
        Qt parent.
    """

    def __init__(self, result: RunResult, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        latest = result.latest_mask
        whose = describe_mask(latest.segmentation.record) if latest is not None else "the model's"
        self.addItem(f"as on screen: {whose}", False)
        if latest is not None and latest.is_edited:
            self.addItem("the model's own mask, without corrections", True)
            self.setToolTip("The mask, its contours, the table and the report are all of this mask")
        else:
            self.setEnabled(False)
            self.setToolTip("Nobody has changed the model's mask")

    @property
    def own_mask(self) -> bool:
        """Whether the model's own mask is to be written, although a person has corrected it."""
        return bool(self.currentData())
