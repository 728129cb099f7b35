"""How to install a model whose name is taken: as a version, under another name, or in place of the other."""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import (
    QButtonGroup,
    QDialog,
    QDialogButtonBox,
    QLineEdit,
    QPushButton,
    QRadioButton,
    QVBoxLayout,
    QWidget,
)

from napari_latentseg.models.card import NAME_PATTERN
from napari_latentseg.widgets._shared.plain_text import PlainLabel, plain_text

if TYPE_CHECKING:
    from napari_latentseg.models.install_plan import InstallPlan

__all__ = ["InstallDialog"]


class InstallDialog(QDialog):
    """Asks how to install a model whose name is taken; what changes least comes first.

    Parameters
    ----------
    plan
        What is to be installed.
    used_names
        The names of all models here.

    Signals
    -------
    chosen
        The keyword arguments of `api.install_model`.
    """

    chosen = Signal(dict)

    def __init__(self, plan: InstallPlan, used_names: Collection[str], parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        self.setWindowTitle("Install a model")
        self._used_names = set(used_names)
        title = PlainLabel(
            f"This model is installed already, as {plan.name}."
            if plan.is_same
            else f"There is a model named {plan.name} already."
        )
        here = ", which is here already" if plan.is_here else ""
        self.version_option = QRadioButton(f"As version {plan.parent_version} of {plan.parent}{here}")
        self.name_option = QRadioButton("Under another name:")
        self.replace_option = QRadioButton("In place of the model that is here")
        self.name = QLineEdit(plan.free_name)
        self.hint = PlainLabel()
        self.hint.setWordWrap(True)
        self.install_button = QPushButton("Install")
        self.install_button.setDefault(True)
        self._group = QButtonGroup(self)
        layout = QVBoxLayout(self)
        layout.addWidget(title)
        for widget in (self.version_option, self.name_option, self.name, self.replace_option, self.hint):
            layout.addWidget(widget)
        buttons = QDialogButtonBox()
        buttons.addButton(self.install_button, QDialogButtonBox.ButtonRole.AcceptRole)
        buttons.addButton(QDialogButtonBox.StandardButton.Cancel)
        layout.addWidget(buttons)
        for option in (self.version_option, self.name_option, self.replace_option):
            self._group.addButton(option)
        self.version_option.setToolTip("It was fine-tuned from that model; earlier versions are kept")
        self.replace_option.setToolTip(
            "The embedded model is kept, and is used again when this one is removed"
            if plan.is_embedded
            else "The model that is here is deleted"
        )
        self.version_option.setVisible(bool(plan.parent))
        (self.version_option if plan.parent else self.name_option).setChecked(True)
        self._no_version = (
            "It cannot be added as a version: the model that it was fine-tuned from is not installed"
            " with the same weights."
            if plan.has_lineage and not plan.parent
            else ""
        )
        self._group.buttonClicked.connect(self._update)
        self.name.textChanged.connect(self._on_name)
        buttons.accepted.connect(self._accept)
        buttons.rejected.connect(self.reject)
        self._update()

    def _on_name(self, *_: Any) -> None:
        self.name_option.setChecked(True)
        self._update()

    def _problem(self) -> str:
        """Why the name cannot be used; empty where it can, or is not asked for."""
        name = self.name.text().strip()
        if not self.name_option.isChecked():
            return ""
        if not re.fullmatch(NAME_PATTERN, name):
            return "Use small letters, digits, dots and dashes for the name."
        return f"There is a model named {name} already." if name in self._used_names else ""

    def _update(self, *_: Any) -> None:
        problem = self._problem()
        self.install_button.setEnabled(not problem)
        self.install_button.setToolTip(plain_text(problem))
        self.hint.setText(problem or self._no_version)
        self.hint.setVisible(bool(self.hint.text()))

    def _accept(self) -> None:
        if self.version_option.isChecked():
            options: dict[str, Any] = {"as_version": True}
        elif self.replace_option.isChecked():
            options = {"replace": True}
        else:
            options = {"name": self.name.text().strip()}
        self.accept()
        self.chosen.emit(options)
