"""The models at hand as a tree: each with its versions, the one in use marked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import QHeaderView, QTreeWidget, QTreeWidgetItem, QWidget

from napari_latentseg.errors import BadInput
from napari_latentseg.models.card import ModelCard, read_card
from napari_latentseg.models.store import list_cards
from napari_latentseg.models.versions import Version, history

__all__ = ["Entry", "ModelTree", "entries"]

_ORIGINS = {"package": "embedded", "installed": "installed", "taught": "yours"}


@dataclass(frozen=True)
class Entry:
    """A model with its versions, oldest first, and the card of each."""

    name: str
    versions: tuple[tuple[Version, ModelCard], ...]

    @property
    def current(self) -> tuple[Version, ModelCard]:
        """The version that the name loads."""
        return next((one for one in self.versions if one[0].current), self.versions[-1])

    @property
    def can_be_removed(self) -> bool:
        """Whether any of it is not the package's own."""
        return any(version.origin != "package" for version, _ in self.versions)


def entries() -> list[Entry]:
    """All models at hand; reads their cards. A version whose card cannot be read is left out."""
    found = []
    for name in list_cards():
        versions = []
        try:
            for version in history(name):
                versions.append((version, read_card(version.folder)))
        except BadInput:
            continue
        if versions:
            found.append(Entry(name, tuple(versions)))
    return found


class ModelTree(QTreeWidget):
    """A line for each model, and below it one for each version where there are several.

    Signals
    -------
    chosen
        Another line was chosen.
    """

    chosen = Signal()

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setColumnCount(3)
        self.setHeaderLabels(["Model", "Version", ""])
        self.setRootIsDecorated(True)
        self.setUniformRowHeights(True)
        self.setMinimumHeight(150)
        header = self.header()
        assert header is not None
        header.setStretchLastSection(False)
        header.setSectionResizeMode(0, QHeaderView.ResizeMode.Stretch)
        for column in (1, 2):
            header.setSectionResizeMode(column, QHeaderView.ResizeMode.ResizeToContents)
        self._entries: Sequence[Entry] = ()
        self.currentItemChanged.connect(lambda *_: self.chosen.emit())

    def show_entries(self, found: Sequence[Entry], name: str = "") -> None:
        """List models.

        Parameters
        ----------
        found
            The models.
        name
            Of the one that is to be chosen; the one that was where empty.
        """
        before = self.current_entry
        name = name or (before.name if before is not None else "")
        self._entries = found
        self.blockSignals(True)
        self.clear()
        for entry in found:
            version, card = entry.current
            item = self._item([card.title, _called(version), "in use" if len(entry.versions) > 1 else ""])
            item.setData(0, Qt.ItemDataRole.UserRole, (entry.name, version.folder))
            item.setToolTip(0, entry.name)
            self.addTopLevelItem(item)
            if len(entry.versions) > 1:
                for one, its_card in reversed(entry.versions):
                    mark = "in use" if one.current else ""
                    below = self._item([_dice(one, its_card), _called(one), mark])
                    below.setData(0, Qt.ItemDataRole.UserRole, (entry.name, one.folder))
                    below.setToolTip(0, one.line)
                    item.addChild(below)
                item.setExpanded(True)
            if entry.name == name:
                self.setCurrentItem(item)
        if self.currentItem() is None and self.topLevelItemCount():
            self.setCurrentItem(self.topLevelItem(0))
        self.blockSignals(False)
        self.chosen.emit()

    def _item(self, texts: list[str]) -> QTreeWidgetItem:
        item = QTreeWidgetItem(texts)
        item.setFlags(Qt.ItemFlag.ItemIsEnabled | Qt.ItemFlag.ItemIsSelectable)
        return item

    @property
    def current_entry(self) -> Entry | None:
        """The model of the chosen line."""
        found = self._chosen()
        return next((entry for entry in self._entries if found is not None and entry.name == found[0]), None)

    @property
    def current_version(self) -> tuple[Version, ModelCard] | None:
        """The version of the chosen line; of a model's own line the one in use."""
        entry, found = self.current_entry, self._chosen()
        if entry is None or found is None:
            return None
        return next((one for one in entry.versions if one[0].folder == found[1]), entry.current)

    def _chosen(self) -> tuple[str, Path] | None:
        item = self.currentItem()
        return None if item is None else item.data(0, Qt.ItemDataRole.UserRole)

    def show_only(self, text: str) -> None:
        """Show only the models in whose card a text occurs."""
        wanted = text.strip().lower()
        for row in range(self.topLevelItemCount()):
            item = self.topLevelItem(row)
            assert item is not None
            entry = self._entries[row]
            item.setHidden(bool(wanted) and not any(wanted in _words(card) for _, card in entry.versions))
        current = self.currentItem()
        top = current.parent() or current if current is not None else None
        if top is not None and top.isHidden():
            shown = [self.topLevelItem(row) for row in range(self.topLevelItemCount())]
            first = next((item for item in shown if item is not None and not item.isHidden()), None)
            self.setCurrentItem(first)


def _called(version: Version) -> str:
    return f"v{version.version} ({_ORIGINS.get(version.origin, version.origin)})"


def _dice(version: Version, card: ModelCard) -> str:
    return f"Dice {version.dsc:.2f}" if version.dsc is not None else "not measured"


def _words(card: ModelCard) -> str:
    parts = [card.name, card.title, card.modality, card.method_title, *(c.name for c in card.classes)]
    return " ".join(parts).lower()
