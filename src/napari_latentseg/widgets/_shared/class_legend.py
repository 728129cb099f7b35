"""Legend of the classes of a result: eye, colour, name and size of each; outline or fill, and opacity."""

from __future__ import annotations

from collections.abc import Mapping

from qtpy.QtCore import QEvent, QObject, QSize, Qt, Signal
from qtpy.QtGui import QColor, QPainter, QPaintEvent, QPen, QPixmap, QResizeEvent
from qtpy.QtWidgets import (
    QButtonGroup,
    QFrame,
    QGridLayout,
    QHBoxLayout,
    QPushButton,
    QRadioButton,
    QScrollArea,
    QSizePolicy,
    QSlider,
    QToolButton,
    QVBoxLayout,
    QWidget,
)

from napari_latentseg.core.classes import ClassInfo
from napari_latentseg.widgets._shared.mask_look import MaskLook
from napari_latentseg.widgets._shared.plain_text import PlainLabel, plain_text
from napari_latentseg.widgets._shared.text import keep_units

__all__ = ["ClassLegend"]

_MAX_ROWS = 6  # more scroll within the legend
_ICON_SIZE = 16


class ClassLegend(QWidget):
    """One row for each class, and how the mask is drawn.

    The rows show and hide classes of the mask; the class that is selected is the one that agreement, mean and
    variance show, and whose opacity the slider changes.

    Signals
    -------
    class_selected
        Position of the class that the user selected.
    """

    class_selected = Signal(int)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._look: MaskLook | None = None
        self.rows: list[_ClassRow] = []
        self._selection = QButtonGroup(self)
        self._selection.idClicked.connect(self._on_selected)
        self._list = QWidget()
        self._list_layout = QVBoxLayout(self._list)
        self._list_layout.setContentsMargins(0, 0, 0, 0)
        self._list_layout.setSpacing(2)
        self._list_layout.addStretch(1)  # keeps the rows together at the top
        self._scroll = QScrollArea()
        self._scroll.setWidgetResizable(True)
        self._scroll.setFrameShape(QFrame.Shape.NoFrame)
        self._scroll.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self._scroll.setWidget(self._list)
        self._list.installEventFilter(self)
        self.outline_button = _kind_button("Outline", "Draw the edge of each class")
        self.fill_button = _kind_button("Fill", "Draw the area of each class")
        kinds = QButtonGroup(self)
        for button in (self.outline_button, self.fill_button):
            kinds.addButton(button)
            button.clicked.connect(self._on_kind)
        self.opacity_slider = QSlider(Qt.Orientation.Horizontal)
        self.opacity_slider.setRange(5, 100)  # %; to hide a class is the eye's task
        self.opacity_slider.valueChanged.connect(self._on_opacity)
        kind_row = QHBoxLayout()
        kind_row.addWidget(self.outline_button)
        kind_row.addWidget(self.fill_button)
        kind_row.addWidget(PlainLabel("Opacity"))
        kind_row.addWidget(self.opacity_slider, 1)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self._scroll)
        layout.addLayout(kind_row)

    @property
    def selected(self) -> int:
        """Position of the selected class."""
        return max(0, self._selection.checkedId())

    def show_look(self, look: MaskLook, selected: int) -> None:
        """Show the classes of a result.

        Parameters
        ----------
        look
            How they are drawn.
        selected
            Position of the selected class.
        """
        if look is not self._look:
            if self._look is not None:
                self._look.changed.disconnect(self._refresh)
            self._look = look
            look.changed.connect(self._refresh)
            self._make_rows(look.classes)
        self.rows[selected].name_button.setChecked(True)
        self._refresh()

    def set_sizes(self, sizes: Mapping[str, str]) -> None:
        """Show the sizes, by name of the class."""
        for row in self.rows:
            row.set_size(sizes.get(row.info.name, ""))
        self._fit_height()

    def size_text(self, name: str) -> str:
        """The size that is shown for a class."""
        return next(row.size_label.text() for row in self.rows if row.info.name == name)

    def _make_rows(self, classes: tuple[ClassInfo, ...]) -> None:
        for row in self.rows:
            self._selection.removeButton(row.name_button)
            self._list_layout.removeWidget(row)
            row.hide()  # it is deleted later; until then it would show the sizes of another result
            row.deleteLater()
        self.rows = [_ClassRow(info, is_only=len(classes) == 1) for info in classes]
        for position, row in enumerate(self.rows):
            self._selection.addButton(row.name_button, position)
            row.eye.toggled.connect(lambda shown, label=row.info.label: self._on_eye(label, shown))
            self._list_layout.insertWidget(position, row)
        self._fit_height()

    def _fit_height(self) -> None:
        """As high as its rows, up to six of them."""
        width = self.width()  # that of the scroll area is the one before in a resize event
        scrolls = len(self.rows) > _MAX_ROWS
        if scrolls and (bar := self._scroll.verticalScrollBar()) is not None:
            width -= bar.sizeHint().width()
        policy = Qt.ScrollBarPolicy.ScrollBarAsNeeded if scrolls else Qt.ScrollBarPolicy.ScrollBarAlwaysOff
        self._scroll.setVerticalScrollBarPolicy(policy)
        heights = [row.height_for(width) for row in self.rows[:_MAX_ROWS]]
        self._scroll.setFixedHeight(
            sum(heights) + self._list_layout.spacing() * len(heights)
        )  # and the stretch

    def eventFilter(self, watched: QObject | None, event: QEvent | None) -> bool:
        """Follow the heights of the rows, which change with the texts of the sizes and with the font."""
        if watched is self._list and event is not None and event.type() == QEvent.Type.LayoutRequest:
            self._fit_height()
        return super().eventFilter(watched, event)

    def resizeEvent(self, event: QResizeEvent | None) -> None:
        """A narrower legend breaks its lines sooner."""
        super().resizeEvent(event)
        self._fit_height()

    def changeEvent(self, event: QEvent | None) -> None:
        """Follow the theme and its font."""
        super().changeEvent(event)
        if event is not None and event.type() in (QEvent.Type.StyleChange, QEvent.Type.FontChange):
            self._fit_height()

    def _refresh(self) -> None:
        look = self._look
        if look is None:
            return
        for row in self.rows:
            row.show_eye(look.is_shown(row.info.label))
        button = self.outline_button if look.is_outlined else self.fill_button
        button.setChecked(True)
        self.outline_button.setEnabled(look.can_outline)
        self.outline_button.setToolTip(
            "Draw the edge of each class" if look.can_outline else "The slices are too large for outlines"
        )
        info = self.rows[self.selected].info
        self.opacity_slider.blockSignals(True)
        self.opacity_slider.setValue(round(100 * look.opacity(info.label)))
        self.opacity_slider.blockSignals(False)
        self.opacity_slider.setEnabled(look.is_shown(info.label))
        self.opacity_slider.setToolTip(plain_text(f"Opacity of {info.name}"))
        self.opacity_slider.setAccessibleName(f"Opacity of {info.name}")

    def _on_selected(self, position: int) -> None:
        self._refresh()
        self.class_selected.emit(position)

    def _on_eye(self, label: int, shown: bool) -> None:
        if self._look is not None:
            self._look.show_label(label, shown)

    def _on_kind(self) -> None:
        if self._look is not None:
            self._look.set_outlined(self.outline_button.isChecked())

    def _on_opacity(self, percent: int) -> None:
        if self._look is not None and self.rows:
            self._look.set_opacity(self.rows[self.selected].info.label, percent / 100)


def _kind_button(text: str, tooltip: str) -> QPushButton:
    button = QPushButton(text)
    button.setToolTip(tooltip)
    button.setCheckable(True)
    return button


class _ClassRow(QWidget):
    """Eye, colour and name of one class, and its size below."""

    def __init__(self, info: ClassInfo, *, is_only: bool) -> None:
        super().__init__()
        self.info = info
        self.eye = _Eye()
        self.eye.setAccessibleName(f"Show {info.name}")
        swatch = PlainLabel()
        swatch.setPixmap(_swatch(info.color))
        swatch.setToolTip(plain_text(f"Colour of {info.name}: {info.color}"))
        self.name_button = _ElidedRadioButton(info.name)
        purpose = "" if is_only else ": select it for agreement, mean, variance and opacity"
        self.name_button.setToolTip(plain_text(f"{info.name}{purpose}"))
        if is_only:
            self.name_button.setFocusPolicy(Qt.FocusPolicy.NoFocus)  # there is nothing to choose
        self.size_label = PlainLabel()
        self.size_label.setWordWrap(True)
        self.size_label.setStyleSheet("padding: 0; margin: 0")  # napari's would make the row a third higher
        self.size_label.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        self.size_label.hide()
        grid = QGridLayout(self)
        grid.setContentsMargins(0, 0, 0, 0)
        grid.setVerticalSpacing(0)
        grid.addWidget(self.eye, 0, 0)
        grid.addWidget(swatch, 0, 1)
        grid.addWidget(self.name_button, 0, 2)
        grid.addWidget(self.size_label, 1, 2)
        grid.setColumnStretch(2, 1)

    def height_for(self, width: int) -> int:
        """The height of the row at a width, with its lines broken."""
        layout = self.layout()
        assert layout is not None
        return layout.totalHeightForWidth(width) if layout.hasHeightForWidth() else self.sizeHint().height()

    def set_size(self, text: str) -> None:
        """Show the size of the class."""
        self.size_label.setText(keep_units(text))
        self.size_label.setToolTip(plain_text(text))
        self.size_label.setVisible(bool(text))

    def show_eye(self, shown: bool) -> None:
        """Set the eye without a signal."""
        self.eye.blockSignals(True)
        self.eye.setChecked(shown)
        self.eye.blockSignals(False)
        self.eye.update()
        self.eye.setToolTip(plain_text(f"{'Hide' if shown else 'Show'} {self.info.name}"))


class _Eye(QToolButton):
    """An eye, open or closed, in the colour of the theme's text."""

    def __init__(self) -> None:
        super().__init__()
        self.setCheckable(True)
        self.setChecked(True)
        self.setAutoRaise(True)
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        self.setFixedSize(22, 20)

    def paintEvent(self, event: QPaintEvent | None) -> None:
        """Draw the eye; napari's icons are for the layer list alone."""
        super().paintEvent(event)
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        color = self.palette().color(self.foregroundRole())
        color.setAlphaF(1.0 if self.isChecked() else 0.45)
        painter.setPen(QPen(color, 1.4))
        painter.translate(self.width() / 2, self.height() / 2)
        painter.drawArc(-8, -4, 16, 12, 20 * 16, 140 * 16)
        painter.drawArc(-8, -8, 16, 12, 200 * 16, 140 * 16)
        if self.isChecked():
            painter.setBrush(color)
            painter.drawEllipse(-2, -2, 4, 4)
        else:
            painter.drawLine(-7, 6, 7, -6)


class _ElidedRadioButton(QRadioButton):
    """A radio button whose text is cut off in the middle where the row is too narrow."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._text = text
        self.setAccessibleName(text)
        self.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)

    def resizeEvent(self, event: QResizeEvent | None) -> None:
        """Cut the text anew."""
        super().resizeEvent(event)
        room = self.width() - 28  # the circle and its margin
        self.setText(self.fontMetrics().elidedText(self._text, Qt.TextElideMode.ElideMiddle, max(20, room)))

    def minimumSizeHint(self) -> QSize:
        """Any width will do."""
        return QSize(40, super().minimumSizeHint().height())


def _swatch(color: str) -> QPixmap:
    pixmap = QPixmap(_ICON_SIZE - 2, _ICON_SIZE - 2)
    pixmap.fill(QColor(color))
    return pixmap
