"""The Models widget: installed models, their cards and versions; install, export, revert, remove."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import Qt
from qtpy.QtWidgets import (
    QFileDialog,
    QGridLayout,
    QLineEdit,
    QMenu,
    QMessageBox,
    QPushButton,
)

from napari_latentseg.models.codec_lookup import MissingCodec
from napari_latentseg.widgets._shared.dock_widget import DockWidget
from napari_latentseg.widgets._shared.double_click import DoubleClickGuard
from napari_latentseg.widgets._shared.missing_codec import CodecQuestion
from napari_latentseg.widgets._shared.model_entries import ModelEntry, list_model_entries
from napari_latentseg.widgets._shared.plain_text import show_info
from napari_latentseg.widgets._shared.threads import ThreadWorker, run_in_thread, show_exception
from napari_latentseg.widgets.evaluate.dialog import EvaluationDialog, show_evaluation
from napari_latentseg.widgets.models.card_view import CardView
from napari_latentseg.widgets.models.install_dialog import InstallDialog
from napari_latentseg.widgets.models.model_tree import ModelTree

if TYPE_CHECKING:
    from napari.components import ViewerModel

    from napari_latentseg import KeptCodec, ModelCard
    from napari_latentseg.models.install_plan import InstallPlan

__all__ = ["ModelsWidget"]


class ModelsWidget(DockWidget):
    """The installed models with their versions and cards.

    Parameters
    ----------
    napari_viewer
        The viewer in which the widget is docked.
    """

    def __init__(self, napari_viewer: ViewerModel) -> None:
        super().__init__(napari_viewer)
        self.search = QLineEdit()
        self.search.setPlaceholderText("Search…")
        self.search.setAccessibleName("Search")
        self.search.setToolTip("Searches the names of the models")
        self.search.setClearButtonEnabled(True)
        self.tree = ModelTree()
        self.card = CardView()
        self.use_button = QPushButton("Use")
        self.install_button = QPushButton("Install from…")
        self.export_button = QPushButton("Export…")
        self.evaluate_button = QPushButton("Evaluate…")
        self.revert_button = QPushButton("Revert")
        self.remove_button = QPushButton("Remove")
        self.remove_dialog: QMessageBox | None = None
        self.install_dialog: InstallDialog | None = None
        self.codec_question = CodecQuestion(self)
        self._running_jobs = 0
        self._revert_guard = DoubleClickGuard()  # the button goes on to the version before the last one
        self._to_select = ""  # a model that is shown once the list is read again
        self._lay_out()
        self._connect()
        self.reload()

    def _lay_out(self) -> None:
        menu = QMenu(self.install_button)
        self.install_file_action = menu.addAction("a file (.zip, .pth)…")
        self.install_folder_action = menu.addAction("a folder…")
        self.install_button.setMenu(menu)
        buttons = QGridLayout()
        buttons.setSpacing(4)
        buttons.addWidget(self.use_button, 0, 0)
        buttons.addWidget(self.install_button, 0, 1)
        buttons.addWidget(self.export_button, 0, 2)
        buttons.addWidget(self.evaluate_button, 1, 0)
        buttons.addWidget(self.revert_button, 1, 1)
        buttons.addWidget(self.remove_button, 1, 2)
        self.body.addWidget(self.search)
        self.body.addWidget(self.tree, 2)
        self.body.addWidget(self.card, 3)
        self.body.addLayout(buttons)

    def _connect(self) -> None:
        self.search.textChanged.connect(self.tree.filter_by_text)
        self.tree.selection_changed.connect(self._update_details)
        self.session.models_changed.connect(self.reload)
        self.use_button.clicked.connect(self.use_model)
        assert self.install_file_action is not None
        assert self.install_folder_action is not None
        self.install_file_action.triggered.connect(self._ask_file)
        self.install_folder_action.triggered.connect(self._ask_folder)
        self.export_button.clicked.connect(self._ask_export)
        self.evaluate_button.clicked.connect(self.show_evaluation)
        self.revert_button.clicked.connect(self.revert_version)
        self.remove_button.clicked.connect(self.confirm_remove)

    def reload(self) -> ThreadWorker:
        """List the installed models again.

        Returns
        -------
        ThreadWorker
            Reads the cards.
        """
        name, self._to_select = self._to_select, ""
        if not name and self.tree.current_entry is None:
            name = str(self.session.choices.get("model") or "")

        def show(model_entries: list[ModelEntry]) -> None:
            self.tree.show_entries(model_entries, name)
            self.tree.filter_by_text(self.search.text())

        return run_in_thread(list_model_entries, show, owner=self)

    def _update_details(self) -> None:
        """Show the card of the selected version, and enable the buttons that apply to it."""
        entry, selected = self.tree.current_entry, self.tree.current_version
        if entry is None or selected is None:
            self.card.show_text("No model is installed." if not self.search.text() else "No model matches.")
        else:
            self.card.show_version(*selected, entry.logs.get(selected[0].folder))
        self._update_buttons(entry)

    def _update_buttons(self, entry: ModelEntry | None) -> None:
        """Enable the buttons that apply; the tooltip of a disabled one says why."""
        revert_target = self._revert_target()
        self.revert_button.setText(f"Revert to v{revert_target}" if revert_target else "Revert")
        busy = "Another change is in progress" if self._running_jobs else ""
        no_model = "" if entry is not None else "Select a model first"
        no_version = "" if revert_target else "There is no earlier version"
        selected = self.tree.current_version
        is_embedded = selected is not None and selected[0].origin == "package"
        embedded = "Embedded models cannot be removed" if is_embedded else ""
        for button, reason, tooltip in (
            (self.use_button, no_model, "Select it in the Segment widget"),
            (self.install_button, "", "Install a model from a zip, a folder or a GMS checkpoint"),
            (self.export_button, no_model, "Export as one zip file for installation elsewhere"),
            (
                self.evaluate_button,
                no_model,
                "Score it on annotated images, and compare it with another model",
            ),
            (self.revert_button, no_model or no_version, "Make that version current; no version is deleted"),
            (
                self.remove_button,
                no_model or embedded,
                "Delete the selected version of the model",
            ),
        ):
            button.setEnabled(not (busy or reason))
            button.setToolTip(busy or reason or tooltip)

    def _revert_target(self) -> str:
        """The version that Revert makes current: the selected one, else the parent of the current one."""
        entry, selected = self.tree.current_entry, self.tree.current_version
        if entry is None or selected is None or len(entry.versions) < 2:
            return ""
        if not selected[0].is_current:
            return selected[0].version
        current_index = next(
            (i for i, version_and_card in enumerate(entry.versions) if version_and_card[0].is_current), 0
        )
        lineage = selected[1].lineage
        earlier_versions = {version.version for version, _ in entry.versions[:current_index]}
        if lineage and lineage[-1].name == entry.name and lineage[-1].version in earlier_versions:
            return lineage[-1].version
        return entry.versions[current_index - 1][0].version if current_index else ""

    def use_model(self) -> None:
        """Select the model in the Segment widget; an earlier version is made current first."""
        entry, selected = self.tree.current_entry, self.tree.current_version
        if entry is None or selected is None:
            return
        if selected[0].is_current:
            self._select_model(entry.name)
            show_info(f"{selected[1].title} v{selected[0].version} is chosen in Segment.")
        else:
            self._revert(entry.name, selected[0].version)

    def _select_model(self, name: str) -> None:
        self.session.choices["model"] = name
        self.session.models_changed.emit()

    def revert_version(self) -> ThreadWorker | None:
        """Make an earlier version current.

        Returns
        -------
        ThreadWorker
            Makes the change; None where there is no earlier version, or this is a double-click.
        """
        if self._revert_guard.is_too_soon:
            return None
        self._revert_guard.something_was_shown()
        entry, target = self.tree.current_entry, self._revert_target()
        return self._revert(entry.name, target) if entry is not None and target else None

    def _revert(self, name: str, version: str) -> ThreadWorker:
        def switch() -> None:
            from napari_latentseg import api

            api.revert_model(name, version)

        return self._run_job(
            switch, lambda _: self._select_and_notify(name, f"{name} is now at version {version}.")
        )

    def _select_and_notify(self, name: str, text: str) -> None:
        self._to_select = name
        self._select_model(name)
        show_info(text)

    def _ask_file(self) -> None:
        path, _ = QFileDialog.getOpenFileName(self, "Install a model", "", "Models (*.zip *.pth)")
        if path:
            self.install(Path(path))

    def _ask_folder(self) -> None:
        folder = QFileDialog.getExistingDirectory(self, "Model folder")
        if folder:
            self.install(Path(folder))

    def install(self, source: Path, codec: str | None = None) -> ThreadWorker:
        """Install a model; where its name is taken, ask how, and where its codec is missing, ask for that.

        Parameters
        ----------
        source
            A zip, a model folder, or a GMS checkpoint (.pth).
        codec
            SHA-256 of its codec, once that was asked for.

        Returns
        -------
        ThreadWorker
            Installs it, or reads what it is before the question.
        """

        def load() -> ModelCard | tuple[InstallPlan, list[str]]:
            from napari_latentseg import api

            plan = api.plan_install(source)
            if plan.is_taken:
                return plan, list(api.list_models())
            return api.install_model(source, codec=codec)

        def done(result: ModelCard | tuple[InstallPlan, list[str]]) -> None:
            if isinstance(result, tuple):
                self._ask_how_to_install(source, *result)
            else:
                self._on_installed(result)

        return self._run_job(load, done, lambda kept: self.install(source, kept.sha256))

    def _ask_how_to_install(self, source: Path, plan: InstallPlan, used_names: list[str]) -> None:
        if not self.is_open:
            return
        dialog = InstallDialog(plan, used_names, self)
        dialog.chosen.connect(lambda options: self.install_as(source, **options))
        dialog.destroyed.connect(lambda: setattr(self, "install_dialog", None))
        self.install_dialog = dialog
        dialog.open()

    def install_as(self, source: Path, **options: Any) -> ThreadWorker:
        """Install a model as the person has chosen.

        Parameters
        ----------
        source
            As for `install`.
        options
            Of `api.install_model`: `name`, `replace` or `as_version`, and `codec` once that was asked for.

        Returns
        -------
        ThreadWorker
            Installs it.
        """

        def load() -> ModelCard:
            from napari_latentseg import api

            return api.install_model(source, **options)

        def retry(kept: KeptCodec) -> None:
            self.install_as(source, **options | {"codec": kept.sha256})

        return self._run_job(load, self._on_installed, retry)

    def _on_installed(self, card: ModelCard) -> None:
        self._select_and_notify(card.name, f"{card.title} v{card.version} is installed as {card.name}.")

    def _ask_export(self) -> None:
        entry = self.tree.current_entry
        if entry is None:
            return
        path, _ = QFileDialog.getSaveFileName(self, "Export a model", f"{entry.name}.zip", "Model (*.zip)")
        if path:
            self.export(Path(path).with_suffix(".zip"))

    def export(self, path: Path) -> ThreadWorker | None:
        """Export the selected version as one file.

        Parameters
        ----------
        path
            The zip file to write.

        Returns
        -------
        ThreadWorker
            Writes the file; None where no version is selected.
        """
        selected = self.tree.current_version
        if selected is None:
            return None
        folder = selected[0].folder

        def write() -> Path:
            from napari_latentseg import api

            return api.export_model(folder, path, overwrite=True)

        return self._run_job(write, lambda written: show_info(f"Written to {written.name}."))

    def show_evaluation(self) -> EvaluationDialog | None:
        """Show the window that evaluates a model, with the selected version chosen; None without a model."""
        selected = self.tree.current_version
        if selected is None:
            return None
        return show_evaluation(self.viewer, selected[0].folder)

    def confirm_remove(self) -> None:
        """Remove the selected version after a question that names it; or all versions of the model."""
        entry, selected = self.tree.current_entry, self.tree.current_version
        if entry is None or selected is None:
            return
        version = selected[0]
        others = [other for other, _ in entry.versions if other is not version]
        removable = [other for other, _ in entry.versions if other.origin != "package"]
        box = QMessageBox(self)
        box.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        box.setIcon(QMessageBox.Icon.Question)
        box.setWindowTitle("Remove a model")
        box.setTextFormat(Qt.TextFormat.PlainText)
        box.setText(f"Remove {selected[1].title} v{version.version} ({entry.name})?")
        kept = ", ".join(f"v{other.version}" for other in others)
        kept_text = f"{kept} {'is' if len(others) == 1 else 'are'} kept. " if others else ""
        box.setInformativeText(
            f"{kept_text}Approved masks are kept. An exported model can be installed again."
        )
        name = entry.name
        remove = box.addButton(f"Remove v{version.version}", QMessageBox.ButtonRole.DestructiveRole)
        if remove is not None:
            remove.clicked.connect(lambda: self.remove(name, version.version))
        if len(removable) > 1:
            numbers = ", ".join(f"v{other.version}" for other in removable)
            remove_all = box.addButton(f"Remove {numbers}", QMessageBox.ButtonRole.DestructiveRole)
            if remove_all is not None:
                remove_all.clicked.connect(lambda: self.remove(name))
        box.addButton(QMessageBox.StandardButton.Cancel)
        self.remove_dialog = box
        box.finished.connect(self._forget_remove_dialog)
        box.open()

    def _forget_remove_dialog(self, answer: int) -> None:
        self.remove_dialog = None

    def remove(self, name: str, version: str | None = None) -> ThreadWorker:
        """Delete one version of a model, or the model with all its versions.

        Parameters
        ----------
        name
            Of the model.
        version
            Its number; None for all that did not come with the package.

        Returns
        -------
        ThreadWorker
            Deletes them.
        """

        def delete() -> None:
            from napari_latentseg import api

            api.remove_model(name, version)

        def done(_: Any) -> None:
            self.session.models_changed.emit()
            show_info(f"{name} was removed." if version is None else f"{name} v{version} was removed.")

        return self._run_job(delete, done)

    def _run_job(
        self,
        job: Callable[[], Any],
        on_done: Callable[[Any], None],
        retry: Callable[[KeptCodec], Any] | None = None,
    ) -> ThreadWorker:
        """Change files in a worker; the buttons are disabled until it has finished.

        Where a codec is missing, it is asked for, and `retry` is called with it.
        """
        self._running_jobs += 1
        self._update_details()

        def finish(value: Any) -> None:
            if self.is_open:
                self._running_jobs -= 1
                self._update_details()
            on_done(value)

        def fail(error: BaseException) -> None:
            if self.is_open:
                self._running_jobs -= 1
                self._update_details()
            if retry is not None and isinstance(error, MissingCodec) and self.is_open:
                self.codec_question.ask(error, retry)
            else:
                show_exception(error)

        return run_in_thread(job, finish, fail)
