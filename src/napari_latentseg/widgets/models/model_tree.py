"""The installed models as a tree: each with its versions, the current one marked."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import QHeaderView, QTreeWidget, QTreeWidgetItem, QWidget

from napari_latentseg import ModelVersion
from napari_latentseg.models.card import ModelCard
from napari_latentseg.widgets._shared.model_entries import ModelEntry, distinct_titles
from napari_latentseg.widgets._shared.plain_text import plain_text

__all__ = ["ModelTree"]

_CURRENT = "current"
_ORIGINS = {"package": "embedded", "installed": "installed", "taught": "fine-tuned"}


class ModelTree(QTreeWidget):
    """A row for each model, and below it one for each version where there are several.

    Signals
    -------
    selection_changed
        Another row was selected.
    """

    selection_changed = Signal()

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setColumnCount(3)
        self.setHeaderLabels(["Model", "Version", ""])
        self.setRootIsDecorated(True)
        self.setIndentation(14)  # pixels: the default of 20 takes room that the figures need
        self.setUniformRowHeights(False)  # a version has two lines, a model one
        self.setTextElideMode(Qt.TextElideMode.ElideMiddle)
        self.setMinimumHeight(150)
        header = self.header()
        assert header is not None
        header.setStretchLastSection(False)
        header.setSectionResizeMode(0, QHeaderView.ResizeMode.Stretch)
        for column in (1, 2):
            header.setSectionResizeMode(column, QHeaderView.ResizeMode.ResizeToContents)
        self._entries: Sequence[ModelEntry] = ()
        self.currentItemChanged.connect(lambda *_: self.selection_changed.emit())

    def show_entries(self, model_entries: Sequence[ModelEntry], name: str = "") -> None:
        """List models.

        Parameters
        ----------
        model_entries
            The models, in the order of the rows.
        name
            The model to select; where empty, the one that was selected before.
        """
        previous = self.current_entry
        name = name or (previous.name if previous is not None else "")
        self._entries = model_entries
        titles = distinct_titles(entry.current[1] for entry in model_entries)
        self.blockSignals(True)
        self.clear()
        for entry in model_entries:
            version = entry.current[0]
            item = self._item(
                [titles[entry.name], _version_text(version), _CURRENT if len(entry.versions) > 1 else ""]
            )
            item.setData(0, Qt.ItemDataRole.UserRole, (entry.name, version.folder))
            item.setToolTip(0, plain_text(entry.name))
            self.addTopLevelItem(item)
            if len(entry.versions) > 1:
                for child_version, _ in reversed(entry.versions):
                    current = _CURRENT if child_version.is_current else ""
                    child = self._item([_child_text(child_version), _version_text(child_version), current])
                    child.setData(0, Qt.ItemDataRole.UserRole, (entry.name, child_version.folder))
                    child.setToolTip(0, plain_text(_tooltip(child_version.dice, child_version)))
                    item.addChild(child)
                    child.setFirstColumnSpanned(True)  # the figures need the whole width
                item.setExpanded(True)
            if entry.name == name:
                self.setCurrentItem(item)
        if self.currentItem() is None and self.topLevelItemCount():
            self.setCurrentItem(self.topLevelItem(0))
        self.blockSignals(False)
        self.selection_changed.emit()

    def _item(self, texts: list[str]) -> QTreeWidgetItem:
        item = QTreeWidgetItem(texts)
        item.setFlags(Qt.ItemFlag.ItemIsEnabled | Qt.ItemFlag.ItemIsSelectable)
        return item

    @property
    def current_entry(self) -> ModelEntry | None:
        """The model of the selected row."""
        selected = self._current_data()
        return next(
            (entry for entry in self._entries if selected is not None and entry.name == selected[0]), None
        )

    @property
    def current_version(self) -> tuple[ModelVersion, ModelCard] | None:
        """The version of the selected row; for the row of a model, its current version."""
        entry, selected = self.current_entry, self._current_data()
        if entry is None or selected is None:
            return None
        return next((item for item in entry.versions if item[0].folder == selected[1]), entry.current)

    def _current_data(self) -> tuple[str, Path] | None:
        item = self.currentItem()
        return None if item is None else item.data(0, Qt.ItemDataRole.UserRole)

    def filter_by_text(self, text: str) -> None:
        """Show only the models whose name, title, modality, method or classes contain a text."""
        query = text.strip().lower()
        for row in range(self.topLevelItemCount()):
            item = self.topLevelItem(row)
            assert item is not None
            entry = self._entries[row]
            item.setHidden(bool(query) and not any(query in _search_text(card) for _, card in entry.versions))
        current = self.currentItem()
        model_item = current.parent() or current if current is not None else None
        if model_item is not None and model_item.isHidden():
            top_items = [self.topLevelItem(row) for row in range(self.topLevelItemCount())]
            first_visible = next(
                (item for item in top_items if item is not None and not item.isHidden()), None
            )
            self.setCurrentItem(first_visible)


def _version_text(version: ModelVersion) -> str:
    return f"v{version.version} ({_ORIGINS.get(version.origin, version.origin)})"


def _child_text(version: ModelVersion) -> str:
    """What the row of a version says: number and origin, and below its Dice with that of its base."""
    current = f", {_CURRENT}" if version.is_current else ""
    return f"{_version_text(version)}{current}\n{version.dice or 'not measured'}"


def _tooltip(title: str, version: ModelVersion) -> str:
    return "\n".join(line for line in (title, version.comparison) if line)


def _search_text(card: ModelCard) -> str:
    parts = [card.name, card.title, card.modality, card.method_title, *(c.name for c in card.classes)]
    return " ".join(parts).lower()
