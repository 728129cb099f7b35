"""Controls that cannot be used and do not say why."""

from __future__ import annotations

from qtpy.QtWidgets import (
    QAbstractButton,
    QAbstractSlider,
    QAbstractSpinBox,
    QComboBox,
    QDockWidget,
    QLineEdit,
    QScrollBar,
    QWidget,
)

_CONTROLS = (QAbstractButton, QComboBox, QAbstractSpinBox, QAbstractSlider, QLineEdit)


def unexplained(widget: QWidget) -> list[str]:
    """The disabled controls on screen without a tooltip, their own or of what they are part of."""
    return [
        f"{type(control).__name__} {control.accessibleName() or _text(control)!r}"
        for control in widget.findChildren(QWidget)
        if isinstance(control, _CONTROLS)
        and not isinstance(control, QScrollBar)
        and control.isVisible()
        and not control.isEnabled()
        and not _tooltip(control, widget)
    ]


def _text(control: QWidget) -> str:
    return control.currentText() if isinstance(control, QComboBox) else getattr(control, "text", str)()


def _tooltip(control: QWidget | None, top: QWidget) -> str:
    """What Qt shows: the tooltip of the control, or else of the widget around it."""
    while control is not None and not isinstance(control, QDockWidget):
        if control.toolTip():
            return control.toolTip()
        control = control.parentWidget() if control is not top else None
    return ""
