"""The Models widget: what is at hand, what it is, which version is in use; bring in, take out, go back."""

from __future__ import annotations

from collections.abc import Callable
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari.utils.notifications import show_info
from qtpy.compat import isalive
from qtpy.QtCore import Qt
from qtpy.QtWidgets import (
    QFileDialog,
    QGridLayout,
    QLabel,
    QLineEdit,
    QMenu,
    QMessageBox,
    QPushButton,
    QTextBrowser,
    QVBoxLayout,
    QWidget,
)

from napari_latentseg.models.text import card_lines
from napari_latentseg.widgets.background import explain, in_background
from napari_latentseg.widgets.model_tree import ModelTree, entries
from napari_latentseg.widgets.reliability import ReliabilityPlot
from napari_latentseg.widgets.session import session_of

if TYPE_CHECKING:
    from napari.components import ViewerModel

    from napari_latentseg.models.card import ModelCard

__all__ = ["ModelsWidget"]


class ModelsWidget(QWidget):
    """The models at hand with their versions and cards.

    Parameters
    ----------
    napari_viewer
        The viewer it belongs to.
    """

    def __init__(self, napari_viewer: ViewerModel) -> None:
        super().__init__()
        self.viewer = napari_viewer
        self.session = session_of(napari_viewer)
        self.search = QLineEdit()
        self.search.setPlaceholderText("find…")
        self.search.setClearButtonEnabled(True)
        self.tree = ModelTree()
        self.card = QTextBrowser()
        self.card.setMinimumHeight(150)
        self.curve = QVBoxLayout()
        self.reliability: ReliabilityPlot | None = None
        self.use_button = QPushButton("Use")
        self.install_button = QPushButton("Install from…")
        self.export_button = QPushButton("Export…")
        self.back_button = QPushButton("Go back")
        self.remove_button = QPushButton("Remove")
        self.question: QMessageBox | None = None
        self._busy = 0
        self._lay_out()
        self._connect()
        self.reload()

    def _lay_out(self) -> None:
        self.use_button.setToolTip("Choose it in the Segment widget")
        self.export_button.setToolTip("Write it as one file, which others can install")
        menu = QMenu(self.install_button)
        self.from_file = menu.addAction("a file (.zip, .pth)…")
        self.from_folder = menu.addAction("a folder…")
        self.install_button.setMenu(menu)
        self.install_button.setToolTip("Bring in a model: a zip, a folder, or a checkpoint of GMS")
        buttons = QGridLayout()
        buttons.setSpacing(4)
        buttons.addWidget(self.use_button, 0, 0)
        buttons.addWidget(self.install_button, 0, 1)
        buttons.addWidget(self.export_button, 0, 2)
        buttons.addWidget(self.back_button, 1, 0, 1, 2)
        buttons.addWidget(self.remove_button, 1, 2)
        notice = QLabel("<i>For research. Not a medical device.</i>")
        layout = QVBoxLayout(self)
        layout.addWidget(self.search)
        layout.addWidget(self.tree, 2)
        layout.addWidget(self.card, 3)
        layout.addLayout(self.curve)
        layout.addLayout(buttons)
        layout.addWidget(notice)
        self.setMinimumWidth(310)
        self.setMaximumWidth(380)

    def _connect(self) -> None:
        self.search.textChanged.connect(self.tree.show_only)
        self.tree.chosen.connect(self._show)
        self.session.models_changed.connect(self.reload)
        self.use_button.clicked.connect(self.use)
        assert self.from_file is not None
        assert self.from_folder is not None
        self.from_file.triggered.connect(self._ask_file)
        self.from_folder.triggered.connect(self._ask_folder)
        self.export_button.clicked.connect(self._ask_export)
        self.back_button.clicked.connect(self.go_back)
        self.remove_button.clicked.connect(self.ask_remove)

    def reload(self) -> Any:
        """Look at the models at hand again.

        Returns
        -------
        worker
            Of the reading.
        """
        name = str(self.session.choices.get("model") or "") if self.tree.current_entry is None else ""

        def show(found: Any) -> None:
            if not isalive(self.tree):  # closed meanwhile
                return
            self.tree.show_entries(found, name)
            self.tree.show_only(self.search.text())

        return in_background(entries, show)

    def _show(self) -> None:
        """The card of the chosen version, and what can be done with it."""
        entry, chosen = self.tree.current_entry, self.tree.current_version
        self._show_curve(chosen[1] if chosen is not None else None)
        free = not self._busy
        for button in (self.use_button, self.export_button, self.back_button, self.remove_button):
            button.setEnabled(free and chosen is not None)
        self.install_button.setEnabled(free)
        if entry is None or chosen is None:
            self.card.setPlainText("No model is at hand. Install one." if not self.search.text() else "")
            return
        version, card = chosen
        lines = [*card_lines(card), ("Called", card.name)]
        if card.lineage:
            lines.append(("Goes back to", ", ".join(f"{a.name} {a.version}" for a in card.lineage)))
        if version.line:
            lines.append(("Judged", version.line))
        rows = "".join(
            f"<p style='margin: 2px 0'><b>{escape(head.strip())}</b>&nbsp; {escape(text)}</p>"
            for head, text in lines
        )
        self.card.setHtml(
            f"<h4 style='margin: 2px 0'>{escape(card.title)} v{escape(card.version)}</h4>{rows}"
        )
        target = self._target()
        self.back_button.setText(f"Go back to v{target}" if target else "Go back")
        self.back_button.setEnabled(free and bool(target))
        self.back_button.setToolTip(
            "The name loads that version from then on; none is removed"
            if target
            else "There is no other version to go back to"
        )
        self.remove_button.setEnabled(free and entry.can_be_removed)
        self.remove_button.setToolTip(
            "Remove what was installed and taught under this name"
            if entry.can_be_removed
            else "It came with the package, and stays"
        )

    def _show_curve(self, card: ModelCard | None) -> None:
        if self.reliability is not None:
            self.curve.removeWidget(self.reliability)
            self.reliability.hide()
            self.reliability.deleteLater()
            self.reliability = None
        found = getattr(card, "reliability", None)
        if found is not None:
            self.reliability = ReliabilityPlot(found)
            self.curve.addWidget(self.reliability, 0, Qt.AlignmentFlag.AlignHCenter)

    def _target(self) -> str:
        """The version that can be gone back to: the chosen one, or what the current one was taught from."""
        entry, chosen = self.tree.current_entry, self.tree.current_version
        if entry is None or chosen is None or len(entry.versions) < 2:
            return ""
        if not chosen[0].current:
            return chosen[0].version
        at = next((i for i, one in enumerate(entry.versions) if one[0].current), 0)
        lineage = chosen[1].lineage
        known = {version.version for version, _ in entry.versions[:at]}
        if lineage and lineage[-1].name == entry.name and lineage[-1].version in known:
            return lineage[-1].version
        return entry.versions[at - 1][0].version if at else ""

    def use(self) -> None:
        """Choose the model in the Segment widget; a version that is not in use is put into use first."""
        entry, chosen = self.tree.current_entry, self.tree.current_version
        if entry is None or chosen is None:
            return
        if chosen[0].current:
            self._choose(entry.name)
        else:
            self._revert(entry.name, chosen[0].version)

    def _choose(self, name: str) -> None:
        self.session.choices["model"] = name
        self.session.models_changed.emit()

    def go_back(self) -> Any:
        """Put an earlier version into use; see the button.

        Returns
        -------
        worker
            Of the change; None where there is nothing to go back to.
        """
        entry, target = self.tree.current_entry, self._target()
        return self._revert(entry.name, target) if entry is not None and target else None

    def _revert(self, name: str, version: str) -> Any:
        def work() -> Path:
            from napari_latentseg.models.versions import revert

            return revert(name, version)

        return self._do(work, lambda _: self._tell(name, f"{name} is version {version} now."))

    def _tell(self, name: str, text: str) -> None:
        self._choose(name)
        show_info(text)

    def _ask_file(self) -> None:
        path, _ = QFileDialog.getOpenFileName(self, "Install a model", "", "Models (*.zip *.pth)")
        if path:
            self.install(Path(path))

    def _ask_folder(self) -> None:
        folder = QFileDialog.getExistingDirectory(self, "The folder of a model")
        if folder:
            self.install(Path(folder))

    def install(self, source: Path) -> Any:
        """Bring in a model.

        Parameters
        ----------
        source
            A zip, a model folder, or a checkpoint of GMS (.pth).

        Returns
        -------
        worker
            Of the installing.
        """

        def work() -> str:
            if source.suffix.lower() == ".zip":
                from napari_latentseg.models.archive import install_archive

                return install_archive(source).name
            from napari_latentseg import api

            return api.install_model(source).name

        return self._do(work, lambda name: self._tell(name, f"{name} is installed."))

    def _ask_export(self) -> None:
        entry = self.tree.current_entry
        if entry is None:
            return
        path, _ = QFileDialog.getSaveFileName(self, "Export a model", f"{entry.name}.zip", "Model (*.zip)")
        if path:
            self.export(Path(path).with_suffix(".zip"))

    def export(self, path: Path) -> Any:
        """Write the chosen version as one file.

        Parameters
        ----------
        path
            The zip to be.

        Returns
        -------
        worker
            Of the writing; None where none is chosen.
        """
        chosen = self.tree.current_version
        if chosen is None:
            return None
        folder = chosen[0].folder

        def work() -> Path:
            from napari_latentseg.models.archive import export_model

            return export_model(folder, path)

        return self._do(work, lambda written: show_info(f"Written to {written.name}."))

    def ask_remove(self) -> None:
        """Ask whether the chosen model is to be removed, and remove it where that is confirmed."""
        entry = self.tree.current_entry
        if entry is None:
            return
        taught = sum(version.origin == "taught" for version, _ in entry.versions)
        what = f"{entry.current[1].title} ({entry.name})"
        also = f" {taught} taught version{'s' if taught > 1 else ''} will be gone." if taught else ""
        stays = any(version.origin == "package" for version, _ in entry.versions)
        box = QMessageBox(self)
        box.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        box.setIcon(QMessageBox.Icon.Question)
        box.setWindowTitle("Remove a model")
        box.setText(f"Remove {what}?{also}")
        kept = "The embedded version stays. " if stays else ""
        box.setInformativeText(f"{kept}What was approved stays. An exported model can be installed again.")
        remove = box.addButton("Remove", QMessageBox.ButtonRole.DestructiveRole)
        box.addButton(QMessageBox.StandardButton.Cancel)
        name = entry.name
        if remove is not None:
            remove.clicked.connect(lambda: self.remove(name))
        self.question = box
        box.destroyed.connect(lambda: setattr(self, "question", None))
        box.open()

    def remove(self, name: str) -> Any:
        """Remove what was installed and taught under a name.

        Returns
        -------
        worker
            Of the removing.
        """

        def work() -> None:
            from napari_latentseg.models.install import remove_model

            remove_model(name)

        def done(_: Any) -> None:
            self.session.models_changed.emit()
            show_info(f"{name} is removed.")

        return self._do(work, done)

    def _do(self, work: Callable[[], Any], done: Callable[[Any], None]) -> Any:
        """Work on the files in a worker; meanwhile nothing else can be asked for."""
        self._busy += 1
        self._show()

        def end(value: Any) -> None:
            if isalive(self):
                self._busy -= 1
                self._show()
            done(value)

        def fail(error: BaseException) -> None:
            if isalive(self):
                self._busy -= 1
                self._show()
            explain(error)

        return in_background(work, end, fail)
